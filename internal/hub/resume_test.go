package hub

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

func seqOf(t interface{ Fatalf(string, ...any) }, cursor string) uint64 {
	_, number, ok := strings.Cut(cursor, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		t.Fatalf("not a cursor: %q", cursor)
	}
	return n
}

// inbound is what the broker sent, as the model remembers it: the index is the
// sequence number.
type inbound struct{ topic, payload string }

// check holds the promise of a resume against the model: everything behind
// since that matches was received in order, once, or lies in a declared gap.
func check(t *rapid.T, sent []inbound, filters []string, since uint64, frames []frame) {
	got := map[uint64]bool{}
	declared := map[uint64]bool{}
	last := uint64(0)
	for _, f := range frames {
		switch f.Type {
		case "message":
			if f.Cursor == "" {
				continue // a copy that is older than the subscription
			}
			seq := seqOf(t, f.Cursor)
			if got[seq] {
				t.Fatalf("message %d came twice", seq)
			}
			if seq <= last {
				t.Fatalf("message %d came after %d", seq, last)
			}
			last, got[seq] = seq, true
			if want := sent[seq]; f.Topic != want.topic || string(f.Payload) != want.payload {
				t.Fatalf("message %d is %s=%s, want %v", seq, f.Topic, f.Payload, want)
			}
		case "gap":
			for s := seqOf(t, f.After) + 1; s <= seqOf(t, f.Before); s++ {
				declared[s] = true
			}
		}
	}
	for seq := since + 1; seq < uint64(len(sent)); seq++ {
		wanted := false
		for _, f := range filters {
			wanted = wanted || sent[seq].topic != "" && topic.Match(f, sent[seq].topic)
		}
		switch {
		case wanted && !got[seq] && !declared[seq]:
			t.Fatalf("message %d (%v) is missing and nothing was said; since %d; frames %+v", seq, sent[seq], since, frames)
		case !wanted && got[seq]:
			t.Fatalf("message %d (%v) was not asked for", seq, sent[seq])
		}
	}
}

// However small the history is, whatever happens meanwhile: what a client that
// comes back is not sent, it is told of.
func TestResumeIsWholeOrSaysWhatIsMissing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBroker()
		h := New(Options{Upstream: b, Epoch: "e", HistoryBytes: rapid.Int64Range(0, 20_000).Draw(t, "history")})
		defer h.Close()
		h.BrokerUp(false)
		sent := []inbound{{}}
		topics := []string{"a", "a/b", "a/c", "b/b", "hot"}
		send := func(n int) {
			for range n {
				m := inbound{rapid.SampledFrom(topics).Draw(t, "topic"), strconv.Itoa(len(sent))}
				if rapid.Bool().Draw(t, "hot") {
					m.topic = "hot"
				}
				sent = append(sent, m)
				h.Ingest(live(m.topic, m.payload))
			}
		}
		type reader struct {
			tap     *wireTap
			c       *Client
			filters []string
			since   uint64
		}
		var readers []reader
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			send(rapid.IntRange(0, 40).Draw(t, "messages"))
			if rapid.IntRange(0, 5).Draw(t, "outage") == 0 {
				h.BrokerDown()
				h.BrokerUp(true)
				sent = append(sent, inbound{}) // the gap has a place of its own
			}
			r := reader{tap: newTap(), since: rapid.Uint64Range(0, uint64(len(sent)-1)).Draw(t, "since")}
			r.filters = rapid.SampledFrom([][]string{{"#"}, {"a/#"}, {"a/+", "+/b"}, {"b/b"}, {"hot", "#"}}).Draw(t, "filters")
			r.c = h.Attach(r.tap, r.tap, nil, nil)
			req := ok(r.filters...)
			req.Since = &Position{Epoch: "e", Seq: r.since}
			r.c.Subscribe(context.Background(), req)
			readers = append(readers, r)
		}
		send(5)
		for _, r := range readers {
			r.c.Send("pong", &wire.Pong{Type: "pong"})
			frames := r.tap.wait(t, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "pong" })
			check(t, sent, r.filters, r.since, frames)
			r.c.Detach()
		}
	})
}

