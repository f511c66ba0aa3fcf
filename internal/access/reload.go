package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// source is a file or a set of keys that is read again.
type source struct {
	name Source
	read func(ctx context.Context, again bool) ([]byte, error)
	use  func([]byte) (change func(*state), err error)

	mu   sync.Mutex // held while it is read, so that what was read later is put in force later; guards what follows
	seen Digest     // of what was read last, sound or not
	err  error      // what was wrong with it
}

// readError is an error of getting at a source; others are about what was got.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// reload reads the source, and puts it in force if it is sound; if not, what is in force stays so. The same text, or
// the same error, as the last time changes nothing, and is reported again only if somebody asks and it is wrong still.
func (a *Authenticator) reload(ctx context.Context, s *source, asked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.seen == Digest{}
	data, err := s.read(ctx, !first)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		err = readError{err}
		data = []byte(err.Error())
	}
	if sum := sha256.Sum256(data); sum == s.seen {
		if asked && s.err != nil {
			a.options.Report(Report{Source: s.name, Err: s.err})
		}
		return s.err
	} else {
		s.seen = sum
	}
	var change func(*state)
	if err == nil {
		change, err = s.use(data)
	}
	s.err = err
	if err == nil {
		a.replace(change)
	}
	if !first {
		a.options.Report(Report{Source: s.name, Err: err})
	}
	return err
}

// fileSource is the access file.
func (a *Authenticator) fileSource(path string) *source {
	return &source{
		name: SourceFile,
		read: func(_ context.Context, again bool) ([]byte, error) {
			data, mode, err := readFile(path, again)
			if err == nil && !a.warned.Load() {
				if note := openToOthers(path, mode); note != "" {
					a.warned.Store(true)
					a.options.Note(note)
				}
			}
			return data, err
		},
		use: func(data []byte) (func(*state), error) {
			f, err := ParseFile(data)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", path, err)
			}
			return func(s *state) { s.file, s.anonymous = f, a.options.anonymous(f) }, nil
		},
	}
}

// setOfKeys is the JWKS.
func setOfKeys(from *setSource) *source {
	return &source{
		name: SourceJWKS,
		read: from.read,
		use: func(data []byte) (func(*state), error) {
			set, err := parseKeySet(data)
			if err != nil {
				return nil, fmt.Errorf("the JWKS cannot be used: %w", err)
			}
			return func(s *state) { s.keys = set }, nil
		},
	}
}

// refresh reads the JWKS again and again. Nothing that callers send makes it read sooner, so nobody can have the gateway
// ask somebody else for keys as often as he likes.
func (a *Authenticator) refresh(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.reload(ctx, a.keys, false) // reports what goes wrong
		}
	}
}

// settle is how long after a change the file is read: a writer that does not replace it in one step is done by then.
const settle = 100 * time.Millisecond

// watched is a file that is read again when something changes in its folder, or in the one that a symbolic link leads
// to. The folders and not the file, because most writers put another file in its place.
type watched struct {
	path    string
	source  *source
	watcher *fsnotify.Watcher
	folder  string // that the file is in behind symbolic links
}

// watch reads a file again when it changes. A machine that has no watch to spare is no reason not to start.
func (a *Authenticator) watch(ctx context.Context, path string, s *source) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(filepath.Dir(path)); err != nil {
			watcher.Close()
		}
	}
	if err != nil {
		a.unnoticed(path, err)
		return
	}
	w := &watched{path: path, source: s, watcher: watcher}
	w.target(a)
	a.running.Go(func() {
		defer watcher.Close()
		a.follow(ctx, w)
	})
}

func (a *Authenticator) unnoticed(path string, err error) {
	a.options.Note(fmt.Sprintf("changes of %q are not noticed (%v); send SIGHUP after a change", path, err))
}

// target watches the folder that the file is in behind symbolic links, and the one before no longer.
func (w *watched) target(a *Authenticator) {
	file, err := filepath.EvalSymlinks(w.path)
	if err != nil {
		return // it is away for a moment, and comes back into the folder of its name
	}
	before, own := w.folder, filepath.Dir(w.path)
	if w.folder = filepath.Dir(file); w.folder == before {
		return
	}
	if w.folder != own {
		if err := w.watcher.Add(w.folder); err != nil {
			a.unnoticed(file, err)
		}
	}
	if before != "" && before != own {
		_ = w.watcher.Remove(before)
	}
}

func (a *Authenticator) follow(ctx context.Context, w *watched) {
	var due <-chan time.Time // nil: nothing has changed
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.watcher.Events:
			if due == nil {
				due = time.After(settle)
			}
		case err := <-w.watcher.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) && due == nil { // some were lost, so there were some
				due = time.After(settle)
			}
		case <-due:
			due = nil
			w.target(a)                    // first, so that no change is missed
			a.reload(ctx, w.source, false) // reports what goes wrong
		}
	}
}
