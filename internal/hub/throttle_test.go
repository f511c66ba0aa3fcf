package hub

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// paced subscribes with min_interval.
func pacedBy(t *testing.T, h *Hub, interval time.Duration, policy outbox.Overflow, filters ...string) (*Client, *wireTap) {
	t.Helper()
	c, tap := attach(t, h)
	req := ok(filters...)
	req.MinInterval, req.Overflow = interval, policy
	c.Subscribe(t.Context(), req)
	tap.wait(t, count(1))
	return c, tap
}

// What is held back within the limit goes out within the limit.
func TestReleaseOfWhatIsHeldBackDoesNotOverflow(t *testing.T) {
	for _, policy := range []outbox.Overflow{outbox.OverflowCatchup, outbox.OverflowClose, outbox.OverflowDrop, outbox.OverflowLatest} {
		const topics = 3000
		h := setup(t, newBroker(), Options{QueueBytes: topics * 320})
		_, tap := pacedBy(t, h, time.Hour, policy, "#")
		for round := range 2 {
			for i := range topics {
				h.Ingest(live("t/"+strconv.Itoa(i), strconv.Itoa(round)))
			}
		}
		h.BrokerDown()
		h.BrokerUp(true)
		frames := tap.wait(t, func(f []frame) bool { return len(f) >= 1+2*topics+3 || f[len(f)-1].Type == "close" })
		if got := strings.Count(types(frames), "message"); got != 2*topics {
			t.Errorf("policy %d: got %d messages, want %d", policy, got, 2*topics)
		}
	}
}

// Many topics of which nothing waits do not take the room of messages.
func TestTopicsThatAreOnlyKnownLeaveRoomForMessages(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 20_000})
	c, tap := pacedBy(t, h, time.Hour, outbox.OverflowCatchup, "#")
	for i := range 1000 {
		h.Ingest(live("t/"+strconv.Itoa(i), "1"))
	}
	tap.wait(t, count(1001))
	h.Ingest(live("t/0", "2")) // held back
	c.Unsubscribe(nil, results("other"))
	frames := tap.wait(t, count(1003))
	if got := types(frames[1001:]); got != "message ack" {
		t.Errorf("got %q, want what was held back and no gap", got)
	}
	if n := h.queued.Bytes(); n < 1000*pacedBytes {
		t.Errorf("%d bytes are counted, want those of 1000 topics", n)
	}
	c.Detach()
	if n := h.queued.Bytes(); n != 0 {
		t.Errorf("%d bytes are counted with nobody there", n)
	}
}

// Whatever was given up while nothing else came between is one gap.
func TestWhatIsHeldBackBeyondTheLimitIsOneGap(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 20_000})
	c, tap := pacedBy(t, h, time.Hour, outbox.OverflowCatchup, "#")
	for i := range 500 {
		h.Ingest(live("t/"+strconv.Itoa(i), "1"))
	}
	tap.wait(t, count(501))
	tap.block(true)
	h.Ingest(live("u", strings.Repeat("x", 3*(32<<10)))) // fills what is framed ahead
	eventually(t, "the socket is full", c.out.Busy)
	for i := range 500 {
		h.Ingest(live("t/"+strconv.Itoa(i), "2"))
	}
	if n := c.out.Bytes(); n > 20_000+500*(pacedBytes+5)+2*(3*(32<<10)) {
		t.Errorf("%d bytes wait for the client, its limit is 20000", n)
	}
	tap.block(false)
	c.Unsubscribe(nil, results("other"))
	frames := tap.wait(t, func(f []frame) bool { return f[len(f)-1].Type == "ack" && len(f) > 501 })
	got := types(frames[502:])
	if n := strings.Count(got, "gap"); n != 1 {
		t.Errorf("got %d gaps, want one: %.200q", n, got)
	}
	noneComesBehindTheCursorsOf(t, frames[501:])
}

// noneComesBehindTheCursorsOf is noneComesBehindItsCursor for messages whose
// payloads are no places: only what is the client's own gap or ack counts.
func noneComesBehindTheCursorsOf(t fataler, frames []frame) {
	t.Helper()
	last := uint64(0)
	for _, f := range frames {
		if f.Cursor == "" {
			continue
		}
		at := seqOf(t, f.Cursor)
		if at < last && f.Type == "ack" {
			t.Fatalf("cursors run backwards: %s after %d", f.Cursor, last)
		}
		last = at
	}
}

// A topic's first message does not wait for the interval of others.
func TestFirstMessageOfATopicWaitsForTheSocketOnly(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	c, tap := pacedBy(t, h, time.Hour, outbox.OverflowCatchup, "#")
	h.Ingest(live("old", "1"))
	tap.wait(t, count(2))
	tap.block(true)
	h.Ingest(live("big", strings.Repeat("x", 3*(32<<10))))
	eventually(t, "the socket is full", c.out.Busy)
	h.Ingest(live("new", "1"))
	tap.block(false)
	tap.wait(t, func(f []frame) bool { return f[len(f)-1].Topic == "new" })
}

// A gap for everybody releases what is held back for each client; the lock is
// given back between those of whom much is.
func TestGapReleasesFewClientsUnderOneLock(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	const clients, topics = 20, 200
	for range clients {
		pacedBy(t, h, time.Hour, outbox.OverflowCatchup, "#")
	}
	for range 2 {
		for i := range topics {
			h.Ingest(live("t/"+strconv.Itoa(i), "1"))
		}
	}
	parts := locks(h, func() { h.BrokerDown(); h.BrokerUp(true) })
	if want := uint64(clients * topics / (clientSteps + topics)); parts < want {
		t.Errorf("%d messages were released in %d parts, want %d at least", clients*topics, parts, want)
	}
}

// A client that stays busy is looked at ever more seldom.
func TestBusyClientIsNotPolled(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	c, tap := pacedBy(t, h, finest, outbox.OverflowCatchup, "#")
	h.Ingest(live("a", "1"))
	tap.wait(t, count(2))
	tap.block(true)
	h.Ingest(live("b", strings.Repeat("x", 3*(32<<10))))
	eventually(t, "the socket is full", c.out.Busy)
	h.Ingest(live("a", "2"))
	eventually(t, "it is looked at seldom", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return c.throttles[0].retry >= seldomest/4
	})
	tap.block(false)
	tap.wait(t, func(f []frame) bool { return string(f[len(f)-1].Payload) == "2" })
	h.mu.Lock()
	defer h.mu.Unlock()
	if retry := c.throttles[0].retry; retry != 0 {
		t.Errorf("retry is %v behind a delivery, want 0", retry)
	}
}

// A plain filter that is resumed gets what min_interval let another one skip.
func TestResumeBringsWhatMinIntervalSkipped(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20})
	c, tap := pacedBy(t, h, time.Hour, outbox.OverflowCatchup, "a")
	for i := range 10 {
		h.Ingest(live("a", strconv.Itoa(i)))
	}
	req := ok("#")
	req.Since = &Position{Epoch: "e"}
	c.Subscribe(t.Context(), req)
	c.Send("pong", &wire.Pong{Type: "pong"})
	seen := map[string]bool{}
	for _, f := range tap.wait(t, untilPong) {
		seen[string(f.Payload)] = true
	}
	for i := range 10 {
		if !seen[strconv.Itoa(i)] {
			t.Errorf("message %d is missing", i)
		}
	}
}
