// Package embedded is the built-in MQTT broker: mochi-mqtt with settings for
// one machine, and the supervisor that runs it as a child process.
//
// It is a process of its own because a packet that crashes the broker must not
// take the gateway with it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// Limits of the built-in broker.
const (
	maxPacket  = 16 << 20 // bytes
	maxPending = 65535    // messages that wait for one client
)

// Run serves MQTT on addr until ctx is done. It lets everybody in, so addr
// must be a loopback address unless anyAddr is set. ready is called with the
// address once it listens. Nothing is kept on disk.
func Run(ctx context.Context, addr string, anyAddr bool, log *slog.Logger, ready func(addr string)) error {
	if err := checkLoopback(addr); err != nil && !anyAddr {
		return err
	}
	l, err := Listen(addr)
	if err != nil {
		return err
	}
	return serve(ctx, l, log, func() { ready(l.Addr().String()) })
}

// Listen opens addr. The error says what to do.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(addr, err)
	}
	return l, nil
}

// serve serves MQTT on l, which it closes, until ctx is done.
func serve(ctx context.Context, l net.Listener, log *slog.Logger, ready func()) error {
	defer l.Close()
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumPacketSize = maxPacket
	caps.MaximumClientWritesPending = maxPending
	caps.MaximumInflight = maxPending
	caps.MaximumMessageExpiryInterval = 0 // retained messages stay
	server := mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(quiet{log.Handler()}), SysTopicResendInterval: 10})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if err := server.AddListener(listeners.NewNet("mqtt", l)); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if err := server.Serve(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	ready()
	<-ctx.Done()
	return server.Close()
}

// checkLoopback refuses addresses that other machines can reach.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("the address %q is not host:port, for example 127.0.0.1:1883", addr)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("the built-in broker lets everybody in, so it listens on loopback only, not on %q; for a network run mosquitto with an access list, or let everybody on it in with -lan, or with -allow-anonymous", addr)
}

// listenError says what to do about an address that cannot be had.
func listenError(addr string, err error) error {
	if isAddrInUse(err) {
		return fmt.Errorf("the address %s is taken by another program; if it is an MQTT broker, use it with GATEWAY_MQTT_URL=mqtt://%s, or choose another address with GATEWAY_EMBEDDED_ADDR", addr, addr)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("the broker cannot listen on %s: %w", addr, err)
}

// quiet lowers the broker's own chatter: what it calls info is debug here, and
// a client that goes away is no warning.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, lower(level))
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lower(r.Level)
	if !q.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(name string) slog.Handler   { return quiet{q.Handler.WithGroup(name)} }

func lower(level slog.Level) slog.Level {
	if level < slog.LevelError {
		return slog.LevelDebug
	}
	return level
}

// UntilEOF gives a context that ends when r does: a child process learns so
// that its parent is gone.
func UntilEOF(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}
