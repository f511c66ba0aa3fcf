package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vulturepi/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestAckComesBeforeRetainedBeforeLive(t *testing.T) {
	b := newBroker()
	b.retained = func(string) ([]Inbound, error) { return []Inbound{live("a/x", "1"), live("a/y", "2")}, nil }
	h := setup(t, b, Options{})
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("a/+"))
	h.Ingest(live("a/x", "3"))
	frames := tap.wait(t, count(4))
	if got := types(frames); got != "ack message message message" {
		t.Fatalf("got frames %q", got)
	}
	if frames[0].Cursor != "e-0" || !frames[1].Retain || frames[1].Cursor != "" || frames[3].Retain || frames[3].Cursor != "e-1" {
		t.Errorf("got %+v", frames)
	}
}

func TestOverlappingFiltersDeliverOnce(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("a/#", "a/+", "a/b", "#"))
	for range 3 {
		h.Ingest(live("a/b", "1"))
	}
	c.Send("pong", &wire.Pong{Type: "pong"})
	frames := tap.wait(t, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "pong" })
	if got := types(frames); got != "ack message message message pong" {
		t.Errorf("got frames %q", got)
	}
}

// The broker answers a fetch on another connection than the live stream, so
// either may be ahead. Whatever the order, no value runs backwards.
func TestRetainedTakesTheNewestValueSeenLive(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{})
	b.retained = func(string) ([]Inbound, error) {
		h.Ingest(live("a/x", "2")) // newer than the copy, or the same
		h.Ingest(live("a/new", "1"))
		h.Ingest(live("a/cleared", ""))
		return []Inbound{live("a/x", "1"), live("a/y", "9"), live("a/cleared", "8")}, nil
	}
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("a/#"))
	h.Ingest(live("a/x", "3"))
	frames := tap.wait(t, func(f []frame) bool { return len(f) > 0 && string(f[len(f)-1].Payload) == "3" })
	var got []string
	for _, f := range frames[1:] {
		got = append(got, fmt.Sprintf("%s=%s %t %s", f.Topic, f.Payload, f.Retain, f.Cursor))
	}
	want := []string{"a/x=2 true ", "a/y=9 true ", "a/new=1 false ", "a/x=3 false e-4"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if frames[0].Cursor != "e-3" {
		t.Errorf("ack joins at %q, want e-3", frames[0].Cursor)
	}
}

func TestJoinersShareOneFetchAndNobodyElseSeesIt(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{})
	old, oldTap := attach(t, h)
	old.Subscribe(t.Context(), ok("#"))
	oldTap.wait(t, count(1))
	release := make(chan struct{})
	b.mu.Lock()
	b.fetches = 0
	b.retained = func(string) ([]Inbound, error) {
		<-release
		return []Inbound{live("a", "1")}, nil
	}
	b.mu.Unlock()
	var joined sync.WaitGroup
	var taps []*wireTap
	for range 50 {
		c, tap := attach(t, h)
		taps = append(taps, tap)
		joined.Go(func() { c.Subscribe(t.Context(), ok("#")) })
	}
	eventually(t, "50 clients wait for the same fetch", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		f := h.fetches["#"]
		return f != nil && f.joiners == 51 // and the fetch itself
	})
	close(release)
	joined.Wait()
	for _, tap := range taps {
		if got := types(tap.wait(t, count(2))); got != "ack message" {
			t.Fatalf("joiner got %q", got)
		}
	}
	if b.fetches != 1 {
		t.Errorf("got %d fetches, want 1", b.fetches)
	}
	old.Send("pong", &wire.Pong{Type: "pong"})
	if got := types(oldTap.wait(t, count(2))); got != "ack pong" {
		t.Errorf("the old client got %q", got)
	}
}

