package hub

import (
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"strconv"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

func TestSnapshotIsTheNewestOfEachTopicOnce(t *testing.T) {
	b := newBroker()
	b.retained = func(string) ([]Inbound, error) { return []Inbound{live("a/1", "old"), live("a/quiet", "5")}, nil }
	h := setup(t, b, Options{})
	h.Ingest(Inbound{Topic: "a/early", Payload: []byte("4"), Retain: true})
	for i := range 10 {
		h.Ingest(live("a/"+strconv.Itoa(i%2), strconv.Itoa(i)))
	}
	h.Ingest(live("a/cleared", "1"))
	h.Ingest(live("a/cleared", ""))
	c, tap := attach(t, h)
	req := ok("a/#", "a/+")
	req.Snapshot = true
	c.Subscribe(t.Context(), req)
	h.Ingest(live("a/1", "11"))
	frames := tap.wait(t, count(7))
	if got := types(frames); got != "ack message message message message snapshot_end message" {
		t.Fatalf("got %q", got)
	}
	want := map[string]string{"a/0": "8", "a/1": "9", "a/early": "4", "a/quiet": "5"}
	for _, f := range frames[1:5] {
		if want[f.Topic] != string(f.Payload) || f.Cursor != "" || f.Retain != (f.Topic == "a/early" || f.Topic == "a/quiet") {
			t.Errorf("got %+v, want payload %s", f, want[f.Topic])
		}
		delete(want, f.Topic)
	}
}

// A topic changes all the time while clients come for a snapshot: no gap, no
// repeat, no value that runs backwards.
func TestSnapshotNeverRunsBackwards(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{})
	var mu sync.Mutex
	newest := 0
	b.retained = func(string) ([]Inbound, error) {
		mu.Lock()
		defer mu.Unlock()
		return []Inbound{live("a", strconv.Itoa(newest))}, nil
	}
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock()
			newest = i // the broker has it before the gateway does
			mu.Unlock()
			h.Ingest(live("a", strconv.Itoa(i)))
		}
	})
	for n := range 100 {
		c, tap := attach(t, h)
		req := ok("a")
		req.Snapshot = n%2 == 0
		req.Overflow = outbox.OverflowDrop
		c.Subscribe(t.Context(), req)
		c.Send("pong", &wire.Pong{Type: "pong"})
		frames := tap.wait(t, func(f []frame) bool {
			for _, x := range f {
				if x.Type == "pong" {
					return true
				}
			}
			return false
		})
		last := -1
		for i, f := range frames {
			if f.Type != "message" {
				continue
			}
			v, err := strconv.Atoi(string(f.Payload))
			// The copy may be ahead of the stream by what it has not handled.
			if err != nil || v < last || f.Cursor != "" && last >= 0 && v == last && i > 3 {
				t.Fatalf("value %s after %d in %+v", f.Payload, last, frames)
			}
			last = v
		}
		c.Detach()
	}
	close(stop)
	feeding.Wait()
}

func TestRetainedCopyAfterAnOutageReplacesTheOldValue(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	h.Ingest(live("a", "1"))
	h.Ingest(Inbound{Topic: "a", Payload: []byte("0"), Retain: true}) // older than what was seen live
	h.BrokerDown()
	h.BrokerUp(true)
	snapshot := func() string {
		c, tap := attach(t, h)
		req := ok("a")
		req.Snapshot = true
		c.Subscribe(t.Context(), req)
		return string(tap.wait(t, count(3))[1].Payload)
	}
	if got := snapshot(); got != "1" {
		t.Errorf("got %s, want 1", got)
	}
	h.Ingest(Inbound{Topic: "a", Payload: []byte("2"), Retain: true}) // what the broker has now
	if got := snapshot(); got != "2" {
		t.Errorf("got %s, want 2", got)
	}
}

func TestNewestValuesAreBounded(t *testing.T) {
	h := setup(t, newBroker(), Options{ValuesBytes: 50_000, HistoryBytes: 10_000})
	for i := range 10_000 {
		h.Ingest(live("t/"+strconv.Itoa(i), strconv.Itoa(i)))
	}
	if s := h.Stats(); s.Memory.Values > 50_000 || s.Memory.History > 10_000 || s.Topics > 200 {
		t.Errorf("got %d bytes of values, %d of history, %d topics", s.Memory.Values, s.Memory.History, s.Topics)
	}
}
