package hub

import (
	"fmt"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/wire"
)

// stalled is a client with that policy whose socket is full: something is in
// the hands of its slow goroutine, everything further waits.
func stalled(t *testing.T, h *Hub, policy outbox.Overflow, filters ...string) (*Client, *wireTap) {
	t.Helper()
	c, tap := attach(t, h)
	req := ok(filters...)
	req.Overflow = policy
	c.Subscribe(t.Context(), req)
	tap.wait(t, count(1))
	tap.block(true)
	h.Ingest(live("first", "0"))
	eventually(t, "the socket is full", c.out.Busy)
	return c, tap
}

func TestDropKeepsTheNewestAndTellsTheHole(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 20_000})
	c, tap := stalled(t, h, outbox.OverflowDrop, "#")
	sent := []inbound{{}, {"first", "0"}}
	for i := range 1000 {
		sent = append(sent, inbound{"a", strconv.Itoa(i)})
		h.Ingest(live("a", strconv.Itoa(i)))
	}
	tap.block(false)
	frames := tap.wait(t, func(f []frame) bool { return len(f) > 1 && string(f[len(f)-1].Payload) == "999" })
	rapid.Check(t, func(rt *rapid.T) { check(rt, sent, []string{"#"}, 0, frames) })
	if got := types(frames[:4]); got != "ack message gap message" {
		t.Errorf("got %q, want one gap where messages were dropped", got)
	}
	if g := frames[2]; g.Reason != wire.GapSlowConsumer || !g.Certain || g.After != "e-1" {
		t.Errorf("got %+v", g)
	}
	s := h.Stats()
	if dropped, left := s.Dropped["slow_consumer"], uint64(len(frames)-3); dropped+left != 1000 {
		t.Errorf("%d dropped and %d delivered, want 1000 in all", dropped, left)
	}
	_ = c
}

// Whenever the socket opens for a moment in between, each hole has its own gap.
func TestEveryHoleHasItsGap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := New(Options{Upstream: newBroker(), Epoch: "e", QueueBytes: 5000})
		defer h.Close()
		h.BrokerUp(false)
		tap := newTap()
		c := h.Attach(tap, tap, nil, nil)
		defer c.Detach()
		req := ok("#")
		req.Overflow = rapid.SampledFrom([]outbox.Overflow{outbox.OverflowDrop, outbox.OverflowDrop}).Draw(rt, "policy")
		c.Subscribe(t.Context(), req)
		sent := []inbound{{}}
		for range rapid.IntRange(1, 10).Draw(rt, "stalls") {
			tap.block(true)
			for range rapid.IntRange(0, 100).Draw(rt, "messages") {
				m := inbound{rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "topic"), strconv.Itoa(len(sent))}
				sent = append(sent, m)
				h.Ingest(live(m.topic, m.payload))
			}
			tap.block(false)
		}
		eventually(t, "the queue drains", func() bool { return c.out.Bytes() == 0 && !c.out.Busy() })
		c.Send("pong", &wire.Pong{Type: "pong"})
		frames := tap.wait(rt, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "pong" })
		check(rt, sent, []string{"#"}, 0, frames)
		if n := h.queued.Bytes(); n != 0 {
			rt.Fatalf("%d bytes are still counted as queued", n)
		}
	})
}

func TestLatestKeepsTheNewestOfEachTopic(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 20_000})
	_, tap := stalled(t, h, outbox.OverflowLatest, "#")
	for i := range 5000 {
		h.Ingest(live("t/"+strconv.Itoa(i%10), strconv.Itoa(i)))
	}
	tap.block(false)
	frames := tap.wait(t, count(12))
	if got := types(frames); got != "ack"+strings.Repeat(" message", 11) {
		t.Fatalf("got %q", got)
	}
	for i, f := range frames[2:] {
		if want := strconv.Itoa(4990 + i); string(f.Payload) != want || f.Skipped != 499 {
			t.Errorf("got %s=%s skipped %d, want %s skipped 499", f.Topic, f.Payload, f.Skipped, want)
		}
	}
	if n := h.Stats().Dropped["superseded"]; n != 4990 {
		t.Errorf("%d superseded, want 4990", n)
	}
}

func TestAllTogetherAreBoundedAndTheGreediestGoesFirst(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 1 << 20, TotalQueue: 300_000})
	_, greedy := stalled(t, h, outbox.OverflowClose, "#")
	_, modest := stalled(t, h, outbox.OverflowClose, "rare", "first")
	for i := range 2000 {
		h.Ingest(live("a", fmt.Sprint(i)))
	}
	h.Ingest(live("rare", "1"))
	eventually(t, "the greediest is shed", func() bool { return h.Stats().Shed == 1 })
	greedy.block(false)
	modest.block(false)
	frames := greedy.wait(t, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "close" })
	if g := frames[len(frames)-2]; g.Type != "gap" || g.Reason != wire.GapSlowConsumer {
		t.Errorf("got %+v before the close", g)
	}
	modest.wait(t, func(f []frame) bool { return string(f[len(f)-1].Payload) == "1" && f[len(f)-1].Topic == "rare" })
}

