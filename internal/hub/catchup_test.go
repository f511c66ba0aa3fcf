package hub

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// untilPong is content when there is a pong, and the client is with the live
// messages. What min_interval keeps back may still follow.
func untilPong(f []frame) bool {
	return slices.ContainsFunc(f, func(f frame) bool { return f.Type == "pong" })
}

// caughtUp waits until the client has everything, and gives its frames.
func caughtUp(t fataler, c *Client, tap *wireTap) []frame {
	t.Helper()
	eventually(t, "the client has caught up", func() bool { return c.out.Behind() == 0 && !c.out.Busy() })
	c.Send("pong", &wire.Pong{Type: "pong"})
	return tap.wait(t, untilPong)
}

// deep is a topic that is passed on and not remembered.
var deep = "deep/" + strings.Repeat("x/", maxTopicLevels) + "x"

// However slow a client is, however small the history: what it is not sent, it
// is told of, as if it had come back with the cursor of where it was.
func TestCatchUpIsWholeOrSaysWhatIsMissing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := New(Options{
			Upstream: newBroker(), Epoch: "e", QueueBytes: rapid.SampledFrom([]int{2000, 5000, 50_000}).Draw(t, "queue"),
			HistoryBytes: rapid.SampledFrom([]int64{0, 3000, 30_000, 1 << 20}).Draw(t, "history"),
		})
		defer h.Close()
		h.BrokerUp(false)
		sent := []inbound{{}}
		topics := []string{"a", "a/b", "a/c", "b/b", "hot", deep}
		type reader struct {
			tap     *wireTap
			c       *Client
			filters []string
			since   uint64
		}
		var readers []reader
		for range rapid.IntRange(1, 4).Draw(t, "readers") {
			r := reader{tap: newTap(), since: uint64(len(sent) - 1)}
			r.filters = rapid.SampledFrom([][]string{{"#"}, {"a/#"}, {"a/+", "+/b"}, {"b/b"}, {"hot", "#"}, {"deep/#", "a"}}).Draw(t, "filters")
			r.c = h.Attach(r.tap, r.tap, nil, nil)
			defer r.c.Detach()
			r.c.Subscribe(t.Context(), ok(r.filters...))
			readers = append(readers, r)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			r := readers[rapid.IntRange(0, len(readers)-1).Draw(t, "reader")]
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0:
				r.tap.block(true)
			case 1:
				r.tap.block(false)
			case 2:
				h.BrokerDown()
				h.BrokerUp(true)
				sent = append(sent, inbound{})
			case 3:
				r.c.Send("pong", &wire.Pong{Type: "pong"})
			case 4:
				r.c.out.Shed()
				r.c.out.Kick()
			default:
				for range rapid.IntRange(0, 60).Draw(t, "messages") {
					m := inbound{rapid.SampledFrom(topics).Draw(t, "topic"), strconv.Itoa(len(sent))}
					sent = append(sent, m)
					h.Ingest(live(m.topic, m.payload))
				}
			}
		}
		for _, r := range readers {
			r.tap.block(false)
			if r.c.out.Ended() {
				continue // shed while nothing of it stood in the history
			}
			frames := caughtUp(t, r.c, r.tap)
			check(t, sent, r.filters, r.since, frames)
			for _, f := range frames {
				if f.Type == "gap" && f.Reason == wire.GapHistoryExpired {
					t.Fatalf("a client that was there all the time is told of %+v", f)
				}
			}
			if n := h.queued.Bytes(); len(readers) == 1 && n != 0 {
				t.Fatalf("%d bytes are still counted as queued", n)
			}
		}
	})
}

// inOrder is a tap that takes no more than it is granted, and looks only at the
// cursors: they count up from one, and nothing else comes but an ack.
type inOrder struct {
	*wireTap
	seq   int
	wrong string
}

func newInOrder() *inOrder {
	o := &inOrder{wireTap: newTap()}
	o.limited = true
	o.line = func(line []byte) {
		if end := []byte(`"cursor":"e-` + strconv.Itoa(o.seq+1) + "\"}\n"); bytes.HasSuffix(line, end) {
			o.seq++
		} else if o.wrong == "" && !bytes.HasPrefix(line, []byte(`{"type":"ack"`)) {
			o.wrong = string(line[:min(len(line), 60)]) + "…" + string(line[max(0, len(line)-40):])
		}
	}
	return o
}

