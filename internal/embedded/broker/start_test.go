package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// server is a broker that listens on a free port.
type server struct {
	*Broker
	t    testing.TB
	addr string
	log  *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a broker until the end of the test. Edit changes its options.
func start(t testing.TB, edit ...func(*Options)) *server {
	t.Helper()
	s := &server{t: t, log: new(logBuffer)}
	o := Options{Log: slog.New(slog.NewTextHandler(s.log, nil)), Limits: DefaultLimits()}
	for _, e := range edit {
		e(&o)
	}
	b, err := New(o)
	if err != nil {
		t.Fatalf("broker: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Broker, s.addr = b, l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			if err := b.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
		if t.Failed() {
			t.Logf("the broker's log:\n%s", s.log)
		}
	})
	return s
}

// client is a raw client with a clean session.
func (s *server) client(version byte, id string, props ...[]byte) *raw.Conn {
	s.t.Helper()
	return raw.Client(s.t, s.addr, version, id, 2, props...)
}

// healthy fails unless a client can subscribe, publish and receive.
func (s *server) healthy() {
	s.t.Helper()
	c := brokertest.Dial(s.t, s.addr)
	defer c.Close()
	if got := c.Subscribe("healthy", 1); got != 1 {
		s.t.Fatalf("SUBSCRIBE of a healthy client: got %#x, want 1", got)
	}
	if err := c.Publish("healthy", []byte("yes"), 1, false); err != nil {
		s.t.Fatalf("PUBLISH of a healthy client: %v", err)
	}
	c.WaitCount(1, raw.Patience)
}

// figure is one of the broker's own, now.
func (s *server) figure(read func() int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return read()
}

func (s *server) heldNow() int64    { return s.figure(func() int64 { return s.held }) }
func (s *server) droppedNow() int64 { return s.figure(func() int64 { return s.stats.dropped }) }

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(raw.Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it did not happen in %v", what, raw.Patience)
		}
	}
}

// payloads are those of messages, in order.
func payloads(all []brokertest.Message) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "%s ", m.Payload)
	}
	return strings.TrimSpace(b.String())
}

// versions runs a test for MQTT 3.1.1 and 5.
func versions(t *testing.T, test func(t *testing.T, version byte)) {
	for _, v := range []byte{4, 5} {
		t.Run(fmt.Sprint("version ", v), func(t *testing.T) { test(t, v) })
	}
}

// props are properties of version 5, and nothing before.
func props(version byte, all ...[]byte) []byte {
	if version < 5 {
		return nil
	}
	return raw.Props(all...)
}
