package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// granted are rights that grant everything but what is denied.
func granted(t fataler, deny ...string) *Rights {
	t.Helper()
	r, err := access.Compile("p", access.Grants{Subscribe: []string{"#"}, Deny: deny})
	if err != nil {
		t.Fatalf("rights: %v", err)
	}
	return &Rights{Class: r.Class(), May: r.MayReceive}
}

// matchesPlainly is the rule of MQTT 3.1.1, 4.7, said as plainly as possible.
func matchesPlainly(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	for i := range f {
		switch {
		case f[i] == "#":
			return true
		case i == len(n), f[i] != "+" && f[i] != n[i]:
			return false
		}
	}
	return len(f) == len(n)
}

func anyMatches(filters []string, name string) bool {
	return slices.ContainsFunc(filters, func(f string) bool { return matchesPlainly(f, name) })
}

// scene is a hub in which every topic has had messages, and readers who may not
// have all of them.
type scene struct {
	t      *rapid.T
	hub    *Hub
	broker *broker
	filter string
	deny   []string
	rights *Rights
	kept   map[string]bool // topics of which the broker keeps a message
	larger map[string]bool // of them, those whose message is too large to be handed out
	sent   map[string]bool // topics that a message was received of
	next   int
}

var (
	sceneTopics  = []string{"a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/b/a", "a/b/b", "b/a/b"}
	sceneFilters = []string{"#", "+", "a", "b", "a/#", "b/#", "+/+", "+/a", "a/+", "+/b/#", "a/b/#", "+/+/a", "a/+/b", "b/a", "a/b/a"}
)

func (s *scene) allowed(topic string) bool {
	return matchesPlainly(s.filter, topic) && !anyMatches(s.deny, topic)
}

func (s *scene) ingest(n int) {
	for range n {
		topic := rapid.SampledFrom(sceneTopics).Draw(s.t, "topic")
		s.next++
		s.sent[topic] = true
		in := live(topic, fmt.Sprint(s.next))
		switch rapid.IntRange(0, 5).Draw(s.t, "kind") {
		case 0:
			in = large(topic)
		case 1:
			in.Retained = true
		}
		s.hub.Ingest(in)
	}
}

// exactly fails unless the messages are of the topics that may be read, and of
// all of these that must be there.
func (s *scene) exactly(what string, topics []string, must map[string]bool) {
	s.t.Helper()
	for _, topic := range topics {
		if !s.allowed(topic) {
			s.t.Fatalf("%s: got a message of %s; the filter is %s, denied is %v", what, topic, s.filter, s.deny)
		}
	}
	for topic := range must {
		if s.allowed(topic) && !slices.Contains(topics, topic) {
			s.t.Fatalf("%s: got %v, want %s, too; the filter is %s, denied is %v", what, topics, topic, s.filter, s.deny)
		}
	}
}

func messagesOf(frames []frame) (topics []string) {
	for _, f := range frames {
		if f.Type == "" || f.Type == "message" {
			topics = append(topics, f.Topic)
		}
	}
	return topics
}

// topicsOf are the topics that frames speak of: those of messages, and of gaps
// where a message would stand that is too large.
func (s *scene) topicsOf(what string, frames []frame) (topics []string) {
	s.t.Helper()
	for _, f := range frames {
		if f.Type == "message" && f.Retain && (f.Cursor != "" || !s.kept[f.Topic]) {
			s.t.Fatalf("%s: got %s; only what the broker keeps is retained, and such a copy has no cursor", what, f)
		}
		if f.Type == "message" || f.Reason == wire.GapTooLarge {
			topics = append(topics, f.Topic)
		}
	}
	return topics
}

func (s *scene) objectsOf(what string, objects [][]byte) []string {
	s.t.Helper()
	frames := make([]frame, len(objects))
	for i, o := range objects {
		if err := json.Unmarshal(o, &frames[i]); err != nil {
			s.t.Fatalf("%s: object %q: %v", what, o, err)
		}
	}
	return s.topicsOf(what, frames)
}

// stream joins with a request, lets messages pass, and gives the topics of all
// that the reader got.
func (s *scene) stream(change func(*Request), block bool) []string {
	tap := newTap()
	c := s.hub.Attach(tap, tap, s.rights, nil)
	defer c.Detach()
	r := ok(s.filter)
	change(r)
	done := make(chan struct{})
	go func() { defer close(done); c.Subscribe(context.Background(), r) }()
	<-done
	tap.block(block)
	s.ingest(20)
	tap.block(false)
	return s.topicsOf("a stream", caughtUp(s.t, c, tap))
}

