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

// keysSource is the JWKS.
func keysSource(from *setSource) *source {
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
			a.reload(ctx, a.set, false) // reports what goes wrong
		}
	}
}

// settle is how long after a change the file is read: a writer that does not replace it in one step is done by then.
const settle = 100 * time.Millisecond

// watch reads the access file again when something changes in its folder, or in the one that a symbolic link leads to.
// The folders and not the file, because most writers put another file in its place. A machine that has no watch to
// spare is no reason not to start.
func (a *Authenticator) watch(ctx context.Context) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(filepath.Dir(a.options.File)); err != nil {
			watcher.Close()
		}
	}
	if err != nil {
		a.options.Note(fmt.Sprintf("changes of %q are not noticed (%v); send SIGHUP after a change", a.options.File, err))
		return
	}
	target := a.target(watcher, "")
	a.running.Go(func() {
		defer watcher.Close()
		a.follow(ctx, watcher, target)
	})
}

// target watches the folder that the file is in behind symbolic links, and the one before no longer.
func (a *Authenticator) target(watcher *fsnotify.Watcher, before string) (folder string) {
	file, err := filepath.EvalSymlinks(a.options.File)
	if err != nil {
		return before // it is away for a moment, and comes back into the folder of its name
	}
	if folder = filepath.Dir(file); folder == before || folder == filepath.Dir(a.options.File) {
		return folder
	}
	if err := watcher.Add(folder); err != nil {
		a.options.Note(fmt.Sprintf("changes of %q are not noticed (%v); send SIGHUP after a change", file, err))
	}
	if before != "" && before != filepath.Dir(a.options.File) {
		_ = watcher.Remove(before)
	}
	return folder
}

func (a *Authenticator) follow(ctx context.Context, watcher *fsnotify.Watcher, target string) {
	var due <-chan time.Time // nil: nothing has changed
	for {
		select {
		case <-ctx.Done():
			return
		case <-watcher.Events:
			if due == nil {
				due = time.After(settle)
			}
		case err := <-watcher.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) && due == nil { // some were lost, so there were some
				due = time.After(settle)
			}
		case <-due:
			due = nil
			target = a.target(watcher, target) // first, so that no change is missed
			a.reload(ctx, a.file, false)       // reports what goes wrong
		}
	}
}