func TestMinIntervalDeliversTheNewest(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20})
	c, tap := attach(t, h)
	req := ok("a/#")
	req.MinInterval = 30 * time.Millisecond
	c.Subscribe(t.Context(), req)
	for i := range 1000 {
		h.Ingest(live("a/x", strconv.Itoa(i)))
	}
	h.Ingest(live("a/y", "7"))
	frames := tap.wait(t, func(f []frame) bool { // whichever of the two comes last
		seen := 0
		for _, x := range f {
			if string(x.Payload) == "999" || x.Topic == "a/y" {
				seen++
			}
		}
		return seen == 2
	})
	delivered := 0
	for _, f := range frames[1:] {
		delivered += 1 + f.Skipped
	}
	if delivered != 1001 {
		t.Errorf("messages and skipped ones add up to %d, want 1001", delivered)
	}
	if len(frames) > 100 {
		t.Errorf("got %d frames, want few", len(frames))
	}
}

// A message that is held back must not be lost when the client resumes from
// the last cursor it saw.
func TestMinIntervalCursorDoesNotPassWhatIsHeldBack(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20})
	c, tap := attach(t, h)
	req := ok("a/#")
	req.MinInterval = time.Hour
	c.Subscribe(t.Context(), req)
	h.Ingest(live("a/x", "1"))
	h.Ingest(live("a/x", "2")) // held back
	h.Ingest(live("a/y", "3"))
	last := tap.wait(t, count(3))[2]
	if string(last.Payload) != "3" || last.Cursor != "e-1" {
		t.Fatalf("got %s with cursor %s, want 3 with e-1", last.Payload, last.Cursor)
	}
	c.Detach()
	c, tap = attach(t, h)
	req = ok("a/#")
	req.Since, _ = ParseCursor(last.Cursor)
	c.Subscribe(t.Context(), req)
	if f := tap.wait(t, count(3)); string(f[1].Payload) != "2" || string(f[2].Payload) != "3" {
		t.Errorf("got %+v", f)
	}
}

func TestMinIntervalHoldsForReplayedMessages(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 16 << 20})
	for i := range 10_000 {
		h.Ingest(live("a/"+strconv.Itoa(i%3), strconv.Itoa(i)))
	}
	c, tap := attach(t, h)
	req := ok("a/#")
	req.MinInterval = time.Hour
	req.Since = &Position{Epoch: "e"}
	c.Subscribe(t.Context(), req)
	frames := tap.wait(t, count(4))
	if len(frames) != 4 || frames[1].Skipped+frames[2].Skipped+frames[3].Skipped != 9997 || string(frames[3].Payload) != "9999" {
		t.Errorf("got %+v", frames)
	}
}

func TestPlainFilterWinsOverMinInterval(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	c, tap := attach(t, h)
	req := ok("#")
	req.MinInterval = time.Hour
	c.Subscribe(t.Context(), req)
	c.Subscribe(t.Context(), ok("a"))
	for range 5 {
		h.Ingest(live("a", "1"))
	}
	if got := types(tap.wait(t, count(7))); got != "ack ack message message message message message" {
		t.Errorf("got %q", got)
	}
}

// The last gap of a client that is cut off must not lead its resume past
// messages that were held back.
func TestLastGapDoesNotPassWhatIsHeldBack(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20})
	c, tap := attach(t, h)
	req := ok("a/#")
	req.MinInterval = time.Hour
	c.Subscribe(t.Context(), req)
	h.Ingest(live("a/x", "1"))
	h.Ingest(live("a/x", "2")) // held back
	h.Ingest(live("a/y", "3"))
	tap.wait(t, count(3))
	c.out.Shed()
	c.out.Kick()
	frames := tap.wait(t, func(f []frame) bool { return f[len(f)-1].Type == "close" })
	if g := frames[len(frames)-2]; g.Type != "gap" || g.After != "e-1" {
		t.Errorf("got %+v, want a gap after e-1", g)
	}
}

func TestHistoryLongerThanOneLookIsWhole(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 64 << 20})
	const n = 3*replayLooks + 7
	for i := range n {
		h.Ingest(live("t/"+strconv.Itoa(i%2), strconv.Itoa(i)))
	}
	got, since := 0, (*Position)(nil)
	for {
		p := h.History("t/1", since, 1000, nil)
		got += len(p.Objects)
		if p.Next == "" {
			break
		}
		var err error
		if since, err = ParseCursor(p.Next); err != nil {
			t.Fatal(err)
		}
	}
	if got != n/2 {
		t.Errorf("got %d messages, want %d", got, n/2)
	}
}

// Copies are shared and do not count against the limit of a client, so a
// client that does not read must not be able to pile them up.
func TestCopiesDoNotPileUp(t *testing.T) {
	b := newBroker()
	b.retained = func(string) ([]Inbound, error) { return make([]Inbound, 2000), nil }
	h := setup(t, b, Options{})
	c, tap := attach(t, h)
	tap.block(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			c.Subscribe(t.Context(), ok("a"))
			c.Unsubscribe(nil, results("a"))
		}
	}()
	eventually(t, "a run of copies waits", func() bool { return c.out.Bytes() > 2000*64 })
	if n := c.out.Bytes(); n > 2*2000*100 {
		t.Errorf("%d bytes wait, want those of one run at most", n)
	}
	tap.block(false)
	<-done
	tap.wait(t, count(20*2002))
}
