package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vulturepi/gateway/internal/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; far more than it takes.
const patience = 2 * time.Minute

// recorder keeps what a Receiver is told, in order, and notices calls that overlap.
type recorder struct {
	mu       sync.Mutex
	inside   bool
	overlap  bool
	messages []Message
	tooLarge []Message
	since    time.Time           // of the last Dropped
	events   []string            // "up", "up lost", "down", "dropped", "dropped certain"
	hold     func(Message)       // called in Message, if set
	changed  chan struct{}       // closed and replaced with each call
	byTopic  map[string][]string // payloads, in order
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}), byTopic: make(map[string][]string)}
}

func (r *recorder) enter() {
	r.mu.Lock()
	if r.inside {
		r.overlap = true
	}
	r.inside = true
	r.mu.Unlock()
}

func (r *recorder) leave(record func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside = false
	record()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) Message(m Message) {
	r.enter()
	if r.hold != nil {
		r.hold(m)
	}
	r.leave(func() {
		if m.TooLarge > 0 {
			r.events = append(r.events, "too large")
			r.tooLarge = append(r.tooLarge, m)
			return
		}
		r.messages = append(r.messages, m)
		r.byTopic[m.Topic] = append(r.byTopic[m.Topic], string(m.Payload))
	})
}

func (r *recorder) Rest() {
	r.enter()
	r.leave(func() {})
}

func (r *recorder) event(e string) {
	r.enter()
	r.leave(func() { r.events = append(r.events, e) })
}

func (r *recorder) Up(lost bool) {
	if lost {
		r.event("up lost")
	} else {
		r.event("up")
	}
}

func (r *recorder) Down(error) { r.event("down") }

func (r *recorder) Dropped(certain bool, since time.Time) {
	r.mu.Lock()
	r.since = since
	r.mu.Unlock()
	if certain {
		r.event("dropped certain")
	} else {
		r.event("dropped")
	}
}

// wait returns when ok holds. It is called with the lock held.
func (r *recorder) wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		done, changed := ok(), r.changed
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Fatalf("%s did not happen; %d messages, events %q", what, len(r.messages), r.events)
		}
	}
}

func (r *recorder) waitEvent(t testing.TB, n int, event string) {
	t.Helper()
	r.wait(t, fmt.Sprintf("event %q number %d", event, n), func() bool { return r.count(event) >= n })
}

func (r *recorder) waitMessage(t testing.TB, topic, payload string) {
	t.Helper()
	r.wait(t, "message "+topic+" "+payload, func() bool {
		for _, p := range r.byTopic[topic] {
			if p == payload {
				return true
			}
		}
		return false
	})
}

// count is called with the lock held.
func (r *recorder) count(event string) int {
	n := 0
	for _, e := range r.events {
		if strings.HasPrefix(e, event) {
			n++
		}
	}
	return n
}

func (r *recorder) on(topic string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.byTopic[topic]...)
}

func (r *recorder) seen() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.messages...)
}

func (r *recorder) told() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.events, ", ")
}

// logBuffer collects log lines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a running bridge.
type rig struct {
	*Bridge
	rec  *recorder
	logs *logBuffer
	stop func()
}

// launch runs a bridge against a URL until the end of the test. Change may set anything before it runs.
func launch(t testing.TB, rawURL string, cfg Config, change ...func(*Bridge)) *rig {
	t.Helper()
	u := mustParse(t, rawURL)
	r := &rig{rec: newRecorder(), logs: new(logBuffer)}
	cfg.URL = u
	if cfg.Receiver == nil {
		cfg.Receiver = r.rec
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r.Bridge = New(cfg)
	r.timing.backoffFirst, r.timing.backoffMax = 20*time.Millisecond, 300*time.Millisecond
	r.timing.backoffDial = 100 * time.Millisecond
	for _, f := range change {
		f(r.Bridge)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	}
	t.Cleanup(func() {
		r.stop()
		if r.rec.overlap {
			t.Error("calls of the Receiver overlapped")
		}
		if t.Failed() {
			t.Logf("log of the bridge:\n%s", r.logs)
		}
	})
	return r
}

func mustParse(t testing.TB, rawURL string) *url.URL {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// ready waits until everything works.
func (r *rig) ready(t testing.TB) *rig {
	t.Helper()
	r.waitStatus(t, "ready", func(s Status) bool { return s.Publish && s.Subscribe })
	return r
}

func (r *rig) waitStatus(t testing.TB, what string, ok func(Status) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := r.Changed()
		if ok(r.Status()) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("status never %s: %+v", what, r.Status())
		}
	}
}

// send publishes and waits for the outcome.
func (r *rig) send(topic, payload string, qos byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := r.Publish(Message{Topic: topic, Payload: []byte(payload), QoS: qos})
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

// eventually waits until ok holds, for what tells nobody when it changes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// bothVersions runs a test for each.
func bothVersions(t *testing.T, f func(t *testing.T, v mqtt.Version)) {
	t.Helper()
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		t.Run("MQTT "+v.String(), func(t *testing.T) { f(t, v) })
	}
}