// Messages keep coming while a client reads a long history slowly and the
// history is evicted under its feet.
func TestReplayJoinsLiveWhileMessagesFlow(t *testing.T) {
	for _, history := range []int64{1 << 20, 16 << 20} {
		b := newBroker()
		h := setup(t, b, Options{HistoryBytes: history, QueueBytes: 64 << 20})
		sent := []inbound{{}}
		feed := func(n int) {
			for range n {
				m := inbound{"t/" + strconv.Itoa(len(sent)%50), strconv.Itoa(len(sent))}
				sent = append(sent, m)
				h.Ingest(live(m.topic, m.payload))
			}
		}
		feed(2000)
		c, tap := attach(t, h)
		tap.block(true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			req := ok("t/+")
			req.Since = &Position{Epoch: "e", Seq: 0}
			c.Subscribe(context.Background(), req)
		}()
		eventually(t, "the replay has begun", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return c.replaying > 0
		})
		feed(10_000)
		tap.block(false)
		feed(10_000)
		<-done
		c.Send("pong", &wire.Pong{Type: "pong"})
		frames := tap.wait(t, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "pong" })
		rapid.Check(t, func(rt *rapid.T) { check(rt, sent, []string{"t/+"}, 0, frames) })
		whole := len(sent) + 1 // an ack and a pong, and sent has an empty first
		switch {
		case history > 8<<20 && len(frames) != whole:
			t.Errorf("got %d frames, want %d: the whole history fits", len(frames), whole)
		case history < 8<<20 && (len(frames) == whole || frames[0].Type != "ack" || !strings.Contains(types(frames), "message gap")):
			t.Errorf("got %d frames, want a gap in the middle of the replay", len(frames))
		}
	}
}

func TestCursorOfAnotherLifeIsAGapAndThenLive(t *testing.T) {
	b := newBroker()
	b.retained = func(string) ([]Inbound, error) { return []Inbound{live("a", "9")}, nil }
	h := setup(t, b, Options{HistoryBytes: 1 << 20})
	h.Ingest(live("a", "1"))
	for cursor, want := range map[string]string{"other-5": wire.GapGatewayRestarted, "e-99": wire.GapHistoryExpired} {
		c, tap := attach(t, h)
		req := ok("a")
		var err error
		if req.Since, err = ParseCursor(cursor); err != nil {
			t.Fatal(err)
		}
		c.Subscribe(t.Context(), req)
		frames := tap.wait(t, count(3))
		if got := types(frames); got != "ack gap message" {
			t.Fatalf("%s: got %q", cursor, got)
		}
		if g := frames[1]; g.Reason != want || g.After != cursor || g.Before != "e-1" {
			t.Errorf("%s: got %+v", cursor, g)
		}
	}
}

func TestMalformedCursorsAreRefused(t *testing.T) {
	for _, s := range []string{"", "x", "-1", "e-", "e--1", "e-01", "e-18446744073709551616", "E-1", "e-1 ", "é-1", strings.Repeat("9", 1<<20)} {
		if p, err := ParseCursor(s); err == nil {
			t.Errorf("ParseCursor(%.20q) = %+v, want an error", s, p)
		}
	}
	if p, err := ParseCursor("e-18446744073709551615"); err != nil || p.Seq != ^uint64(0) {
		t.Errorf("got %v, %v", p, err)
	}
}

func TestHotTopicDoesNotEvictAQuietOne(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 100_000})
	h.Ingest(live("quiet", "1"))
	for i := range 5000 {
		h.Ingest(live("hot", fmt.Sprint(i)))
	}
	c, tap := attach(t, h)
	req := ok("quiet")
	req.Since = &Position{Epoch: "e", Seq: 0}
	c.Subscribe(t.Context(), req)
	frames := tap.wait(t, count(2))
	if got := types(frames); got != "ack message" {
		t.Errorf("got %q, want the quiet topic's message without a gap", got)
	}
	c2, tap2 := attach(t, h)
	req = ok("hot")
	req.Since = &Position{Epoch: "e", Seq: 1}
	c2.Subscribe(t.Context(), req)
	if g := tap2.wait(t, count(2))[1]; g.Type != "gap" || g.Reason != wire.GapHistoryExpired || !g.Certain {
		t.Errorf("the hot topic's reader got %+v, want a certain gap", g)
	}
	if n := h.Stats().Memory.History; n > 100_000 {
		t.Errorf("history holds %d bytes, limit 100000", n)
	}
}

