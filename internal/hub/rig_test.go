package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"

	"github.com/vulturepi/gateway/wire"
)

// broker is an Upstream that the test steers.
type broker struct {
	mu       sync.Mutex
	wanted   map[string]int
	refuse   map[string]error
	retained func(filter string) ([]Inbound, error)
	fetches  int
	dynamic  bool
	silent   bool          // does not answer fetches
	confirm  chan struct{} // Want waits for it, if there is one
}

func newBroker() *broker {
	return &broker{wanted: map[string]int{}, refuse: map[string]error{}, retained: func(string) ([]Inbound, error) { return nil, nil }}
}

func (b *broker) Want(ctx context.Context, filter string) error {
	if b.confirm != nil {
		select {
		case <-b.confirm:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refuse[filter]; err != nil {
		return err
	}
	b.wanted[filter]++
	return nil
}

func (b *broker) Release(filter string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wanted[filter]--; b.wanted[filter] == 0 {
		delete(b.wanted, filter)
	}
}

func (b *broker) wants() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.wanted)
}

func (b *broker) Watched(string) bool { return !b.dynamic }

func (b *broker) Retained(ctx context.Context, filter string) ([]Inbound, error) {
	if b.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	b.mu.Lock()
	b.fetches++
	f := b.retained
	b.mu.Unlock()
	return f(filter)
}

// wireTap is a connection into memory: lines of JSON. While it is blocked it
// takes nothing; one that is limited takes what it was granted.
type wireTap struct {
	mu      sync.Mutex
	changed *sync.Cond
	got     bytes.Buffer // not parsed yet
	frames  []frame
	blocked bool
	limited bool
	granted int
	ended   bool
	line    func(line []byte) // gets each line instead of the test; nil: the test does
}

func newTap() *wireTap {
	w := &wireTap{}
	w.changed = sync.NewCond(&w.mu)
	return w
}

func (w *wireTap) Name() string { return "tap" }

func (w *wireTap) TryWrite(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return 0, errors.New("ended")
	}
	return w.take(p), nil
}

func (w *wireTap) WriteAll(p []byte) (done int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for done < len(p) {
		if w.ended {
			return done, errors.New("ended")
		}
		n := w.take(p[done:])
		if done += n; n == 0 {
			w.changed.Wait()
		}
	}
	return done, nil
}

func (w *wireTap) take(p []byte) int {
	if w.blocked {
		return 0
	}
	if w.limited {
		p = p[:min(len(p), w.granted)]
		w.granted -= len(p)
	}
	w.got.Write(p)
	for w.line != nil {
		end := bytes.IndexByte(w.got.Bytes(), '\n') + 1
		if end == 0 {
			break
		}
		w.line(w.got.Next(end))
	}
	w.changed.Broadcast()
	return len(p)
}

// grant lets a limited tap take so many bytes more; less than 0: all.
func (w *wireTap) grant(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limited = n >= 0
	w.granted += n
	w.changed.Broadcast()
}

func (w *wireTap) block(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocked = yes
	w.changed.Broadcast()
}

func (w *wireTap) Hurry() {}

func (w *wireTap) Finish() { w.Abort() }

func (w *wireTap) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.changed.Broadcast()
}

func (w *wireTap) Silent(time.Time) bool { return false }

func (w *wireTap) Framing() string { return "tap" }

func (w *wireTap) AppendMessage(dst []byte, _ *message.Message, body []byte) []byte {
	return append(append(dst, body...), '\n')
}

func (w *wireTap) AppendFrame(dst []byte, f outbox.Frame) []byte {
	if f.Kind == "" {
		return dst
	}
	return append(append(dst, f.Body...), '\n')
}

func (w *wireTap) KeepAlive(time.Time) []byte { return nil }

func (w *wireTap) AppendClose(dst []byte, why outbox.CloseReason) []byte {
	return append(dst, fmt.Sprintf("{\"type\":\"close\",\"why\":%d}\n", why)...)
}

// frame is any frame, as far as the tests look.
type frame struct {
	Type    string
	Topic   string
	Payload json.RawMessage
	Retain  bool
	Cursor  string
	After   string
	Before  string
	Reason  string
	Certain bool
	Results []wire.Result
	Skipped int
	Resumed *bool

	Value       json.RawMessage
	DecodeError string `json:"decode_error"`
}

// String leaves out most of a long payload.
func (f frame) String() string {
	if len(f.Payload) > 20 {
		f.Payload = append(f.Payload[:20:20], "…"...)
	}
	return fmt.Sprintf("{%s %s=%s retain %t cursor %q gap %q to %q %s certain %t skipped %d}", f.Type, f.Topic, f.Payload, f.Retain, f.Cursor, f.After, f.Before, f.Reason, f.Certain, f.Skipped)
}

// fataler is a test, of package testing or rapid.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// wait returns the frames as soon as done is content with them.
func (w *wireTap) wait(t fataler, done func([]frame) bool) []frame {
	t.Helper()
	start := time.Now()
	timeout := time.AfterFunc(patience, func() { w.mu.Lock(); w.changed.Broadcast(); w.mu.Unlock() })
	defer timeout.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		whole := bytes.LastIndexByte(w.got.Bytes(), '\n') + 1
		w.frames = append(w.frames, parse(t, w.got.Next(whole))...)
		if done(w.frames) {
			return w.frames
		}
		if time.Since(start) >= patience {
			t.Fatalf("timed out; %d frames so far, the last: %+v", len(w.frames), w.frames[max(0, len(w.frames)-5):])
		}
		w.changed.Wait()
	}
}

func parse(t fataler, b []byte) []frame {
	t.Helper()
	var frames []frame
	for line := range bytes.Lines(b) {
		var f frame
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatalf("frame is not JSON: %v: %q", err, line)
		}
		frames = append(frames, f)
	}
	return frames
}

func count(n int) func([]frame) bool { return func(f []frame) bool { return len(f) >= n } }

func setup(t *testing.T, b *broker, o Options) *Hub {
	t.Helper()
	o.Upstream, o.Epoch = b, "e"
	h := New(o)
	t.Cleanup(h.Close)
	h.BrokerUp(false)
	return h
}

func attach(t *testing.T, h *Hub) (*Client, *wireTap) {
	t.Helper()
	tap := newTap()
	c := h.Attach(tap, tap, nil, nil)
	t.Cleanup(c.Detach)
	return c, tap
}

func ok(filters ...string) *Request { return &Request{Results: results(filters...)} }

func results(filters ...string) []wire.Result {
	var rs []wire.Result
	for _, f := range filters {
		rs = append(rs, wire.Result{Topic: f, OK: true})
	}
	return rs
}

func live(topic, payload string) Inbound {
	return Inbound{Topic: topic, Payload: []byte(payload), QoS: 1}
}

// patience is how long a test waits for something that should be quick.
const patience = 2 * time.Minute

// eventually waits for a condition that nothing signals.
func eventually(t fataler, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func types(frames []frame) string {
	var s []string
	for _, f := range frames {
		s = append(s, f.Type)
	}
	return strings.Join(s, " ")
}
