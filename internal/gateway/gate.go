package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/config"
)

// gate is who is let in, by what certificate the gateway is known, and what is
// written down of it: all that SIGHUP reads again.
type gate struct {
	callers      *access.Authenticator
	certificates *certificates // nil: plain HTTP
	audit        *auditLog
	log          *slog.Logger
	server       atomic.Pointer[api.Server] // counts reloads, once it is there
}

func openGate(cfg *config.Config, log *slog.Logger) (g *gate, err error) {
	g = &gate{log: log}
	if g.certificates, err = openCertificates(cfg); err != nil {
		return nil, err
	}
	if g.audit, err = openAudit(cfg.AuditLog, os.Stdout, log); err != nil {
		return nil, err
	}
	if g.callers, err = openAccess(cfg, log, reports(log, g.count)); err != nil {
		g.audit.close()
		return nil, err
	}
	if g.certificates != nil {
		g.certificates.trust = g.callers.SetClientCAs
	}
	return g, nil
}

func (g *gate) close() {
	g.callers.Close()
	g.audit.close()
}

func (g *gate) count(ok bool) {
	if s := g.server.Load(); s != nil {
		s.AccessReloaded(ok)
	}
}

// follow reads everything again at SIGHUP, and the certificates when they
// change, until the function is called.
func (g *gate) follow(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	again := make(chan struct{})
	var running sync.WaitGroup
	if g.certificates != nil {
		running.Go(func() { g.certificates.follow(ctx, g.log, again) })
	}
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
			}
			g.audit.reopen(g.log)
			_ = g.callers.Reload(ctx) // what is wrong is reported
			if g.certificates != nil {
				select {
				case again <- struct{}{}:
				case <-ctx.Done():
				}
			}
		}
	})
	return func() {
		signal.Stop(hangups)
		cancel()
		running.Wait()
	}
}

// serve serves with TLS, or without.
func (g *gate) serve(s *http.Server, l net.Listener) error {
	if g.certificates == nil {
		return s.Serve(l)
	}
	s.TLSConfig = g.certificates.config()
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: 100, MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 256 << 10,
		MaxReadFrameSize: 16 << 10, // else a frame of 1 MiB would be held for each connection
		SendPingTimeout:  30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 10 * time.Second,
	}
	return s.ServeTLS(l, "", "")
}