// Whatever a reader is given or told of, it may read; and it is given all that
// it may read, on every way that leads out.
func TestNothingDeniedIsDeliveredOnAnyWay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBroker()
		s := &scene{t: rt, broker: b, kept: map[string]bool{}, larger: map[string]bool{}, sent: map[string]bool{}}
		s.filter = rapid.SampledFrom(sceneFilters).Draw(rt, "filter")
		s.deny = rapid.SliceOfNDistinct(rapid.SampledFrom(sceneFilters[1:]), 1, 8, rapid.ID).Draw(rt, "deny")
		s.rights = granted(rt, s.deny...)
		for _, topic := range rapid.SliceOfDistinct(rapid.SampledFrom(sceneTopics), rapid.ID).Draw(rt, "kept") {
			s.kept[topic] = true
			s.larger[topic] = rapid.Bool().Draw(rt, "larger")
		}
		b.retained = func(filter string) (all []Inbound, _ error) {
			for topic := range s.kept {
				if matchesPlainly(filter, topic) {
					in := live(topic, "kept")
					if s.larger[topic] {
						in = large(topic)
					}
					in.Retain = true
					all = append(all, in)
				}
			}
			return all, nil
		}
		s.hub = New(Options{Upstream: b, Epoch: "e", QueueBytes: 2000, HistoryBytes: 1 << 20})
		defer s.hub.Close()
		s.hub.BrokerUp(false)
		before := s.hub.seqNow()
		s.ingest(30)

		s.exactly("live and retained", s.stream(func(*Request) {}, false), s.kept)
		all := maps.Clone(s.sent)
		maps.Copy(all, s.kept)
		s.exactly("snapshot", s.stream(func(r *Request) { r.Snapshot = true }, false), all)
		s.exactly("replay", s.stream(func(r *Request) { r.Since = &Position{Epoch: "e", Seq: before} }, false), s.sent)
		s.exactly("catching up", s.stream(func(r *Request) {}, true), nil)
		s.exactly("dropping", s.stream(func(r *Request) { r.Overflow = outbox.OverflowDrop }, true), nil)
		s.exactly("min_interval", s.stream(func(r *Request) {
			r.MinInterval, r.Since = 10*time.Hour, &Position{Epoch: "e", Seq: before}
		}, false), nil)
		objects, _, err := s.hub.List(context.Background(), s.filter, "", 1000, s.rights)
		if err != nil {
			rt.Fatalf("list: %v", err)
		}
		s.exactly("list", s.objectsOf("list", objects), s.sent)
		s.exactly("history", s.objectsOf("history", s.hub.History(s.filter, nil, 1000, s.rights).Objects), s.sent)
		s.reply()
	})
}

// reply: the first message that may be read is the one that a request gets.
func (s *scene) reply() {
	w, err := s.hub.Wait(context.Background(), s.filter, Want{Rights: s.rights})
	if err != nil {
		s.t.Fatalf("wait: %v", err)
	}
	defer w.Stop()
	for range 30 {
		topic := rapid.SampledFrom(sceneTopics).Draw(s.t, "topic")
		s.hub.Ingest(live(topic, "reply"))
		select {
		case m := <-w.C:
			s.exactly("reply", []string{m.Topic}, map[string]bool{topic: true})
			return
		default:
			s.exactly("no reply", nil, map[string]bool{topic: true})
		}
	}
}

// Many readers with the same rights cost one decision a message.
func TestReadersWithTheSameRightsShareDecisions(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	asked := 0
	r := func() *Rights {
		return &Rights{Class: "same", May: func(topic string) bool { asked++; return topic != "secret" }}
	}
	for range 50 {
		c := h.Attach(&drain{}, &drain{}, r(), nil)
		c.Subscribe(t.Context(), ok("#"))
		defer c.Detach()
	}
	h.mu.Lock()
	asked = 0
	h.mu.Unlock()
	for range 10 {
		h.Ingest(live("open", "1"))
		h.Ingest(live("secret", "1"))
	}
	if asked != 20 {
		t.Errorf("got %d decisions for 20 messages and 50 readers, want 20", asked)
	}
}

// The table of classes holds those of readers who are there.
func TestClassesGoWithTheirReaders(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	var all []*Client
	for i := range 20 {
		c := h.Attach(&drain{}, &drain{}, granted(t, fmt.Sprintf("d/%d", i%10)), nil)
		all = append(all, c)
	}
	if len(h.classes) != 10 {
		t.Errorf("got %d classes, want 10", len(h.classes))
	}
	for i, c := range all {
		if i%2 == 0 {
			c.SetRights(granted(t, "other"), nil)
		}
		c.Detach()
	}
	w, err := h.Wait(t.Context(), "a", Want{Rights: granted(t, "b")})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	if len(h.classes) != 0 {
		t.Errorf("got %d classes when everybody is gone, want none", len(h.classes))
	}
}

// Rights that have changed count from the next message on, and filters that
// are no longer granted end.
func TestRightsChangeOnAnOpenStream(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	tap := newTap()
	c := h.Attach(tap, tap, granted(t, "x"), nil)
	defer c.Detach()
	c.Subscribe(t.Context(), ok("a/#", "b/#"))
	h.Ingest(live("a/1", "1"))
	h.Ingest(live("b/1", "2"))
	tap.wait(t, count(3))
	if !c.SetRights(granted(t, "a/secret"), []string{"b/#", "never held"}) {
		t.Errorf("SetRights: got false for a client of which nothing waits")
	}
	for _, topic := range []string{"a/secret", "b/1", "a/1"} {
		h.Ingest(live(topic, "3"))
	}
	if got := c.Held(); !slices.Equal(got, []string{"a/#"}) {
		t.Errorf("filters: got %v, want a/#", got)
	}
	c.Send("pong", &wire.Pong{Type: "pong"})
	frames := tap.wait(t, untilPong)
	if got := messagesOf(frames[1:]); !slices.Equal(got, []string{"a/1", "b/1", "a/1"}) {
		t.Errorf("got messages of %v, want a/1, b/1, and then a/1 alone", got)
	}
}

// What waits for a slow client was queued by its old rights.
func TestSlowClientDoesNotKeepWhatItMayNotReadAnyMore(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	c, tap := stalled(t, h, outbox.OverflowClose, "#")
	for range 50 {
		h.Ingest(live("a", strings.Repeat("x", 2000)))
	}
	if c.SetRights(granted(t, "a"), nil) {
		t.Errorf("SetRights: got true, want false: messages of a wait")
	}
	tap.block(false)
}
