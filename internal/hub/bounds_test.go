package hub

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub/outbox"
)

// No work under the hub's lock grows. What goes through n things, s at a time,
// takes the lock n/s times: that can be counted.

// locks tells how often f takes the hub's lock.
func locks(h *Hub, f func()) uint64 {
	taken := func() uint64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.mu.taken
	}
	before := taken()
	f()
	return taken() - before - 1
}

// parts fails if f goes through n things in fewer parts than there must be.
func parts(t *testing.T, h *Hub, n, steps int, f func()) {
	t.Helper()
	if got, want := locks(h, f), uint64(n/steps); got < want {
		t.Errorf("%d were looked at under %d locks, want %d at least", n, got, want)
	}
}

// full is a hub that remembers one message on each of n topics.
func full(t *testing.T, n int, o Options) *Hub {
	t.Helper()
	h := setup(t, newBroker(), o)
	for i := range n {
		h.Accept(live("d/"+strconv.Itoa(i)+"/x", "1"))
	}
	return h
}

func TestListThatMatchesNothingLooksAtFewTopicsUnderOneLock(t *testing.T) {
	const n = 20_000
	h := full(t, n, Options{})
	if got := h.Stats().Topics; got != n {
		t.Fatalf("%d topics are remembered, want %d", got, n)
	}
	parts(t, h, n, walkSteps, func() {
		if objects, next, err := h.List(t.Context(), "d/+/none", "", 10, nil); len(objects) != 0 || next != "" || err != nil {
			t.Errorf("got %d objects, next %q, %v", len(objects), next, err)
		}
	})
}

func TestSnapshotLooksAtFewTopicsUnderOneLock(t *testing.T) {
	const n = 20_000
	h := full(t, n, Options{})
	c := h.Attach(&drain{}, &drain{}, nil, nil)
	t.Cleanup(c.Detach)
	req := ok("d/#")
	req.Snapshot = true
	parts(t, h, n, walkSteps, func() { c.Subscribe(t.Context(), req) })
	settled(t, h, n)
}

func TestSearchForAHoleLooksAtFewTopicsUnderOneLock(t *testing.T) {
	const n = 20_000
	h := full(t, n, Options{HistoryBytes: 1 << 20})
	parts(t, h, n, searchSteps, func() {
		if p := h.History("d/+/x", &Position{Epoch: "e"}, 1, nil); p.Gap == nil || !p.Gap.Certain {
			t.Errorf("got %+v, want a certain gap", p)
		}
	})
}

func TestHistoryThatMatchesNothingLooksAtFewMessagesUnderOneLock(t *testing.T) {
	const n = 20_000
	h := full(t, n, Options{HistoryBytes: 64 << 20})
	parts(t, h, n, replayLooks, func() {
		if p := h.History("none", nil, 1, nil); len(p.Objects) != 0 {
			t.Errorf("got %d objects", len(p.Objects))
		}
	})
}

func TestReleaseOfMinIntervalTakesFewTopicsUnderOneLock(t *testing.T) {
	const n = 20_000
	h := setup(t, newBroker(), Options{QueueBytes: 64 << 20})
	tap := &drain{}
	c := h.Attach(tap, tap, nil, nil)
	t.Cleanup(c.Detach)
	req := ok("#")
	req.MinInterval, req.Overflow = time.Hour, outbox.OverflowDrop
	c.Subscribe(t.Context(), req)
	for i := range n {
		h.Ingest(live("d/"+strconv.Itoa(i), "1"))
	}
	settled(t, h, n)
	for i := range n {
		h.Accept(live("d/"+strconv.Itoa(i), "2"))
	}
	h.mu.Lock()
	throttle, later := c.throttles[0], time.Now().Add(2*time.Hour)
	calls := 1
	for before := throttle.holding; throttle.releaseDue(later, releaseSteps); calls++ {
		if released := before - throttle.holding; released > releaseSteps {
			t.Fatalf("%d messages were released at once, want at most %d", released, releaseSteps)
		}
		before = throttle.holding
		h.mu.Unlock()
		c.out.Kick()
		eventually(t, "all is written", func() bool { return !c.out.Busy() })
		h.mu.Lock()
	}
	h.mu.Unlock()
	if calls < n/releaseSteps {
		t.Errorf("released in %d parts, want %d at least", calls, n/releaseSteps)
	}
	settled(t, h, 2*n)
}

func TestLargeMessageEvictsFewMessagesUnderOneLock(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20})
	for i := range 10_000 {
		h.Accept(live("t/"+strconv.Itoa(i%2), "1"))
	}
	payload := strings.Repeat("x", 256<<10)
	small := func() int { return len(h.History("t/#", nil, 10_000, nil).Objects) }
	before := small()
	var evicted int
	got := locks(h, func() { h.Accept(live("big", payload)) })
	if evicted = before - small(); evicted < 500 {
		t.Fatalf("%d messages were evicted, want many", evicted)
	}
	if got < uint64(evicted/trimSteps) {
		t.Errorf("%d messages were evicted under %d locks", evicted, got)
	}
}

