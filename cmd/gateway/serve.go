package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/embedded"
	"github.com/vulturepi/gateway/internal/hub"
)

// The pieces, and what flows between them:
//
//	HTTP, WebSocket ──► api.Server ───publish───► bridge.Bridge ◄──► broker
//	                        │                          │          (built in: a child
//	                   subscribe                   messages           process)
//	                        ▼                          │
//	                     hub.Hub ◄─────────────────────┘
//	                        │
//	                        └──► WebSockets, event streams
//
// They start from right to left and stop in the order that serve writes out.

func serveCommand(ctx context.Context, args []string, _ io.Reader, _, stderr io.Writer) error {
	cfg, notices, err := load("serve", args, stderr)
	if err != nil {
		return err
	}
	log := newLogger(cfg, stderr)
	for _, n := range notices {
		log.Warn("configuration", "notice", n)
	}
	return serve(ctx, cfg, log, nil)
}

// addresses are where a gateway listens; with port 0 they are known only then.
type addresses struct {
	HTTP, Admin string
	BrokerPID   int // of the built-in broker, 0 without
}

// serve runs the gateway until ctx ends. listening, if not nil, is called once
// both listeners are open.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, listening func(addresses)) error {
	rules, err := decoders(cfg)
	if err != nil {
		return err
	}
	broker, isEmbedded := cfg.Broker()
	if err := findBroker(ctx, cfg, broker); err != nil || ctx.Err() != nil {
		return err
	}
	public, err := listen("GATEWAY_HTTP_ADDR", cfg.HTTPAddr)
	if err != nil {
		return err
	}
	defer public.Close()
	admin, err := listen("GATEWAY_ADMIN_ADDR", cfg.AdminAddr)
	if err != nil {
		return err
	}
	defer admin.Close()
	at := addresses{HTTP: public.Addr().String(), Admin: admin.Addr().String()}

	if isEmbedded {
		child, err := startBroker(cfg, log)
		if err != nil {
			return err
		}
		defer child.Stop()
		broker.Host, at.BrokerPID = child.Addr(), child.PID()
	}

	tlsConfig, err := brokerTLS(cfg)
	if err != nil {
		return err
	}
	in := &receiver{log: log}
	link := bridge.New(bridgeConfig(cfg, broker, tlsConfig, log, in))
	in.hub = hub.New(hubOptions(cfg, log, link, rules))
	defer in.hub.Close()
	server := api.New(apiOptions(cfg, log, in.hub, link))

	linkCtx, stopLink := context.WithCancel(context.WithoutCancel(ctx))
	linkDone := make(chan struct{})
	go func() {
		defer close(linkDone)
		_ = link.Run(linkCtx)
	}()
	defer func() { stopLink(); <-linkDone }()

	go calm(linkCtx)
	go hintAddress(linkCtx, cfg, broker, link, log)

	publicServer, adminServer := httpServer(server.Public(), log), httpServer(server.Admin(), log)
	failed := make(chan error, 2)
	go func() { failed <- publicServer.Serve(public) }()
	go func() { failed <- adminServer.Serve(admin) }()
	defer announce(cfg, log, at, broker, isEmbedded)()
	log.Info("gateway listens", "http", at.HTTP, "admin", at.Admin, "broker", broker.Redacted(), "embedded", isEmbedded, "version", version)
	if listening != nil {
		listening(at)
	}

	select {
	case err := <-failed:
		return fmt.Errorf("a listener failed: %w", err)
	case <-ctx.Done():
	}
	return shutdown(cfg.ShutdownTimeout, log, server, in.hub, publicServer, adminServer)
}

// shutdown ends everything that clients see, in order: /readyz says no, new
// connections are refused and publishes in flight finish, WebSockets are
// closed in parallel. What serve deferred follows: MQTT, then the broker.
func shutdown(limit time.Duration, log *slog.Logger, server *api.Server, h *hub.Hub, public, admin *http.Server) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	server.Drain()
	streams := 0
	for _, n := range h.Stats().Subscribers {
		streams += n
	}
	err := public.Shutdown(ctx)
	server.Quiesce(ctx)
	h.Shutdown(ctx)
	if err != nil {
		_ = public.Close()
	}
	_ = admin.Close()
	log.Info("gateway stopped", "streams", streams, "took_ms", time.Since(start).Milliseconds(), "complete", err == nil)
	return nil
}

func startBroker(cfg *config.Config, log *slog.Logger) (*embedded.Child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("built-in broker: %w", err)
	}
	conf := embedded.Config{Addr: cfg.EmbeddedAddr, AnyAddr: cfg.AllowAnonymous, Dir: cfg.EmbeddedDir}
	child, err := embedded.StartChild(exe, conf, log)
	if err != nil {
		return nil, fmt.Errorf("built-in broker: %w", err)
	}
	if conf.Dir == "" {
		log.Info("no broker is configured, so the built-in one runs; it keeps nothing on disk", "addr", child.Addr())
	} else {
		log.Info("no broker is configured, so the built-in one runs", "addr", child.Addr(), "dir", conf.Dir)
	}
	return child, nil
}

func listen(variable, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("%s: cannot listen on %s: %w", variable, addr, err)
	}
	return l, nil
}

// httpServer has the limits that net/http leaves open.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