func TestHistoryExpiresByAge(t *testing.T) {
	h := setup(t, newBroker(), Options{HistoryBytes: 1 << 20, HistoryAge: 20 * time.Millisecond})
	h.Ingest(live("a", "1"))
	eventually(t, "the message expires", func() bool { return h.Stats().Memory.History == 0 })
	if p := h.History("#", &Position{Epoch: "e"}, 10, nil); len(p.Objects) != 0 || p.Gap == nil || p.Gap.Reason != wire.GapHistoryExpired {
		t.Errorf("got %+v", p)
	}
}

// In dynamic mode nothing is known of the time in which nobody wanted a topic.
func TestUnwatchedTimeIsAGap(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	h := setup(t, b, Options{HistoryBytes: 1 << 20, Linger: time.Millisecond})
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("a/#"))
	h.Ingest(live("a/b", "1"))
	tap.wait(t, count(2))
	c.Detach()
	eventually(t, "a/# is released", func() bool { return b.wants() == 0 })
	h.Ingest(live("x", "2")) // something else goes on
	c, tap = attach(t, h)
	req := ok("a/b")
	req.Since = &Position{Epoch: "e", Seq: 1}
	req.Snapshot = true
	c.Subscribe(t.Context(), req)
	if got := types(tap.wait(t, count(3))); got != "ack gap snapshot_end" {
		t.Errorf("got %q, want a gap and no value that may be out of date", got)
	}
}

// Wherever the connection breaks, the last cursor seen leads back to before
// everything that had not come yet: also while one subscription is replayed
// and another one is live, and around a gap for everybody.
func TestNoCursorPassesWhatIsStillToCome(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Hour} {
		h := setup(t, newBroker(), Options{HistoryBytes: 64 << 20, QueueBytes: 64 << 20})
		wanted := map[uint64]bool{}
		seq := uint64(0)
		feed := func(n int) {
			for range n {
				seq++
				wanted[seq] = true
				h.Ingest(live([]string{"a", "b"}[seq%2], strconv.FormatUint(seq, 10)))
			}
		}
		feed(3000)
		c, tap := attach(t, h)
		c.Subscribe(t.Context(), ok("a"))
		tap.block(true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			req := ok("b")
			req.Since = &Position{Epoch: "e"}
			req.MinInterval = interval
			c.Subscribe(context.Background(), req)
		}()
		eventually(t, "the replay has begun", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return c.replaying > 0 || len(c.subs) == 2
		})
		feed(500)
		h.BrokerDown()
		h.BrokerUp(true)
		seq++ // the gap's place
		feed(500)
		tap.block(false)
		<-done
		c.Send("pong", &wire.Pong{Type: "pong"})
		frames := tap.wait(t, func(f []frame) bool { return len(f) > 0 && f[len(f)-1].Type == "pong" })
		// Read backwards: what still comes must lie behind every cursor seen.
		least := never
		for i := len(frames) - 1; i > 0; i-- {
			f := frames[i]
			if f.Type == "gap" {
				if at := seqOf(t, f.Before); at >= least {
					t.Fatalf("the gap's cursor %s passes %d, which comes later", f.Before, least)
				}
			}
			if f.Type != "message" {
				continue
			}
			own, err := strconv.ParseUint(string(f.Payload), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if at := seqOf(t, f.Cursor); at >= least {
				t.Fatalf("message %d has cursor %s, but %d comes later", own, f.Cursor, least)
			}
			least = min(least, own)
		}
	}
}

// A message that is not remembered is missing to those who would have got it,
// and to nobody else.
func TestResumeBesideMessagesThatAreNotRemembered(t *testing.T) {
	h := New(Options{Upstream: newBroker(), Epoch: "e", HistoryBytes: 1 << 20})
	defer h.Close()
	h.BrokerUp(false)
	h.Ingest(live("a", "1"))
	h.Ingest(live(deep, "2"))
	h.Ingest(live("a", "3"))
	for filter, whole := range map[string]bool{"a": true, "+": true, "deep/#": false, "#": false} {
		tap := newTap()
		c := h.Attach(tap, tap, nil, nil)
		request := ok(filter)
		request.Since, _ = ParseCursor("e-1")
		c.Subscribe(t.Context(), request)
		c.Send("pong", &wire.Pong{Type: "pong"})
		frames := tap.wait(t, untilPong)
		if got := frames[0].Resumed; got == nil || *got != whole {
			t.Errorf("%s: got %+v, want resumed %t", filter, frames, whole)
		}
		if whole && (len(frames) != 3 || string(frames[1].Payload) != "3") {
			t.Errorf("%s: got %+v, want what was missed", filter, frames)
		}
		c.Detach()
	}
}