func TestGapsAndFramesForAllServeFewClientsUnderOneLock(t *testing.T) {
	const clients = 3000
	h := setup(t, newBroker(), Options{})
	all := make([]*Client, clients)
	for i := range all {
		all[i] = h.Attach(&drain{}, &drain{}, nil, nil)
	}
	parts(t, h, 3*clients, clientSteps, func() { h.BrokerDown(); h.BrokerUp(true) }) // a frame, a gap, a frame
	parts(t, h, clients, clientSteps, func() { h.Dropped(true, time.Now()) })
	for _, c := range all {
		c.Detach()
	}
}

// Leaving and coming costs the same however many others hold the filter.
func TestLeavingMovesOneOtherSubscription(t *testing.T) {
	const clients = 1000
	h := setup(t, newBroker(), Options{})
	all := make([]*Client, clients)
	for i := range all {
		all[i] = h.Attach(&drain{}, &drain{}, nil, nil)
		all[i].Subscribe(t.Context(), ok("#"))
	}
	in := h.byFilter["#"]
	const leave = 50
	taken := uint64(0) // by others, too: by what has come to its end meanwhile
	for i, c := range all {
		before := slices.Clone(in.subs)
		taken += locks(h, c.Detach)
		moved := 0
		for at, s := range in.subs {
			if s != before[at] {
				moved++
			}
		}
		if moved > 1 {
			t.Fatalf("client %d of %d: %d others were moved", i, clients, moved)
		}
		if i == leave { // the rest goes the same way
			for _, c := range all[51:] {
				c.Detach()
			}
			break
		}
	}
	if taken > 4*leave {
		t.Errorf("%d clients left under %d locks, want 3 for each, and not one for each that stays", leave, taken)
	}
	if in := h.byFilter["#"]; in != nil {
		t.Errorf("the interest is still there, with %d", len(in.subs))
	}
}

// What a message costs does not depend on how many wait for another payload.
func TestWaitersForOtherPayloadsCostNothing(t *testing.T) {
	cost := func(waiters int) float64 {
		h := setup(t, newBroker(), Options{})
		for i := range waiters {
			w, err := h.Wait(t.Context(), "#", Want{Payload: []byte(strconv.Itoa(i)), Except: "own/" + strconv.Itoa(i)})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
		}
		in := live("a", strings.Repeat("x", 250_000))
		return testing.AllocsPerRun(20, func() { h.Ingest(in) })
	}
	one, many := cost(1), cost(1024)
	if many > one+1 {
		t.Errorf("a message costs %.0f allocations with 1024 waiters, and %.0f with one", many, one)
	}
}

func TestWaitersGetTheirPayloadOnce(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	var waiters []*Waiter
	for i := range 100 {
		w, err := h.Wait(t.Context(), "#", Want{Payload: []byte(strconv.Itoa(i % 50)), Except: "own/" + strconv.Itoa(i%2)})
		if err != nil {
			t.Fatal(err)
		}
		waiters = append(waiters, w)
	}
	h.Ingest(live("own/1", "7")) // 7 and 57 are both odd: it is the topic of both that does not count
	for i := range 50 {
		h.Ingest(live("a", strconv.Itoa(i)))
	}
	for i, w := range waiters {
		select {
		case m := <-w.C:
			if payload, _ := m.Payload(); m.Topic != "a" || string(payload) != strconv.Itoa(i%50) {
				t.Errorf("waiter %d got %s", i, m.JSON)
			}
		default:
			t.Errorf("waiter %d got nothing", i)
		}
		w.Stop()
	}
	if n := h.interests.Len(); n != 0 || h.expecting.Load() != 0 {
		t.Errorf("%d interests are left, %d expect", n, h.expecting.Load())
	}
}

// However many filters are held: whether a topic is covered asks for each of
// its levels.
func TestEndOfAWatchDoesNotLookAtTopicsOrFilters(t *testing.T) {
	const topics, filters = 10_000, 2000
	b := newBroker()
	b.dynamic = true
	h := setup(t, b, Options{Linger: time.Hour})
	leaver := h.Attach(&drain{}, &drain{}, nil, nil)
	leaver.Subscribe(t.Context(), ok("d/#"))
	stayer := h.Attach(&drain{}, &drain{}, nil, nil)
	var held []string
	for i := range filters {
		held = append(held, "f/"+strconv.Itoa(i)+"/+")
	}
	stayer.Subscribe(t.Context(), ok(held...))
	for i := range topics {
		h.Accept(live("d/"+strconv.Itoa(i), "1"))
	}
	if n := locks(h, leaver.Detach); n > 3 {
		t.Errorf("leaving took the lock %d times", n)
	}
	if n := locks(h, func() { h.endWatch("d/#", h.watches["d/#"]) }); n != 1 {
		t.Errorf("the end of a watch took the lock %d times", n)
	}
	if got := h.watched.Covering(nil, "f/7/x"); len(got) != 1 {
		t.Errorf("f/7/x is covered by %d filters, want the one of %d", len(got), filters)
	}
	if m := h.known("d/7"); m != nil {
		t.Errorf("d/7 has the value %s although nobody watches it", m.JSON)
	}
	parts(t, h, topics, walkSteps, func() {
		if objects, _, err := h.List(t.Context(), "d/#", "", 10, nil); err != nil || len(objects) != 0 {
			t.Errorf("got %d objects, %v, want none that may be out of date", len(objects), err)
		}
	})
	stayer.Detach()
}
