// Package gateway is the whole program as one function: it builds the pieces,
// connects them, and ends them in order. It gets a configuration that is loaded
// and has no variables of its own; cmd/gateway and the end-to-end tests call it.
//
// The pieces, and what flows between them:
//
//	HTTP, WebSocket ──► api.Server ───publish───► bridge.Bridge ◄──► broker
//	                        │                          │          (built in: a child
//	                   subscribe                   messages           process)
//	                        ▼                          │
//	                     hub.Hub ◄─────────────────────┤
//	                        │                          ▼
//	                        └──► WebSockets, ◄── device.Registry
//	                             event streams
//
// They start from right to left and stop in the order that shutdown.go writes
// out. bridge, hub and api do not know each other's types: adapters.go has what
// stands between them.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/embedded"
	"github.com/vulturepi/gateway/internal/gauge"
	"github.com/vulturepi/gateway/internal/hub"
)

// Addresses are where a gateway listens; with port 0 they are known only then.
type Addresses struct {
	HTTP, Admin string // host:port
	BrokerPID   int    // of the built-in broker, 0 without
}

// parts is what Run builds, from left to right.
type parts struct {
	server  *api.Server
	hub     *hub.Hub
	link    Broker
	devices *device.Registry
	values  *gauge.Set
	public  *http.Server
	admin   *http.Server
}

// Run runs the gateway until ctx ends, and then stops it, which takes as long
// as cfg.ShutdownTimeout at most; that is no error. Version is what /metrics
// and the log call the program. Listening, if not nil, is called once both
// listeners are open. The executable that runs must be the gateway, because the
// built-in broker is a process of it.
func Run(ctx context.Context, cfg *config.Config, version string, log *Log, listening func(Addresses), options ...Option) error {
	with := chosen(options)
	rules, err := decoders(cfg)
	if err != nil {
		return err
	}
	values, err := openValues(cfg, log.Logger, rules)
	if err != nil {
		return err
	}
	tlsConfig, err := brokerTLS(cfg)
	if err != nil {
		return err
	}
	gate, err := openGate(cfg, log.Logger)
	if err != nil {
		return err
	}
	defer gate.close()
	broker, isEmbedded := cfg.Broker()
	if err := findBroker(ctx, cfg, broker); err != nil || ctx.Err() != nil {
		return err
	}
	public, err := listen(ctx, "GATEWAY_HTTP_ADDR", cfg.HTTPAddr)
	if err != nil {
		return err
	}
	defer public.Close()
	admin, err := listen(ctx, "GATEWAY_ADMIN_ADDR", cfg.AdminAddr)
	if err != nil {
		return err
	}
	defer admin.Close()
	at := Addresses{HTTP: public.Addr().String(), Admin: admin.Addr().String()}

	if isEmbedded {
		child, err := startBroker(cfg, log.Logger)
		if err != nil {
			return err
		}
		defer child.Stop()
		broker.Host, at.BrokerPID = child.Addr(), child.PID()
	}

	p := parts{values: values}
	in := &receiver{values: values}
	own := func(string) bool { return false }
	p.devices = openDevices(cfg, log.Logger, func(id string) bool { return own(id) })
	in.devices = p.devices
	link := bridgeConfig(cfg, broker, tlsConfig, log.Logger, in)
	if cfg.Tells(config.DevicesLog) {
		link.System, link.OnSystem = systemTopics, in.system
	}
	p.link = with.broker(link)
	p.hub = hub.New(with.hub(hubOptions(cfg, log.Logger, p.link, rules)))
	in.hub = p.hub
	if b, ok := p.link.(*realBroker); ok {
		own, in.drops = b.Own, b.MayDropSystem
	}
	defer p.hub.Close()
	p.server = api.New(with.api(apiOptions(cfg, version, log, p.hub, p.link, gate, p.devices, values)))
	gate.server.Store(p.server)
	defer gate.follow(ctx)()
	defer p.runLink(ctx, log.Logger, func(ctx context.Context) { hintAddress(ctx, cfg, broker, p.link, log.Logger) })()

	p.public, p.admin = with.http(httpServer(p.server.Public(), log.Logger)), with.http(httpServer(p.server.Admin(), log.Logger))
	p.public.ConnState = p.server.ConnState
	failed := make(chan error, 2)
	go func() { failed <- gate.serve(p.public, public) }()
	go func() { failed <- p.admin.Serve(admin) }()
	defer announce(cfg, log.Logger, at, broker, isEmbedded)()
	log.Info("gateway listens", "http", at.HTTP, "admin", at.Admin, "broker", broker.Redacted(), "embedded", isEmbedded, "version", version)
	if listening != nil {
		listening(at)
	}

	select {
	case err := <-failed:
		return fmt.Errorf("a listener failed: %w", err)
	case <-ctx.Done():
	}
	p.shutdown(cfg.ShutdownTimeout, log.Logger)
	return nil
}

// runLink runs the broker side until the function is called, which waits for
// its end. It outlives ctx: what is in flight must get its outcome.
func (p *parts) runLink(ctx context.Context, log *slog.Logger, hint func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { _ = p.link.Run(ctx) })
	running.Go(func() { p.devices.Run(ctx, deviceBroker{p.link}) })
	running.Go(func() { holdValues(ctx, p.link, p.values.Filters(), log) })
	running.Go(func() { tendMemory(ctx) })
	running.Go(func() { hint(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
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

// httpServer has the limits that net/http leaves open.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second, // of its own answers; handlers set theirs
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
