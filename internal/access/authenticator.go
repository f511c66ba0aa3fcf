package access

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how callers are recognised. With no way in at all, there is only what the access file grants to those
// without credentials.
type Options struct {
	None   bool        // GATEWAY_AUTH=none: nobody is asked; stands alone
	Keys   bool        // keys of the access file
	MTLS   bool        // client certificates
	Header bool        // headers of a trusted proxy
	JWT    *JWTOptions // nil: no tokens

	File string // path of the access file; "": there is none

	Report func(Report) // is told what became of a source that was read again and is not as it was; may be nil
	Note   func(string) // is told what an operator should know, in a sentence; may be nil

	Client *http.Client     // for a JWKS at a URL; nil: a plain one
	Now    func() time.Time // nil: time.Now

	refreshEvery time.Duration // of a JWKS; 0: refreshEvery. Tests wait less
}

// Report is what became of a source that was read again. Functions that take it may be called from several goroutines,
// and must not call the Authenticator's Reload and Close.
type Report struct {
	Source Source
	Err    error // nil: it is in force; else it was refused, and what was in force stays so
}

// Source is what was read. The set is closed, so it can be a label of a metric.
type Source string

// The sources.
const (
	SourceFile    Source = "access_file"
	SourceKeyFile Source = "jwt_key_file"
	SourceJWKS    Source = "jwks"
)

// Authenticator recognises callers, and keeps what it needs for that up to date. All its methods may be called from
// anywhere.
type Authenticator struct {
	options Options
	tickets *Tickets
	tokens  *verifier // nil: none are accepted
	file    *source   // nil: there is none
	keys    *source   // of tokens; nil: none are accepted
	warned  atomic.Bool

	mu    sync.Mutex // held while state is replaced
	state atomic.Pointer[state]

	stop    context.CancelFunc
	running sync.WaitGroup
}

// state is what is in force. It never changes; there is another one instead.
type state struct {
	file       *File
	anonymous  *Principal     // who brings no credentials
	keys       keySource      // of tokens; nil: no key is known
	clientCAs  *x509.CertPool // nil: they are those that TLS has verified certificates with
	generation uint64
	changed    chan struct{} // closed when there is another state
}

// Open reads the access file and the keys of tokens, and from then on watches them until Close. An error says what is
// wrong with the options or the files. A JWKS at a URL that cannot be reached is no error: tokens are refused until it
// can be.
func Open(o Options) (*Authenticator, error) {
	if o.None && (o.Keys || o.MTLS || o.Header || o.JWT != nil) {
		return nil, errors.New("none stands alone: it lets everybody in, whatever they show")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Report == nil {
		o.Report = func(Report) {}
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	if o.refreshEvery == 0 {
		o.refreshEvery = refreshEvery
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Authenticator{options: o, tickets: NewTickets(o.Now), stop: stop}
	nothing := &File{}
	a.state.Store(&state{file: nothing, anonymous: o.anonymous(nothing), changed: make(chan struct{})})
	err := a.openFile(ctx)
	if err == nil && o.JWT != nil {
		err = a.openTokens(ctx, o.JWT)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// OptionError says which of the options cannot be used: "File", or a field of JWTOptions.
type OptionError struct {
	Option string
	Err    error
}

func (e *OptionError) Error() string { return e.Err.Error() }
func (e *OptionError) Unwrap() error { return e.Err }

func about(option string, err error) error {
	if err == nil {
		return nil
	}
	return &OptionError{option, err}
}

// anonymous returns who brings no credentials.
func (o *Options) anonymous(f *File) *Principal {
	if o.None {
		return &Principal{Via: ViaNone, Rights: Everything()}
	}
	if f.anonymous == nil {
		return &Principal{Via: ViaAnonymous, Rights: new(Rights)}
	}
	return &Principal{Via: ViaAnonymous, Rights: f.anonymous}
}

// openFile reads the access file and follows it.
func (a *Authenticator) openFile(ctx context.Context) error {
	if a.options.File == "" {
		return nil
	}
	a.file = a.fileSource(a.options.File)
	a.watch(ctx, a.options.File, a.file) // first, so that no change is missed
	return about("File", a.reload(ctx, a.file, false))
}

// openTokens gets ready for tokens.
func (a *Authenticator) openTokens(ctx context.Context, o *JWTOptions) (err error) {
	if (o.KeyFile == "") == (o.JWKS == "") {
		return errors.New("tokens need either a key file or a JWKS")
	}
	if o.KeyFile != "" {
		from := &keyFile{path: o.KeyFile}
		a.keys = from.source()
		a.watch(ctx, o.KeyFile, a.keys)
		if err := a.reload(ctx, a.keys, false); err != nil {
			return about("KeyFile", err)
		}
		a.tokens, err = newVerifier(o, from.secret)
		return err
	}
	if a.tokens, err = newVerifier(o, false); err != nil {
		return err
	}
	from, err := newSetSource(o.JWKS, a.options.Client)
	if err != nil {
		return about("JWKS", err)
	}
	a.keys = setOfKeys(from)
	err = a.reload(ctx, a.keys, false)
	if failed := (readError{}); errors.As(err, &failed) && from.url != "" {
		a.options.Note(failed.Error() + "; tokens are refused until it can be had")
		err = nil
	}
	a.running.Go(func() { a.refresh(ctx, a.options.refreshEvery) })
	return about("JWKS", err)
}

// Close ends the watching. What is in force stays in force.
func (a *Authenticator) Close() {
	a.stop()
	a.running.Wait()
}

// replace puts another state in force, and tells those who wait for it.
func (a *Authenticator) replace(change func(*state)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.state.Load()
	next := *old
	change(&next)
	next.generation++
	next.changed = make(chan struct{})
	a.state.Store(&next)
	close(old.changed)
}

// Generation counts the changes of what is in force. The channel is closed when there is another generation; so to look
// at all streams anew after each change, take the channel first, then look, then wait.
func (a *Authenticator) Generation() (generation uint64, changed <-chan struct{}) {
	s := a.state.Load()
	return s.generation, s.changed
}

// Accounts lists the principals of the access file, by name.
func (a *Authenticator) Accounts() []Account { return a.state.Load().file.Accounts() }

// Reload reads the access file and the keys of tokens again, now. The error says what was refused; the rest is in force.
// What was refused is reported, also when it was before.
func (a *Authenticator) Reload(ctx context.Context) error {
	var errs []error
	for _, s := range []*source{a.file, a.keys} {
		if s != nil {
			errs = append(errs, a.reload(ctx, s, true))
		}
	}
	return errors.Join(errs...)
}
