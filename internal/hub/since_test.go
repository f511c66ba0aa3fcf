package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// timed is a hub in a bubble of time that has received one message each
// quarter of a second: n of them, the last one now.
func timed(t *testing.T, n int, o Options) *Hub {
	o.Upstream, o.Epoch = newBroker(), "e"
	h := New(o)
	t.Cleanup(h.Close)
	h.BrokerUp(false)
	for i := range n {
		if i > 0 {
			time.Sleep(250 * time.Millisecond) // the bubble's clock
			synctest.Wait()
		}
		h.Ingest(live([]string{"a", "b/c", "b/d"}[i%3], fmt.Sprint(i)))
	}
	return h
}

// payloads are those of the messages in a page, and "gap" for each gap.
func payloads(p Page) (all []string) {
	if p.Gap != nil {
		all = append(all, "gap")
	}
	for _, o := range p.Objects {
		var m wire.Message
		_ = json.Unmarshal(o, &m)
		all = append(all, string(m.Payload))
	}
	return all
}

// brief is how many there are and the first ones.
func brief(all []string) string { return fmt.Sprintf("%d: %v", len(all), all[:min(len(all), 5)]) }

func from(first, n, step int) (all []string) {
	for i := first; i < n; i += step {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func TestSinceATimeGivesWhatCameFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2000
		h := timed(t, n, Options{HistoryBytes: 64 << 20, HistoryAge: time.Hour})
		now := time.Now()
		for _, back := range []int{0, 1, 2, 3, 4, 5, 100, 1237, n - 2, n - 1, n, 2 * n} {
			at := now.Add(-time.Duration(back) * 250 * time.Millisecond)
			first := max(0, n-1-back)
			if got, want := payloads(h.History("#", Since(at), 10_000, nil)), from(first, n, 1); !slices.Equal(got, want) {
				t.Errorf("%d back: got %s, want %s", back, brief(got), brief(want))
			}
			// A moment later that message is out.
			if got, want := payloads(h.History("#", Since(at.Add(time.Microsecond)), 10_000, nil)), from(max(0, n-back), n, 1); back < n && !slices.Equal(got, want) {
				t.Errorf("less than %d back: got %s, want %s", back, brief(got), brief(want))
			}
		}
		if got := payloads(h.History("a", Since(now.Add(-1500*time.Millisecond)), 10, nil)); len(got) != 2 {
			t.Errorf("of one topic: got %v, want 2", got)
		}
	})
}

// What has left the history is announced, and the rest comes all the same.
func TestSinceATimeBeforeTheHistoryGivesAGapAndTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 400
		h := timed(t, n, Options{HistoryBytes: 64 << 20, HistoryAge: 30 * time.Second})
		time.Sleep(5 * time.Second) // so that what is due is expired
		synctest.Wait()
		kept := payloads(h.History("#", nil, 10_000, nil))
		if len(kept) < 50 || len(kept) > 150 {
			t.Fatalf("got %d messages in a history of 30 s, want about 100", len(kept))
		}
		want := append([]string{"gap"}, kept...)
		if got := payloads(h.History("#", Since(time.Now().Add(-time.Minute)), 10_000, nil)); !slices.Equal(got, want) {
			t.Errorf("history: got %v, want %v", got, want)
		}
		if got := payloads(h.History("#", Since(time.Now().Add(-15*time.Second)), 10_000, nil)); got[0] == "gap" {
			t.Errorf("history: got a gap within the window")
		}
		c, tap := attach(t, h)
		r := ok("#")
		r.Since = Since(time.Now().Add(-time.Minute))
		c.Subscribe(context.Background(), r)
		h.Ingest(live("a", "live"))
		frames := tap.wait(t, count(len(kept)+3))
		if got := types(frames[:3]); got != "ack gap message" || *frames[0].Resumed {
			t.Errorf("stream: got %s, resumed %t, want ack gap message, not resumed", got, *frames[0].Resumed)
		}
		var got []string
		for _, f := range frames[2:] {
			got = append(got, string(f.Payload))
		}
		if want := append(kept, `"live"`); !slices.Equal(got, want) {
			t.Errorf("stream: got %v, want %v", got, want)
		}
		if strings.Contains(types(frames[2:]), "gap") {
			t.Errorf("stream: got another gap: %s", types(frames))
		}
	})
}

func TestSinceATimeWithinTheHistoryResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := timed(t, 100, Options{HistoryBytes: 1 << 20})
		c, tap := attach(t, h)
		r := ok("b/+")
		r.Since = Since(time.Now().Add(-time.Second))
		c.Subscribe(context.Background(), r)
		frames := tap.wait(t, count(3))
		if got := types(frames); got != "ack message message message" || !*frames[0].Resumed {
			t.Errorf("got %s, want ack and three messages, resumed", got)
		}
	})
}

// The zero time is a time like any: everything.
func TestSinceTheZeroTimeIsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := timed(t, 3, Options{HistoryBytes: 1 << 20})
		if got := payloads(h.History("#", Since(time.Time{}), 10, nil)); !slices.Equal(got, from(0, 3, 1)) {
			t.Errorf("history: got %v, want all three", got)
		}
		c, tap := attach(t, h)
		r := ok("#")
		r.Since = Since(time.Time{})
		c.Subscribe(context.Background(), r)
		if frames := tap.wait(t, count(4)); !*frames[0].Resumed || frames[0].Cursor != "e-0" {
			t.Errorf("stream: got %+v, want resumed from e-0", frames[0])
		}
	})
}
