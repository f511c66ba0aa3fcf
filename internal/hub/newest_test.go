package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/wire"
)

func retained(topic, payload string) Inbound {
	return Inbound{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true}
}

func newest(t *testing.T, h *Hub, topic string) string {
	t.Helper()
	m, err := h.Newest(context.Background(), topic)
	switch {
	case errors.Is(err, ErrNotSeen):
		return "none"
	case err != nil:
		return string(explained(err).Code)
	}
	payload, _ := m.Payload()
	return string(payload)
}

func TestNewestIsWhatWasReceivedLast(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{HistoryBytes: 1 << 20})
	b.retained = func(filter string) ([]Inbound, error) {
		return []Inbound{retained("kept", "1")}, nil
	}
	h.Ingest(live("a", "1"))
	h.Ingest(live("a", "2"))
	h.Ingest(retained("a", "old"))
	for topic, want := range map[string]string{"a": "2", "kept": "1", "never": "none"} {
		if got := newest(t, h, topic); got != want {
			t.Errorf("%s: got %s, want %s", topic, got, want)
		}
	}
}

// A topic that is too deep or too long to be remembered has the value that the
// broker keeps, each time it is asked.
func TestNewestOfWhatIsNotRemembered(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{HistoryBytes: 1 << 20})
	long := strings.Repeat("x", maxTopicBytes+1)
	kept := []Inbound{retained("a", "0"), retained(deep, "1"), retained(long, "2"), retained(deep+"/gone", "")}
	b.retained = func(string) ([]Inbound, error) { return slices.Clone(kept), nil }
	for topic, want := range map[string]string{deep: "1", long: "2", deep + "/never": "topic_not_seen", deep + "/gone": "topic_not_seen"} {
		if got := newest(t, h, topic); got != want {
			t.Errorf("%.20s: got %s, want %s", topic, got, want)
		}
	}
	h.BrokerDown()
	b.retained = func(string) ([]Inbound, error) { return nil, errors.New("no broker") }
	if got := newest(t, h, deep); got != "broker_unavailable" {
		t.Errorf("while the broker is away: got %s, want broker_unavailable", got)
	}
}

// What the broker kept may have been deleted while nobody looked.
func TestRetainedValueEndsWithTheConnection(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{HistoryBytes: 1 << 20})
	h.Ingest(retained("gone", `"x"`))
	h.Ingest(retained("stays", `"y"`))
	h.Ingest(live("seen", `"z"`))
	h.BrokerDown()
	if got := newest(t, h, "gone"); got != `"x"` {
		t.Errorf("while the broker is away: got %s, want x", got)
	}
	h.BrokerUp(true)
	b.retained = func(string) ([]Inbound, error) { return []Inbound{retained("stays", `"y"`)}, nil }
	for topic, want := range map[string]string{"gone": "none", "stays": `"y"`, "seen": `"z"`} {
		if got := newest(t, h, topic); got != want {
			t.Errorf("%s: got %s, want %s", topic, got, want)
		}
	}
	objects, _, err := h.List(context.Background(), "#", "", 10, nil)
	if len(objects) != 2 || err != nil {
		t.Errorf("list: got %q %v, want stays and seen", objects, err)
	}
	c, tap := attach(t, h)
	r := ok("#")
	r.Snapshot = true
	c.Subscribe(context.Background(), r)
	frames := tap.wait(t, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "snapshot_end" })
	if got := types(frames); got != "ack message message snapshot_end" {
		t.Errorf("snapshot: got %s, want two messages", got)
	}
}

// What is kept is what the broker says, page by page, whatever passed live.
func TestKeptIsWhatTheBrokerSays(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{HistoryBytes: 1 << 20})
	b.retained = func(string) ([]Inbound, error) {
		return []Inbound{retained("c", "3"), retained("a", "1"), retained("b", "2"), retained("a", "1")}, nil
	}
	h.Ingest(live("a", "newer"))
	h.Ingest(live("d", "4"))
	var got []string
	for after := ""; ; {
		objects, next, err := h.Kept(context.Background(), "#", after, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			got = append(got, string(o[:strings.Index(string(o), `,"encoding"`)]))
		}
		if after = next; next == "" {
			break
		}
	}
	want := []string{`{"type":"message","topic":"a","payload":1`, `{"type":"message","topic":"b","payload":2`, `{"type":"message","topic":"c","payload":3`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	b.retained = func(string) ([]Inbound, error) { return nil, errors.New("no answer") }
	if objects, _, err := h.Kept(context.Background(), "#", "", 2, nil); err == nil {
		t.Errorf("a broker that does not answer: got %q, want an error", objects)
	}
}

