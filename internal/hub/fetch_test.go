package hub

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// keeps is a broker side that keeps n messages as retained.
func keeps(n int) *broker {
	b := newBroker()
	b.retained = func(string) (all []Inbound, _ error) {
		for i := range n {
			all = append(all, live(fmt.Sprintf("a/%04d", i), strings.Repeat("x", 1000)))
		}
		return all, nil
	}
	return b
}

// What one filter of a request brings is not fetched for another one again.
func TestOneRequestFetchesNothingTwice(t *testing.T) {
	b := keeps(3)
	h := setup(t, b, Options{})
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("a/0001", "a/+", "a/#", "+/0001", "a/#", "a/0002"))
	if got := types(tap.wait(t, count(4))); got != "ack message message message" {
		t.Errorf("got %s, want the ack and three copies", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fetches != 2 { // a/# and +/0001
		t.Errorf("got %d fetches, want 2", b.fetches)
	}
}

// However many fetches bring the same copies at once, each is in memory once:
// they are encoded for one fetch at a time.
func TestCopiesOfManyFetchesAreInMemoryOnce(t *testing.T) {
	const n = 500
	var encoding, most atomic.Int64
	h := setup(t, keeps(n), Options{Decode: func(string, []byte) ([]byte, string) {
		most.Store(max(most.Load(), encoding.Add(1)))
		runtime.Gosched() // others may encode the same meanwhile
		encoding.Add(-1)
		return nil, ""
	}})
	var filters []string
	for i := range 50 {
		filters = append(filters, fmt.Sprintf("a/+/%d/#", i))
	}
	fetches, err := h.fetch(t.Context(), filters)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		for _, f := range fetches {
			if f.copies[i] != fetches[0].copies[i] {
				t.Fatalf("copy %d of %s is in memory twice", i, f.filter)
			}
		}
	}
	if got := most.Load(); got != 1 {
		t.Errorf("%d copies were encoded at once, want one", got)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(fetches)
	if got := h.queued.Bytes(); got != 0 {
		t.Errorf("%d bytes are still counted", got)
	}
}

// Where what others are owed leaves no room, who joins gets its copies when
// there is some, and nobody is cut off for them.
func TestCopiesWaitForRoom(t *testing.T) {
	h := setup(t, keeps(3), Options{TotalQueue: 1 << 20})
	c, tap := attach(t, h)
	const others = 900 << 10
	h.queued.Count(others)
	c.Subscribe(t.Context(), ok("a/+", "a/0001"))
	h.mu.Lock()
	if len(h.owed) != 1 {
		t.Errorf("copies of %d filters are owed, want of the broader one", len(h.owed))
	}
	h.mu.Unlock()
	c.Unsubscribe(nil, results("a/+")) // what is left of it is owed
	h.queued.Count(-others)
	h.wakeOwed()
	frames := tap.wait(t, count(3))
	if got := types(frames); !strings.HasPrefix(got, "ack ack message") {
		t.Errorf("got %s, want the copies at last", got)
	}
}