func TestRefusedFilterDoesNotStopTheOthers(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	b.refuse["no"], b.refuse["out"] = ErrRefused, ErrNotCovered
	h := setup(t, b, Options{})
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("no", "yes", "out"))
	rs := tap.wait(t, count(1))[0].Results
	if rs[0].Code != "filter_refused" || !rs[1].OK || rs[2].Code != "filter_not_covered" || rs[0].OK || rs[2].OK {
		t.Errorf("got %+v", rs)
	}
}

func TestRetainedFollowsWhenTheBrokerComesBack(t *testing.T) {
	b := newBroker()
	down := errors.New("no connection")
	b.retained = func(string) ([]Inbound, error) { return nil, down }
	h := setup(t, b, Options{})
	h.BrokerDown()
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("a"))
	b.mu.Lock()
	b.retained = func(string) ([]Inbound, error) { return []Inbound{live("a", "1")}, nil }
	b.mu.Unlock()
	h.BrokerUp(true)
	frames := tap.wait(t, count(5))
	if got := types(frames); got != "broker ack gap broker message" || !frames[4].Retain {
		t.Errorf("got %q", got)
	}
	if g := frames[2]; g.Reason != wire.GapBrokerConnectionLost || g.After != "e-0" || g.Before != "e-1" {
		t.Errorf("got gap %+v", g)
	}
}

func TestStalledClientIsCutOffWithAGapAndOthersAreNot(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 64 << 10})
	slow, slowTap := attach(t, h)
	good, goodTap := attach(t, h)
	closed := ok("#")
	closed.Overflow = outbox.OverflowClose
	slow.Subscribe(t.Context(), closed)
	good.Subscribe(t.Context(), ok("#"))
	slowTap.wait(t, count(1))
	slowTap.block(true)
	const n = 2000
	for i := range n {
		h.Ingest(live("a", fmt.Sprint(i)))
		if i%50 == 0 { // the good one keeps up
			goodTap.wait(t, count(i+1))
		}
	}
	frames := goodTap.wait(t, count(n+1))
	if got := string(frames[n].Payload); got != fmt.Sprint(n-1) {
		t.Errorf("last message is %s, want %d", got, n-1)
	}
	slowTap.block(false)
	frames = slowTap.wait(t, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "close" })
	gap, before := frames[len(frames)-2], frames[len(frames)-3]
	if gap.Type != "gap" || gap.Reason != wire.GapSlowConsumer || !gap.Certain || gap.After != before.Cursor {
		t.Errorf("got %+v after %+v", gap, before)
	}
	if s := h.Stats(); s.Dropped["slow_consumer"] == 0 || s.Gaps[wire.GapSlowConsumer] != 1 {
		t.Errorf("got stats %+v", s)
	}
}

func TestDetachReleasesEverything(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	h := setup(t, b, Options{Linger: time.Millisecond})
	c, _ := attach(t, h)
	c.Subscribe(t.Context(), ok("a", "b/#"))
	c.Unsubscribe(nil, results("a", "never"))
	eventually(t, "only b/# is wanted upstream", func() bool { return b.wants() == 1 })
	c.Detach()
	c.Detach()
	eventually(t, "nothing is wanted upstream", func() bool { return b.wants() == 0 })
	if h.interests.Len() != 0 || h.clients.count != 0 || h.filters != 0 {
		t.Errorf("left: %d interests, %d clients, %d filters", h.interests.Len(), h.clients.count, h.filters)
	}
}

func TestLargeQueueArrivesWholeAndInOrder(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 64 << 20})
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("#"))
	tap.wait(t, count(1))
	tap.block(true)
	const n = 20_000
	for i := range n {
		h.Ingest(live("t/"+fmt.Sprint(i%7), fmt.Sprint(i)))
	}
	tap.block(false)
	for i, f := range tap.wait(t, count(n+1))[1:] {
		if string(f.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, f.Payload)
		}
	}
}

func TestIngestAllocatesLittle(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	in := live("a/b/c", strings.Repeat("x", 100))
	if n := testing.AllocsPerRun(1000, func() { h.Ingest(in) }); n > 4 {
		t.Errorf("got %.1f allocations a message without subscribers, want at most 4", n)
	}
}
