package hub

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub/outbox"

	"go.uber.org/goleak"

	"github.com/vulturepi/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
