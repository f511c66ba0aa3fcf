package devicecom

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/vulturepi/gateway/internal/mdns"
	"github.com/vulturepi/gateway/internal/settings"
)

// ConnectBroker connects to the broker that settings.ini in the working
// directory names, and subscribes to all topics. When the broker is not there
// yet, it tries for 30 s. The error says in one sentence what is wrong and where.
func ConnectBroker() (*Values, error) {
	return ConnectBrokerContext(context.Background(), Options{})
}

// ConnectBrokerContext is [ConnectBroker] with options. When ctx ends before
// there is a connection, it gives up; afterwards ctx has no meaning.
func ConnectBrokerContext(ctx context.Context, o Options) (*Values, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("devicecom: %w", err)
	}
	where, err := readSettings(&o)
	if err != nil {
		return nil, fmt.Errorf("devicecom: %w", err)
	}
	v := &Values{
		o: o, where: where, done: make(chan struct{}), closed: make(chan struct{}),
		inbox: newQueue(o.QueueMessages, queueBytes), pending: newQueue(o.QueueMessages, queueBytes),
	}
	s, err := v.first(ctx)
	if err != nil {
		return nil, fmt.Errorf("devicecom: %w", err)
	}
	life, stop := context.WithCancel(context.Background())
	v.stop = stop
	v.session.Store(s)
	go v.supervise(life, s)
	return v, nil
}

// finder is what the settings file says about the broker.
type finder struct {
	file string // the file's path, for messages
	settings.File
	tls *tls.Config // nil without
}

func readSettings(o *Options) (finder, error) {
	file, err := settings.Read(o.SettingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; create it, with the section [system] and the keys %s and %s", err, settings.KeyAddress, settings.KeyPort)
	}
	if err != nil {
		return finder{}, err
	}
	f := finder{file: o.SettingsFile, File: file}
	if f.tls, err = tlsConfig(o, file); err != nil {
		return finder{}, err
	}
	if file.Address == settings.Auto && file.Username != "" && (f.tls == nil || f.tls.RootCAs == nil) {
		return finder{}, fmt.Errorf("%q: section [system]: %s = %s takes whoever answers, and would show it the password; write the broker's address, or use %s = true with %s",
			o.SettingsFile, settings.KeyAddress, settings.Auto, settings.KeyTLS, settings.KeyCAFile)
	}
	return f, nil
}

// tlsConfig is that of the options, or what the file asks for; nil without TLS.
func tlsConfig(o *Options, file settings.File) (*tls.Config, error) {
	if o.TLS != nil {
		return o.TLS.Clone(), nil
	}
	if !file.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if file.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(file.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%q: section [system]: %s cannot be read", o.SettingsFile, settings.KeyCAFile)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%q: section [system]: %s holds no certificate in PEM", o.SettingsFile, settings.KeyCAFile)
	}
	return t, nil
}

// place says where the broker is now.
func (f *finder) place(ctx context.Context, patience time.Duration) (place, error) {
	p := place{address: f.HostPort(), username: f.Username, password: f.Password, tls: f.tls}
	if f.Address == settings.Auto {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var err error
		if p.address, err = mdns.Find(ctx, mdns.MQTT, f.Port); err != nil {
			return place{}, &attemptError{where: f, cause: err}
		}
	}
	if p.tls != nil && p.tls.ServerName == "" {
		p.tls = p.tls.Clone()
		p.tls.ServerName, _, _ = net.SplitHostPort(p.address)
	}
	return p, nil
}

// open makes one attempt. Its error is a sentence.
func (v *Values) open(ctx context.Context) (*session, error) {
	p, err := v.where.place(ctx, v.o.timing.find)
	if err != nil {
		return nil, err
	}
	s, err := openSession(ctx, p, &v.o, v.receive, v.leftOut)
	if err != nil {
		return nil, &attemptError{where: &v.where, address: p.address, cause: err}
	}
	return s, nil
}

// first connects for the first time: it tries until the timeout, unless trying
// again cannot help.
func (v *Values) first(ctx context.Context) (*session, error) {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if v.o.Timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, v.o.Timeout)
	}
	defer cancel()
	pause := backoff{o: &v.o}
	var last error // of an attempt that was not cut short
	for {
		s, err := v.open(limited)
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil && last != nil:
			return nil, fmt.Errorf("%w; %w", ctx.Err(), last)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case v.o.Timeout < 0 || final(err):
			return nil, err
		case limited.Err() == nil || last == nil:
			if last == nil {
				v.o.Logger.Warn("no connection to the broker yet; trying again", "error", err, "for", v.o.Timeout)
			}
			last = err
		}
		if !pause.wait(limited) && ctx.Err() == nil {
			return nil, fmt.Errorf("%w (tried for %v)", last, v.o.Timeout)
		}
	}
}

// supervise replaces the connection when it is lost, until life ends.
func (v *Values) supervise(life context.Context, s *session) {
	defer close(v.done)
	pause := backoff{o: &v.o}
	for {
		since := time.Now()
		select {
		case <-s.conn.dead:
		case <-life.Done():
		}
		v.session.Store(nil)
		s.end()
		if life.Err() != nil {
			return
		}
		v.o.Logger.Warn("the connection to the broker was lost; connecting again", "error", lostWords(s.lost(nil)))
		if time.Since(since) >= v.o.timing.stable {
			pause.attempts = 0
		}
		if s = v.again(life, &pause); s == nil {
			return
		}
		v.session.Store(s)
		v.o.Logger.Info("connected to the broker again")
	}
}

// again connects again, and returns nil only when life ends. It logs an error
// when it is not the one before.
func (v *Values) again(life context.Context, pause *backoff) *session {
	said := ""
	for pause.wait(life) {
		s, err := v.open(life)
		if err == nil {
			return s
		}
		if life.Err() == nil && err.Error() != said {
			said = err.Error()
			v.o.Logger.Warn("no connection to the broker yet; trying again", "error", err)
		}
	}
	return nil
}

// backoff is the pause between attempts: a random part of a time that doubles,
// so that many devices do not come back at once.
type backoff struct {
	o        *Options
	attempts int
}

func (b *backoff) limit() time.Duration {
	return min(b.o.timing.maxPause, b.o.timing.minPause<<min(b.attempts, 20))
}

// wait is false when ctx ends first.
func (b *backoff) wait(ctx context.Context) bool {
	timer := time.NewTimer(rand.N(b.limit()))
	b.attempts++
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// randomID has the length and the letters that every broker takes (MQTT 3.1.1,
// 3.1.3.1).
func randomID() string { return fmt.Sprintf("device%016x", rand.Uint64()) }