// got waits for n messages.
func (o *inOrder) got(t *testing.T, n int) {
	t.Helper()
	o.grant(-1)
	eventually(t, "everything has come", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.seq == n || o.wrong != ""
	})
	if o.wrong != "" {
		t.Fatalf("behind %d messages came %s", o.seq, o.wrong)
	}
}

// The burst that a queue of 1 MiB does not hold stands in the history.
func TestSlowerThanABurstLosesNothing(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 128 << 20})
	tap := newInOrder()
	c := h.Attach(tap, tap, nil, nil)
	t.Cleanup(c.Detach)
	c.Subscribe(t.Context(), ok("#"))
	const n = 20_000
	in := live("", strings.Repeat("x", 4000))
	for i := range n {
		in.Topic = "t/" + strconv.Itoa(i%10)
		h.Ingest(in)
		tap.grant(500) // an eighth of what comes
	}
	if h.queued.Bytes() > 2<<20 {
		t.Errorf("%d bytes are queued for one client", h.queued.Bytes())
	}
	tap.got(t, n)
	if s := h.Stats(); s.Dropped["slow_consumer"] != 0 || s.Shed != 0 {
		t.Errorf("got %+v, want nothing dropped", s)
	}
}

func TestManyLimitedReadersAllGetABurst(t *testing.T) {
	const readers, n, total = 100, 1000, 24 << 20
	h := setup(t, newBroker(), Options{HistoryBytes: 64 << 20, TotalQueue: total})
	taps := make([]*inOrder, readers)
	for i := range taps {
		taps[i] = newInOrder()
		c := h.Attach(taps[i], taps[i], nil, nil)
		t.Cleanup(c.Detach)
		c.Subscribe(t.Context(), ok("#"))
	}
	most := int64(0)
	in := live("", strings.Repeat("x", 4000))
	for i := range n {
		in.Topic = "t/" + strconv.Itoa(i%10)
		h.Ingest(in)
		for j, tap := range taps {
			tap.grant(10 * j)
		}
		most = max(most, h.queued.Bytes())
	}
	// What is in the hands of a client's own writer stays, and the part of the
	// history that comes next.
	if limit := int64(total + total/2 + readers*(64<<10+replayBytes)); most > limit {
		t.Errorf("%d bytes were queued, want at most %d", most, limit)
	}
	for _, tap := range taps {
		tap.got(t, n)
	}
}

// Answers and pings to a client whose queue is full of messages that stand in
// the history take the place of some of these.
func TestControlFramesDoNotCutWhoIsBehind(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20, QueueBytes: 20_000})
	c, tap := stalled(t, h, outbox.OverflowCatchup, "#")
	for range 500 {
		h.Ingest(live("a", "1"))
	}
	for range 20 {
		c.Send("pong", &wire.Pong{Type: "pong"})
	}
	tap.block(false)
	frames := tap.wait(t, func(f []frame) bool { return len(f) == 1+501+20 })
	if last := frames[len(frames)-1]; last.Cursor != "e-501" {
		t.Errorf("the last frame is %+v, want message 501", last)
	}
}

// An ack or a gap that makes room by leaving messages to the history must not
// lead a resume past them.
func TestNoCursorPassesWhatIsLeftToTheHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := New(Options{Upstream: newBroker(), Epoch: "e", HistoryBytes: 1 << 20, QueueBytes: rapid.IntRange(3000, 9000).Draw(t, "queue")})
		defer h.Close()
		h.BrokerUp(false)
		tap := newTap()
		c := h.Attach(tap, tap, nil, nil)
		defer c.Detach()
		c.Subscribe(t.Context(), ok("a/#"))
		plain := 0
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				r := ok("b/" + strconv.Itoa(plain))
				r.MinInterval = rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Hour}).Draw(t, "interval")
				r.Overflow = rapid.SampledFrom([]outbox.Overflow{outbox.OverflowCatchup, outbox.OverflowDrop}).Draw(t, "policy")
				tap.block(false) // or it would wait
				c.Subscribe(t.Context(), r)
				plain++
			case 6:
				r := ok("b/" + strconv.Itoa(plain))
				r.Since = &Position{Epoch: "e", Seq: rapid.Uint64Range(0, h.seqNow()).Draw(t, "since")}
				tap.block(false)
				c.Subscribe(t.Context(), r)
				plain++
			case 1:
				c.Unsubscribe(nil, results("b/0"))
			case 2:
				h.BrokerDown()
				h.BrokerUp(true)
			case 3:
				tap.block(rapid.Bool().Draw(t, "block"))
			default:
				for range rapid.IntRange(0, 40).Draw(t, "messages") {
					h.Ingest(live(rapid.SampledFrom([]string{"a/x", "a/y", "b/0", "b/1", "b/2"}).Draw(t, "topic"), strconv.FormatUint(h.seqNow()+1, 10)))
				}
			}
			if c.out.Ended() {
				return
			}
		}
		tap.block(false)
		noneComesBehindItsCursor(t, caughtUp(t, c, tap))
	})
}

