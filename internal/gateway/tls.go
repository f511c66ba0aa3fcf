package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/vulturepi/gateway/internal/config"
)

// tlsSettle is how long after a change the files are read: by then whoever
// writes both is done.
const tlsSettle = 200 * time.Millisecond

// certificates are what the public listener shows, and whose certificates it
// takes. They are read again when their files change.
type certificates struct {
	certFile, keyFile, clientCAFile string

	current atomic.Pointer[tls.Config]
	said    [3][]byte // of the files, when they were read last
	wrong   string    // that was found in them last, and is said once

	trust func(clientCAs *x509.CertPool) // is told of other ones; nil: nobody is
}

// openCertificates reads the files; nil without any.
func openCertificates(cfg *config.Config) (*certificates, error) {
	if cfg.TLSCertFile == "" {
		return nil, nil
	}
	c := &certificates{certFile: cfg.TLSCertFile, keyFile: cfg.TLSKeyFile, clientCAFile: cfg.TLSClientCAFile}
	if _, err := c.read(); err != nil {
		return nil, ConfigError{err}
	}
	return c, nil
}

// read puts what the files hold in force, if it is sound. Changed: it is
// something else than before.
func (c *certificates) read() (changed bool, err error) {
	var said [3][]byte
	for i, file := range []struct{ variable, path string }{
		{"GATEWAY_TLS_CERT_FILE", c.certFile}, {"GATEWAY_TLS_KEY_FILE", c.keyFile}, {"GATEWAY_TLS_CLIENT_CA_FILE", c.clientCAFile},
	} {
		if file.path == "" {
			continue
		}
		if said[i], err = c.readFile(file.path); err != nil {
			return false, fmt.Errorf("%s: the file cannot be read", file.variable)
		}
	}
	if bytes.Equal(said[0], c.said[0]) && bytes.Equal(said[1], c.said[1]) && bytes.Equal(said[2], c.said[2]) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(said[0], said[1])
	if err != nil {
		return false, errors.New("GATEWAY_TLS_KEY_FILE: it is not the key of GATEWAY_TLS_CERT_FILE")
	}
	next := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: protocols()}
	if c.clientCAFile != "" {
		next.ClientCAs, next.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !next.ClientCAs.AppendCertsFromPEM(said[2]) {
			return false, errors.New("GATEWAY_TLS_CLIENT_CA_FILE: it holds no certificate in PEM")
		}
	}
	others := c.trust != nil && !bytes.Equal(said[2], c.said[2])
	c.said = said
	c.current.Store(next)
	if others { // also for the connections that there are
		c.trust(next.ClientCAs)
	}
	return true, nil
}

// readFile reads a file; a pipe only at the start. Later nobody would write to
// it, and the reader would wait for good.
func (c *certificates) readFile(path string) ([]byte, error) {
	if c.current.Load() != nil {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return nil, errors.New("no regular file")
		}
	}
	return os.ReadFile(path)
}

// protocols are what the public listener speaks over TLS.
func protocols() []string { return []string{"h2", "http/1.1", "http/1.0"} }

// config is what the listener is given: each handshake takes what is in force.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	}
}

// again reads the files, and says what has become of it; to who asked also what
// is wrong as before.
func (c *certificates) again(log *slog.Logger, asked bool) {
	changed, err := c.read()
	before := c.wrong
	if c.wrong = ""; err != nil {
		c.wrong = err.Error()
	}
	switch {
	case err != nil && c.wrong == before && !asked:
	case err != nil:
		log.Error("new certificates were refused, and the old ones stay in force", "err", err)
	case changed:
		log.Info("new certificates are in force")
	}
}

// follow reads the files again when something changes in their folders, until
// ctx ends. A machine without a watch to spare has SIGHUP.
func (c *certificates) follow(ctx context.Context, log *slog.Logger, hangups <-chan struct{}) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		for _, path := range []string{c.certFile, c.keyFile, c.clientCAFile} {
			if path != "" && err == nil {
				err = watcher.Add(filepath.Dir(path))
			}
		}
	}
	if err != nil {
		log.Warn("changes of certificates are not noticed; send SIGHUP after a change", "err", err)
		c.heed(ctx, log, nil, nil, hangups)
		return
	}
	c.heed(ctx, log, watcher.Events, watcher.Errors, hangups)
}

// heed is follow, for whatever tells of changes. Both channels of a watcher must
// be read: it waits for that.
func (c *certificates) heed(ctx context.Context, log *slog.Logger, events <-chan fsnotify.Event, failures <-chan error, hangups <-chan struct{}) {
	var due <-chan time.Time // nil: nothing has changed
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			c.again(log, true)
		case <-events:
			if due == nil {
				due = time.After(tlsSettle)
			}
		case err := <-failures:
			if errors.Is(err, fsnotify.ErrEventOverflow) && due == nil { // some were lost, so there were some
				due = time.After(tlsSettle)
			}
		case <-due:
			due = nil
			c.again(log, false)
		}
	}
}