// What has no room in a link, or is too deep to be remembered, is in the list
// of what the broker keeps, and can be read.
func TestWhatIsNotRememberedIsReadAtTheBroker(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{HistoryBytes: 1 << 20})
	long := strings.Repeat("x", 1100)
	deep := strings.Repeat("d/", 40)
	kept := []string{"a", deep, long, long + "1", long + "2", strings.Repeat("x", 1024), "y"}
	b.retained = func(filter string) (copies []Inbound, err error) {
		for _, name := range kept {
			if filter == "#" || filter == name {
				copies = append(copies, retained(name, "1"))
			}
		}
		return copies, nil
	}
	var got []string
	for after := ""; ; {
		objects, next, err := h.Kept(context.Background(), "#", after, 1, nil)
		if err != nil || len(next) > 1100 || len(got) > len(kept) {
			t.Fatalf("got %d topics, then %d bytes of a place and %v", len(got), len(next), err)
		}
		for _, o := range objects {
			name, _, _ := strings.Cut(strings.TrimPrefix(string(o), `{"type":"message","topic":"`), `"`)
			got = append(got, name)
		}
		if after = next; next == "" {
			break
		}
	}
	slices.Sort(got)
	slices.Sort(kept)
	if !slices.Equal(got, kept) {
		t.Errorf("got %d topics, want all %d, each once", len(got), len(kept))
	}
	for _, name := range []string{deep, long} {
		if got := newest(t, h, name); got != "1" {
			t.Errorf("%s: got %s, want 1", name, got)
		}
	}
	if _, err := h.Newest(context.Background(), long+"3"); err == nil || !strings.Contains(err.Error(), "not remembered") || explained(err).Code != wire.CodeTopicNotSeen {
		t.Errorf("got %v, want it said that such topics are not remembered", err)
	}
}

// A value that had to make room is still in the history.
func TestValueIsFoundInTheHistory(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{HistoryBytes: 16 << 20, ValuesBytes: 64 << 10})
	for i := range 1000 {
		h.Ingest(live(fmt.Sprint("t/", i), fmt.Sprint(i)))
	}
	h.mu.Lock()
	kept := h.memory.Sums().Values
	h.mu.Unlock()
	if got := newest(t, h, "t/0"); got != "0" || kept > 64<<10 {
		t.Errorf("got %s with %d bytes of values, want 0", got, kept)
	}
	if objects, next, _ := h.List(context.Background(), "t/+", "", 10_000, nil); len(objects) != 1000 || next != "" {
		t.Errorf("list: got %d and a next page %q, want all 1000", len(objects), next)
	}
}

// However little is remembered, a list has all that the broker keeps: each topic
// once, in order, page by page.
func TestListIsWholeWhateverIsRemembered(t *testing.T) {
	for name, opts := range map[string]Options{
		"plenty": {ValuesBytes: 1 << 20}, "few values": {ValuesBytes: 3000}, "few topics": {IndexBytes: 5000}, "few values, some history": {ValuesBytes: 3000, HistoryBytes: 5000},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker()
			h := setup(t, b, opts)
			h.Ingest(live("t/050", `"live"`))
			kept := []Inbound{retained(deep, `"kept"`), retained("t/gone", "")}
			want := map[string]string{deep: `"kept"`}
			for i := range 100 {
				topic := fmt.Sprintf("t/%03d", i)
				kept = append(kept, retained(topic, `"kept"`))
				want[topic] = `"kept"`
			}
			if name == "plenty" {
				want["t/050"] = `"live"`
			}
			b.retained = func(string) ([]Inbound, error) { return slices.Clone(kept), nil }
			for _, limit := range []int{1, 7, 101, 1000} {
				got, last := map[string]string{}, ""
				for after, more := "", true; more; more = after != "" {
					objects, next, err := h.List(context.Background(), "#", after, limit, nil)
					if err != nil || len(objects) > limit || next != "" && len(objects) != limit {
						t.Fatalf("limit %d behind %q: got %d and next %q, %v", limit, after, len(objects), next, err)
					}
					for _, o := range objects {
						var m wire.Message
						if err := json.Unmarshal(o, &m); err != nil || m.Topic <= last {
							t.Fatalf("limit %d: got %s behind %s, %v", limit, o, last, err)
						}
						last, got[m.Topic] = m.Topic, string(m.Payload)
					}
					after = next
				}
				if got["t/050"] == `"live"` { // it may be known, where there is room
					want["t/050"] = `"live"`
				}
				if !maps.Equal(got, want) {
					t.Errorf("limit %d: got %d topics, %v, want %d", limit, len(got), got, len(want))
				}
			}
		})
	}
}

