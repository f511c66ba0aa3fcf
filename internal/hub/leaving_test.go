package hub

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// A client that has gone ends its own waiting, not the fetch of others.
func TestFetchEndsForWhoHasGone(t *testing.T) {
	b := newBroker()
	release := make(chan struct{})
	b.retained = func(string) ([]Inbound, error) { <-release; return []Inbound{live("a", "1")}, nil }
	h := setup(t, b, Options{})
	gone, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	c1, tap1 := attach(t, h)
	go func() { defer close(left); c1.Subscribe(gone, ok("a")) }()
	c2, tap2 := attach(t, h)
	joined := make(chan struct{})
	go func() { defer close(joined); c2.Subscribe(t.Context(), ok("a")) }()
	eventually(t, "both wait", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.fetches["a"] != nil && h.fetches["a"].joiners == 3
	})
	cancel()
	<-left
	close(release)
	<-joined
	if got := types(tap2.wait(t, count(2))); got != "ack message" {
		t.Errorf("who stayed got %q", got)
	}
	if got := types(tap1.wait(t, count(0))); got != "" {
		t.Errorf("who has gone got %q", got)
	}
	eventually(t, "nothing records any more", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.byFilter["a"].recorders) == 0
	})
}

// Without an answer to the fetch a subscription joins all the same.
func TestJoinDoesNotDependOnTheBrokersAnswer(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{FetchTime: 20 * time.Millisecond, Linger: time.Millisecond})
	b.silent = true
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("a"))
	h.Ingest(live("a", "1"))
	if got := types(tap.wait(t, count(2))); got != "ack message" {
		t.Errorf("got %q, want the ack and what is live", got)
	}
}

// Who asked first for a filter may go: it is in force for the others.
func TestWatchDoesNotEndWithWhoAskedFirst(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	b.confirm = make(chan struct{})
	h := setup(t, b, Options{FetchTime: time.Minute, Linger: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- h.watch(ctx, "a", nil) }()
	refs := func(n int) func() bool {
		return func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.watches["a"] != nil && h.watches["a"].refs == n
		}
	}
	eventually(t, "the first waits", refs(1))
	go func() { second <- h.watch(t.Context(), "a", nil) }()
	eventually(t, "both wait", refs(2))
	cancel()
	if err := <-first; err == nil {
		t.Error("the first got no error")
	}
	close(b.confirm)
	if err := <-second; err != nil {
		t.Errorf("the second got %v", err)
	}
	h.unwatch([]string{"a"})
	eventually(t, "a is released", func() bool { return b.wants() == 0 })
}

// A watch that nobody waits for any more when it comes into force ends.
func TestWatchThatNobodyWaitedForEnds(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	b.confirm = make(chan struct{})
	h := setup(t, b, Options{FetchTime: time.Minute, Linger: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.watch(ctx, "a", nil); err == nil {
		t.Error("got no error")
	}
	close(b.confirm)
	eventually(t, "a is released", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return b.wants() == 0 && len(h.watches) == 0 && h.watched.Len() == 0
	})
}

// Copies that are owed to many are sent in parts: what passed in between stands
// in those that come later, and those that clients have do not change.
func TestOwedCopiesAreNotOlderThanWhatWasSeen(t *testing.T) {
	b := newBroker()
	b.retained = func(string) ([]Inbound, error) { return []Inbound{live("a", "0"), live("b", "0")}, nil }
	h := setup(t, b, Options{})
	fetches, err := h.fetch(t.Context(), []string{"#"})
	if err != nil {
		t.Fatal(err)
	}
	cp := h.collect(fetches, nil, nil, false, true)
	for i := range 3 {
		if i > 0 {
			h.Ingest(live("a", strconv.Itoa(i)))
		}
		if cp.lock() {
			t.Fatal("the fetch is lost")
		}
		before := cp.run
		cp.shared = true // clients have it
		h.mu.Unlock()
		if payload, _ := before.At(0).Payload(); string(payload) != strconv.Itoa(i) || before.Len() != 2 {
			t.Errorf("part %d: got %d copies, a=%s", i, before.Len(), payload)
		}
	}
	cp.release()
	h.mu.Lock()
	h.leave(fetches)
	h.mu.Unlock()
	if n := h.queued.Bytes(); n != 0 {
		t.Errorf("%d bytes are counted, want none", n)
	}
}

// A writer that is cut off in the middle of a write leaves nothing behind.
func TestNothingIsCountedOfWhoHasGone(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	for _, policy := range []outbox.Overflow{outbox.OverflowCatchup, outbox.OverflowClose, outbox.OverflowDrop, outbox.OverflowLatest} {
		c, _ := stalled(t, h, policy, "#")
		h.Ingest(live("a", strings.Repeat("x", 100_000)))
		c.Send("pong", &wire.Pong{Type: "pong"})
		c.Detach()
	}
	eventually(t, "nothing is counted", func() bool { return h.queued.Bytes() == 0 })
}