// noneComesBehindItsCursor reads backwards: what still comes must lie behind
// every cursor seen. Payloads are places in the sequence.
func noneComesBehindItsCursor(t fataler, frames []frame) {
	t.Helper()
	least := never
	for i := len(frames) - 1; i >= 0; i-- {
		f := frames[i]
		cursor := f.Cursor
		if f.Type == "gap" && f.Reason != wire.GapSlowConsumer {
			cursor = f.Before
		}
		if cursor != "" && seqOf(t, cursor) >= least {
			t.Fatalf("frame %d has cursor %s, but %d comes later: %+v", i, cursor, least, f)
		}
		if f.Resumed != nil { // who asks for older ones has them behind newer cursors
			least = never
		}
		if f.Type == "message" {
			own, err := strconv.ParseUint(string(f.Payload), 10, 64)
			if err != nil {
				t.Fatalf("%v", err)
			}
			least = min(least, own)
		}
	}
}

// What passed before a filter came into force is not missing.
func TestWhatAJoinerNeverHadIsNoGap(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 30_000, QueueBytes: 3000})
	c, tap := stalled(t, h, outbox.OverflowCatchup, "first", "quiet")
	for range 20 {
		h.Ingest(live("quiet", "1"))
	}
	for range 1000 { // evicted from the history, and none of it was the client's
		h.Ingest(live("hot", "1"))
	}
	if c.out.Behind() == 0 {
		t.Fatal("the client is not behind")
	}
	c.Subscribe(t.Context(), ok("hot"))
	h.Ingest(live("hot", "2"))
	tap.block(false)
	frames := tap.wait(t, func(f []frame) bool { return string(f[len(f)-1].Payload) == "2" })
	if got := types(frames); strings.Contains(got, "gap") || strings.Count(got, "message") != 22 {
		t.Errorf("got %q, want 22 messages and no gap", got)
	}
}

// Without a history, being behind costs what the queue does not hold.
func TestBehindWithoutAHistoryIsAGap(t *testing.T) {
	h := setup(t, newBroker(), Options{QueueBytes: 5000})
	c, tap := stalled(t, h, outbox.OverflowCatchup, "#")
	for range 100 {
		h.Ingest(live("a", "1"))
	}
	tap.block(false)
	eventually(t, "the client has caught up", func() bool { return c.out.Behind() == 0 && !c.out.Busy() })
	h.Ingest(live("a", "2"))
	frames := tap.wait(t, func(f []frame) bool { return string(f[len(f)-1].Payload) == "2" })
	if g := frames[len(frames)-2]; g.Type != "gap" || g.Reason != wire.GapSlowConsumer || !g.Certain || g.Before != "e-101" {
		t.Errorf("got %+v before the live message, want a certain gap up to e-101", g)
	}
}

// What matched a filter with min_interval, too, was left to the plain one.
func TestEndOfAPlainFilterWhileBehindIsToldToOthers(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20, QueueBytes: 5000})
	c, tap := attach(t, h)
	req := ok("a")
	req.MinInterval = 1
	c.Subscribe(t.Context(), req)
	c.Subscribe(t.Context(), ok("#"))
	tap.wait(t, count(2))
	tap.block(true)
	for c.out.Behind() == 0 {
		h.Ingest(live("a", "1"))
	}
	h.Ingest(live("a", "2"))
	c.Unsubscribe(nil, results("#"))
	tap.block(false)
	frames := caughtUp(t, c, tap)
	found := false
	for _, f := range frames {
		found = found || f.Type == "gap" && f.Before == h.Cursor()
	}
	if !found {
		t.Errorf("got %q, want a gap up to %s", types(frames), h.Cursor())
	}
}