func TestListWithoutABrokerIsWhatIsKnown(t *testing.T) {
	b := newBroker()
	h := setup(t, b, Options{})
	h.Ingest(live("a", "1"))
	b.retained = func(string) ([]Inbound, error) { return nil, fmt.Errorf("no connection") }
	if _, _, err := h.List(context.Background(), "#", "", 10, nil); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("the broker does not answer: got %v, want ErrNoAnswer", err)
	}
	h.BrokerDown()
	if objects, _, err := h.List(context.Background(), "#", "", 10, nil); len(objects) != 1 || err != nil {
		t.Errorf("there is no broker: got %q %v, want what is known", objects, err)
	}
	b.dynamic = true
	if _, _, err := h.List(context.Background(), "#", "", 10, nil); !errors.Is(err, ErrNoBroker) {
		t.Errorf("nothing is watched for good: got %v, want ErrNoBroker", err)
	}
}

func TestWaiterHearsTheFirstWantedMessage(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	h := setup(t, b, Options{Linger: 1})
	w, err := h.Wait(context.Background(), "a/+", Want{Except: "a/no"})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"b", "a/no", "a/yes", "a/late"} {
		h.Ingest(live(topic, "1"))
	}
	if m := <-w.C; m.Topic != "a/yes" {
		t.Errorf("got %s, want a/yes", m.Topic)
	}
	w.Stop()
	eventually(t, "nothing is wanted upstream", func() bool { return b.wants() == 0 })
	if h.interests.Len() != 0 {
		t.Error("the waiter is still subscribed")
	}
}

// Between two watches of a filter nobody looks: what passes then is missed,
// though nothing else moves the sequence.
func TestWhatPassesUnwatchedIsAGap(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	h := setup(t, b, Options{Linger: 1, HistoryBytes: 1 << 20})
	c, tap := attach(t, h)
	c.Subscribe(context.Background(), ok("r/#"))
	h.Ingest(live("r/1", "1"))
	seen := tap.wait(t, count(2))[1]
	c.Detach()
	eventually(t, "nothing is wanted upstream", func() bool { return b.wants() == 0 })
	// A message that passes now is not received.
	again, tap := attach(t, h)
	r := ok("r/#")
	var err error
	if r.Since, err = ParseCursor(seen.Cursor); err != nil {
		t.Fatal(err)
	}
	again.Subscribe(context.Background(), r)
	frames := tap.wait(t, count(2))
	if got := types(frames); got != "ack gap" || *frames[0].Resumed || frames[1].Reason != "history_expired" {
		t.Errorf("got %s, want ack and gap, not resumed: %+v", got, frames)
	}
	if got := newest(t, h, "r/1"); got != "none" {
		t.Errorf("got the value %s, want none: it may be out of date", got)
	}
}

// The time that one clear may take is not that of a later one.
func TestEachClearIsExpectedForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Upstream: newBroker(), HistoryBytes: 1 << 20})
		defer h.Close()
		for range 5 {
			settle := h.ExpectClear("a")
			h.Ingest(live("a", ""))
			settle(true)
			time.Sleep(clearWait * 3 / 4) // the bubble's clock
			synctest.Wait()
		}
		for range 3 { // each while the timers of those before are due
			settle := h.ExpectClear("a")
			settle(true)
			time.Sleep(clearWait * 3 / 4)
			synctest.Wait()
			h.Ingest(live("a", "1"))
			h.Ingest(live("a", ""))
			if got := newest(t, h, "a"); got != "none" {
				t.Errorf("got %q, want none", got)
			}
		}
		h.ExpectClear("a")(false)
		h.ExpectClear("a")(true)
		time.Sleep(2 * clearWait)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.clears.count != 0 {
			t.Errorf("%d topics still wait for a clear", h.clears.count)
		}
	})
}

// Whoever reads slowly keeps no more than a page in memory.
func TestPagesAreBoundedInBytes(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 64 << 20})
	payload := strings.Repeat("x", 100<<10)
	for i := range 100 {
		h.Ingest(live(fmt.Sprintf("t/%03d", i), payload))
	}
	objects, next, _ := h.List(context.Background(), "#", "", 1000, nil)
	page := h.History("#", nil, 1000, nil)
	if len(objects) > 50 || len(page.Objects) > 50 || next == "" || page.Next == "" {
		t.Errorf("got %d values and %d messages of 100 KiB in a page, want about 40 and a next page", len(objects), len(page.Objects))
	}
	seen := len(page.Objects)
	for page.Next != "" {
		since, _ := ParseCursor(page.Next)
		page = h.History("#", since, 1000, nil)
		seen += len(page.Objects)
	}
	for next != "" {
		var more [][]byte
		more, next, _ = h.List(context.Background(), "#", next, 1000, nil)
		objects = append(objects, more...)
	}
	if seen != 100 || len(objects) != 100 {
		t.Errorf("got %d messages and %d values in all pages, want 100", seen, len(objects))
	}
}
