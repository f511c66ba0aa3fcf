// Package embedded runs the built-in MQTT broker: as a process of its own, started and started again by a supervisor.
//
// It is a process of its own because it takes what anybody sends who reaches its port: whatever that does to its memory,
// the gateway keeps its own.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/vulturepi/gateway/internal/embedded/broker"
)

// Config says how the broker runs.
type Config struct {
	Addr    string // host:port to listen on
	AnyAddr bool   // Addr may be one that other machines reach
	Dir     string // where retained messages and sessions are kept; "": in memory
}

// Run serves MQTT until ctx is done, or what is to be kept cannot be written. It lets everybody in, so the address must
// be a loopback address unless AnyAddr is set. ready is called with the address once it listens.
func Run(ctx context.Context, c Config, log *slog.Logger, ready func(addr string)) error {
	if err := checkLoopback(c.Addr); err != nil && !c.AnyAddr {
		return err
	}
	l, err := Listen(c.Addr)
	if err != nil {
		return err
	}
	return serve(ctx, l, c.Dir, log, func() { ready(l.Addr().String()) })
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
func serve(ctx context.Context, l net.Listener, dir string, log *slog.Logger, ready func()) error {
	defer l.Close()
	b, err := broker.New(broker.Options{Dir: dir, Log: log, Limits: broker.DefaultLimits()})
	if err != nil {
		return fmt.Errorf("GATEWAY_EMBEDDED_DIR=%s: %w", dir, err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	ready()
	select {
	case <-ctx.Done():
	case <-b.Failed():
	}
	return errors.Join(b.Close(), <-served)
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
	return fmt.Errorf("the built-in broker lets everybody in, so it listens on loopback only, not on %q; for a network run mosquitto with an access list, or let everybody on it in with --lan, or with --allow-anonymous", addr)
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
