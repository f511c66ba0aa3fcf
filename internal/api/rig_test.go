package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vulturepi/gateway/internal/hub"
)

// patience is how long a test waits for something that should be quick, on a
// machine that has much else to do.
const patience = 2 * time.Minute

// canary stands in every hostile body, header and payload; nothing may repeat it.
const canary = "c4n4ry"

// rig is a Server on real sockets with a real hub; the broker side only
// remembers what it was asked to do.
type rig struct {
	t             testing.TB
	server        *Server
	hub           *hub.Hub
	broker        *memoryBroker
	log           *logLines
	public, admin string // host:port
	stop          []func() error
}

// startRig runs a server until the end of the test, which fails if a goroutine
// outlives it.
func startRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	before := goleak.IgnoreCurrent()
	// net/http lets a closed connection linger for half a second.
	lingering := goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
	g := &rig{t: t, broker: &memoryBroker{}, log: &logLines{}}
	log := slog.New(slog.NewJSONHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g.hub = hub.New(hub.Options{Upstream: g.broker, Log: log})
	g.hub.BrokerUp(false)
	o := Options{
		Hub: g.hub, Publisher: g.broker, Log: log, Version: "test",
		Health:      func() Health { return Health{Publish: true, Subscribe: true} },
		BrokerStats: func() BrokerStats { return BrokerStats{} },
		MaxPayload:  256 << 10, QueueBytes: 1 << 20, MaxConnections: 1000, PublishTimeout: 5 * time.Second,
	}
	for _, f := range change {
		f(&o)
	}
	g.server = New(o)
	g.public, g.admin = g.listen(g.server.Public(), 0), g.listen(g.server.Admin(), 0)
	t.Cleanup(func() {
		for _, f := range g.stop {
			_ = f()
		}
		g.hub.Close()
		if err := goleak.Find(before, lingering); err != nil {
			t.Errorf("goroutines outlive the server: %v", err)
		}
	})
	return g
}

// forgetful gives the server a hub that watches filters no longer than they are
// wanted, and the broker side that it asks.
func forgetful(t testing.TB) (*memoryBroker, func(*Options)) {
	broker := &memoryBroker{dynamic: true}
	h := hub.New(hub.Options{Upstream: broker, Linger: time.Millisecond})
	h.BrokerUp(false)
	t.Cleanup(h.Close)
	return broker, func(o *Options) { o.Hub = h }
}

// watchesNothing waits until no filter is held.
func (m *memoryBroker) watchesNothing(t testing.TB) {
	t.Helper()
	eventuallyTrue(t, "nothing is watched", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.held == 0
	})
}

// listen serves h until the end of the test. With sendBuffer its sockets take
// no more than about so many bytes that nobody reads.
func (g *rig) listen(h http.Handler, sendBuffer int) string {
	g.t.Helper()
	var conf net.ListenConfig
	if sendBuffer > 0 {
		conf.Control = func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer)
			})
			return errors.Join(err, failed)
		}
	}
	l, err := conf.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatalf("listen: %v", err)
	}
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.NewJSONHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}), slog.LevelDebug),
	}
	go func() { _ = s.Serve(l) }()
	g.stop = append(g.stop, s.Close)
	return l.Addr().String()
}

// published is what reached the broker side, in a readable form.
func (g *rig) published() []string { return g.broker.publishes() }

// wantPublishes fails unless exactly n messages have reached the broker side.
func (g *rig) wantPublishes(t testing.TB, n int) {
	t.Helper()
	if got := g.published(); len(got) != n {
		t.Errorf("the broker side got %d publishes %.200q, want %d", len(got), got, n)
	}
}

// cleanLog fails unless every line of the log is one JSON object without the canary.
func (g *rig) cleanLog(t testing.TB) {
	t.Helper()
	for _, line := range g.log.lines() {
		line = strings.TrimSuffix(line, "\n")
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Errorf("log line %.300q is no JSON object: %v", line, err)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			t.Errorf("log line %.300q has control characters", line)
		}
		if strings.Contains(line, canary) {
			t.Errorf("log line %.300q has text of the client", line)
		}
	}
}

// eventuallyTrue waits for a condition that nothing signals.
func eventuallyTrue(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// memoryBroker is the broker side: everything works and is remembered. Filters
// below "elsewhere" are not covered, those below "refused" not granted.
type memoryBroker struct {
	dynamic bool       // nothing is watched for good; set before use
	mu      sync.Mutex // guards all below
	got     []string
	raw     [][]byte
	wanted  []string
	held    int
}

func (m *memoryBroker) Publish(o Outbound) (Pending, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, fmt.Sprintf("%s %s %d %v", o.Topic, o.Payload, o.QoS, o.Retain))
	m.raw = append(m.raw, bytes.Clone(o.Payload))
	return done{}, nil
}

type done struct{}

func (done) Outcome() error { return nil }

func (done) Unheard() bool { return false }

func (done) Done() <-chan struct{} { return closedChan }

func (m *memoryBroker) Want(_ context.Context, filter string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = append(m.wanted, filter)
	switch {
	case strings.HasPrefix(filter, "elsewhere/"):
		return hub.ErrNotCovered
	case strings.HasPrefix(filter, "refused/"):
		return hub.ErrRefused
	}
	m.held++
	return nil
}

func (m *memoryBroker) Release(string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held--
}

func (m *memoryBroker) Watched(string) bool { return !m.dynamic }

func (m *memoryBroker) Retained(context.Context, string) ([]hub.Inbound, error) { return nil, nil }

func (m *memoryBroker) publishes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got[:len(m.got):len(m.got)]
}

func (m *memoryBroker) filters() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted[:len(m.wanted):len(m.wanted)]
}

// logLines is a log that a test can read while it grows.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*logLines)(nil)

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(strings.Lines(l.b.String()))
}
