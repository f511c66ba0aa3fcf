package hub

import (
	"context"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

func large(topic string) Inbound { return Inbound{Topic: topic, QoS: 1, TooLarge: 1000} }

// gapAt is the first too_large among frames, which must be there.
func gapAt(t *testing.T, frames []frame, after, before string) {
	t.Helper()
	for _, f := range frames {
		if f.Reason == wire.GapTooLarge {
			if f.After != after || f.Before != before {
				t.Errorf("got a gap from %s to %s, want %s to %s", f.After, f.Before, after, before)
			}
			return
		}
	}
	t.Errorf("got %v, want a gap", frames)
}

// A message that is too large goes every way that another goes, as a gap.
func TestTooLargeGoesWhereTheMessageWouldHaveGone(t *testing.T) {
	tooLarge := func(n int) func([]frame) bool {
		return func(frames []frame) bool {
			for _, f := range frames {
				if f.Reason == wire.GapTooLarge {
					n--
				}
			}
			return n <= 0
		}
	}
	for name, c := range map[string]struct {
		request Request
		do      func(h *Hub, c *Client, tap *wireTap)
		after   string
		before  string
	}{
		"live": {Request{}, func(h *Hub, _ *Client, _ *wireTap) { h.Ingest(large("a")) }, "e-1", "e-2"},
		"latest, behind a full socket": {Request{Overflow: outbox.OverflowLatest}, func(h *Hub, _ *Client, tap *wireTap) {
			tap.block(true)
			for range 5000 {
				h.Ingest(live("a", "1"))
			}
			h.Ingest(large("a"))
			tap.block(false)
		}, "e-5001", "e-5002"},
		"min_interval": {Request{MinInterval: 10 * time.Millisecond}, func(h *Hub, _ *Client, _ *wireTap) {
			h.Ingest(live("a", "1"))
			h.Ingest(large("a"))
		}, "e-2", "e-3"},
		"resume":   {Request{Since: Since(time.Now().Add(-time.Hour))}, func(*Hub, *Client, *wireTap) {}, "e-0", "e-1"},
		"snapshot": {Request{Snapshot: true}, func(*Hub, *Client, *wireTap) {}, "e-1", "e-1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := setup(t, newBroker(), Options{Epoch: "e", HistoryBytes: 16 << 20})
			h.Ingest(large("a"))
			client, tap := attach(t, h)
			c.request.Results = results("a")
			client.Subscribe(context.Background(), &c.request)
			tap.wait(t, func(frames []frame) bool { return len(frames) > 0 })
			c.do(h, client, tap)
			h.Flush()
			gapAt(t, tap.wait(t, tooLarge(1)), c.after, c.before)
		})
	}
}

// What a gap for the newest message stands for besides is counted in it.
func TestTooLargeSaysWhatItHasReplaced(t *testing.T) {
	const messages = 5000
	h := setup(t, newBroker(), Options{Epoch: "e", HistoryBytes: 16 << 20})
	client, tap := attach(t, h)
	client.Subscribe(context.Background(), &Request{Overflow: outbox.OverflowLatest, Results: results("a")})
	h.Ingest(live("a", "0"))
	tap.wait(t, func(frames []frame) bool { return len(frames) > 0 })
	tap.block(true)
	for range messages {
		h.Ingest(live("a", "1"))
	}
	h.Ingest(large("a"))
	tap.block(false)
	h.Flush()
	frames := tap.wait(t, func(frames []frame) bool { return frames[len(frames)-1].Reason == wire.GapTooLarge })
	told := -1 // the first one
	for _, f := range frames {
		if told += f.Skipped; f.Type == wire.TypeMessage {
			told++
		}
	}
	if told != messages {
		t.Errorf("got %d messages delivered or skipped, want %d", told, messages)
	}
}

// A retained copy that is too large is a gap with no place of its own, and a
// live one takes its place while it is fetched.
func TestTooLargeRetainedCopy(t *testing.T) {
	b := newBroker()
	b.retained = func(string) ([]Inbound, error) { return []Inbound{large("a"), {Topic: "b", Payload: []byte("1")}}, nil }
	h := setup(t, b, Options{Epoch: "e"})
	h.Ingest(live("x", "1"))
	client, tap := attach(t, h)
	client.Subscribe(context.Background(), ok("+"))
	frames := tap.wait(t, count(3))
	gapAt(t, frames, "e-1", "e-1")
	if m, err := h.Newest(context.Background(), "a"); err != nil || m.TooLarge != 1000 {
		t.Errorf("got %v %v, want the one that is too large", m, err)
	}
	if s := h.Stats(); s.Gaps[wire.GapTooLarge] != 1 {
		t.Errorf("got %d gaps counted, want 1", s.Gaps[wire.GapTooLarge])
	}
}

// Whoever waits for a payload does not get one that nobody has read.
func TestTooLargeIsNoExpectedPayload(t *testing.T) {
	h := setup(t, newBroker(), Options{Epoch: "e"})
	wait := func(payload []byte) *Waiter {
		w, err := h.Wait(context.Background(), "a", Want{Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		return w
	}
	empty, any := wait([]byte{}), wait(nil)
	h.Ingest(large("a"))
	if m := <-any.C; m.TooLarge != 1000 {
		t.Errorf("got %d bytes left out, want 1000", m.TooLarge)
	}
	select {
	case m := <-empty.C:
		t.Errorf("got %+v, want nothing", m)
	default:
	}
}
