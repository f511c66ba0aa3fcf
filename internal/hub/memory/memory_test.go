package memory

import (
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// start is when the tests' time begins.
var start = time.Date(2026, 11, 23, 2, 40, 0, 0, time.UTC)

func msg(seq uint64, name string, size int, at time.Time) *message.Message {
	m := message.New(message.In{Topic: name, Payload: []byte(strings.Repeat("x", size))}, at)
	m.Stamp("e", seq)
	return m
}

func gapAt(seq uint64, at time.Time) *message.Message {
	return message.NewGap(&wire.Gap{Type: "gap", Reason: wire.GapBrokerOverflow}, seq, at)
}

// oracle remembers everything, and what became of it, in plain slices.
type oracle struct {
	seq     uint64
	all     []*message.Message // ever added to the history, in order
	newest  map[string]*message.Message
	asOf    map[string]uint64
	passed  []pass
	now     time.Time
	updated []string // topics with a newest message, oldest update first
}

func (o *oracle) setNewest(name string, m *message.Message, asOf uint64) {
	o.updated = slices.DeleteFunc(o.updated, func(s string) bool { return s == name })
	delete(o.newest, name)
	if m != nil {
		o.newest[name], o.asOf[name] = m, asOf
		o.updated = append(o.updated, name)
	}
}

// kept is what is really in the log.
func kept(m *Memory) (all []*message.Message) {
	for _, s := range m.log.segments {
		for _, x := range s.msgs {
			if x != nil {
				all = append(all, x)
			}
		}
	}
	return all
}

// evictedOf is up to where messages that match have left the history, by brute
// force over all that ever were.
func (o *oracle) evictedOf(m *Memory, filters []Sought, seq uint64) (end uint64) {
	in := map[uint64]bool{}
	for _, x := range kept(m) {
		in[x.Seq] = true
	}
	for _, x := range o.all {
		if in[x.Seq] || x.Seq <= seq {
			continue
		}
		for _, f := range filters {
			if x.Seq > f.From && (x.IsGap || topic.Match(f.Filter, x.Topic)) {
				end = max(end, x.Seq)
			}
		}
	}
	return end
}

// Whatever comes, in whatever order: what is remembered is in order, inside its
// limits, counted to the byte, and whoever looks for a hole finds it.
func TestMemoryIsWholeOrSaysWhatIsMissing(t *testing.T) {
	names := []string{"a", "a/b", "a/c", "b", "b/b", "hot"}
	filters := []string{"#", "a/#", "+/b", "b", "hot", "none"}
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			History: rapid.SampledFrom([]int64{0, 2000, 20_000, 1 << 20}).Draw(t, "history"), Age: time.Minute,
			Values: rapid.SampledFrom([]int64{1000, 1 << 20}).Draw(t, "values"), Index: rapid.SampledFrom([]int64{900, 1 << 20}).Draw(t, "index"),
		}
		m := New(limits)
		o := &oracle{newest: map[string]*message.Message{}, asOf: map[string]uint64{}, now: start}
		var searches []searcher
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			o.now = o.now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			name := rapid.SampledFrom(names).Draw(t, "name")
			if rapid.Bool().Draw(t, "hot") {
				name = "hot"
			}
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0:
				o.seq++
				g := gapAt(o.seq, o.now)
				o.all = append(o.all, g)
				m.AddGap(g)
			case 1:
				o.seq++
				p := pass{rapid.SampledFrom([]string{"a/deep", "b/deep", strings.Repeat("a", maxPassBytes+1)}).Draw(t, "passed"), o.seq}
				m.Pass(p.topic, p.seq)
				o.passed = append(o.passed, p)
			case 2:
				c := msg(0, name, 5, o.now)
				down := rapid.Uint64Range(0, o.seq).Draw(t, "down")
				if known := remembered(m, name); known == nil || known.Seq <= down {
					o.setNewest(name, c, o.seq)
				}
				m.AddRetained(c, down, o.seq)
			case 3:
				before := m.evictions.count
				if m.Expire(o.now, 3); m.evictions.count-before > 3 {
					t.Fatalf("%d messages expired in 3 steps", m.evictions.count-before)
				}
			case 4:
				var sought []Sought
				for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom(filters), 1, 2, rapid.ID).Draw(t, "filters") {
					sought = append(sought, Sought{f, rapid.Uint64Range(0, o.seq).Draw(t, "from")})
				}
				behind := rapid.Uint64Range(0, o.seq).Draw(t, "behind")
				searches = append(searches, searcher{&Search{Filters: sought}, behind, behind})
			case 5, 6: // each search goes on, by little
				for i := range searches {
					x := &searches[i]
					if !m.Search(x.s, x.seq, rapid.IntRange(1, 4).Draw(t, "looks")) {
						continue
					}
					x.holds(t, m, o)
					x.seq += rapid.Uint64Range(0, 3).Draw(t, "read on")
				}
			default:
				o.seq++
				x := msg(o.seq, name, rapid.SampledFrom([]int{0, 5, 300}).Draw(t, "size"), o.now)
				clears := rapid.IntRange(0, 9).Draw(t, "clears") == 0
				o.all = append(o.all, x)
				if o.setNewest(name, x, o.seq); clears {
					o.setNewest(name, nil, 0)
				}
				m.Add(x, clears)
			}
			for {
				before := m.evictions.count
				more := m.Trim(2)
				if m.evictions.count-before > 2 {
					t.Fatalf("%d messages were evicted in 2 steps", m.evictions.count-before)
				}
				if !more {
					break
				}
			}
			sums(t, m, limits)
			order(t, m, o)
			values(t, m, o)
		}
		for i := range searches {
			x := &searches[i]
			for !m.Search(x.s, x.seq, 2) {
			}
			x.holds(t, m, o)
		}
	})
}

// remembered is the newest message that is still known of a topic.
func remembered(m *Memory, name string) *message.Message {
	tp := m.Topic(name)
	if tp == nil {
		return nil
	}
	if newest, _ := tp.Newest(); newest != nil {
		return newest
	}
	if last := tp.Last(); last != nil && !last.Empty() {
		return last
	}
	return nil
}

// searcher looks for a hole behind a place.
type searcher struct {
	s          *Search
	first, seq uint64 // where it began and where it is
}

// holds compares a search that is done with all that ever was: it finds every
// hole, is certain only of those that are, and says nothing where there is none.
func (x *searcher) holds(t *rapid.T, m *Memory, o *oracle) {
	want := o.evictedOf(m, x.s.Filters, x.seq)
	if want > x.s.End {
		t.Fatalf("behind %d of %v: got a hole up to %d, want %d", x.seq, x.s.Filters, x.s.End, want)
	}
	all := []Sought{{"#", x.s.least}}
	certain := o.evictedOf(m, x.s.Filters, x.first) > 0
	var passed uint64 // up to where something may be missing
	for _, p := range o.passed {
		for _, f := range x.s.Filters {
			matches := topic.Match(f.Filter, p.topic)
			if p.seq > f.From && (matches || len(p.topic) > maxPassBytes) {
				passed = p.seq
				certain = certain || matches && p.seq > x.first
			}
		}
	}
	if passed > x.seq && passed > x.s.End {
		t.Fatalf("behind %d: got a hole up to %d, and %d was not remembered", x.seq, x.s.End, passed)
	}
	if x.s.End > x.seq && x.s.Certain && !certain {
		t.Fatalf("behind %d of %v: certain of a hole up to %d, there is none", x.seq, x.s.Filters, x.s.End)
	}
	if x.s.End > x.seq && x.s.End > max(o.evictedOf(m, all, x.seq), passed) {
		t.Fatalf("behind %d: got a hole up to %d, nothing is missing there", x.seq, x.s.End)
	}
}

// sums compares what is counted with what is held.
func sums(t *rapid.T, m *Memory, limits Limits) {
	var history, values int64
	for _, x := range kept(m) {
		history += x.Size()
	}
	n := 0
	m.topics.Walk("#", func(name string, tp *Topic) bool {
		n++
		if tp.newest != nil {
			values += tp.newest.Size()
		}
		if tp.newest == nil && len(tp.msgs) == 0 {
			t.Fatalf("topic %s holds nothing and is remembered", name)
		}
		return true
	})
	got := m.Sums()
	if want := (Sums{history, values, m.indexBytes()}); got != want {
		t.Fatalf("got sums %+v, want %+v", got, want)
	}
	if got.History > limits.History || got.Values > limits.Values || got.Index > limits.Index && n > 0 {
		t.Fatalf("got %+v, over the limits %+v", got, limits)
	}
	if want := len(m.byBytes); n != want && n+1 != want || m.Topics() != n {
		t.Fatalf("%d topics, %d in the heap, %d counted", n, want, m.Topics())
	}
}

// order compares After, At and Before with the log.
func order(t *rapid.T, m *Memory, o *oracle) {
	want := kept(m)
	if !sort.SliceIsSorted(want, func(i, j int) bool { return want[i].Seq < want[j].Seq }) {
		t.Fatalf("the log is out of order")
	}
	seq := rapid.Uint64Range(0, o.seq).Draw(t, "after")
	var got []uint64
	for at, end := seq, false; !end; {
		before := len(got)
		at, end = m.After(at, 3, func(x *message.Message) bool { got = append(got, x.Seq); return true })
		if len(got)-before > 3 {
			t.Fatalf("%d messages were read in 3 looks", len(got)-before)
		}
	}
	var behind []uint64
	for _, x := range want {
		if x.Seq > seq {
			behind = append(behind, x.Seq)
		}
	}
	if !slices.Equal(got, behind) {
		t.Fatalf("behind %d: got %v, want %v", seq, got, behind)
	}
	moment := o.now.Add(-time.Duration(rapid.IntRange(-1000, 60_000).Draw(t, "ago")) * time.Millisecond)
	last := uint64(0)
	for _, x := range want {
		if x.At.Before(moment) {
			last = x.Seq
		}
	}
	if at := m.Before(moment); at < last || at > last && slices.ContainsFunc(want, func(x *message.Message) bool { return x.Seq > last && x.Seq <= at }) {
		t.Fatalf("before that moment: got %d, want %d", at, last)
	}
}

// values compares the newest messages: one may be forgotten, and then so are
// all that were updated longer ago.
func values(t *rapid.T, m *Memory, o *oracle) {
	gone := true
	for _, name := range o.updated {
		var got *message.Message
		if tp := m.Topic(name); tp != nil {
			got, _ = tp.Newest()
		}
		switch {
		case got == nil && gone:
		case got == nil:
			t.Fatalf("%s is forgotten, and another one that was updated before it is not", name)
		case got != o.newest[name]:
			t.Fatalf("%s is %d, want %d", name, got.Seq, o.newest[name].Seq)
		default:
			gone = false
			if _, asOf := m.Topic(name).Newest(); asOf != o.asOf[name] {
				t.Fatalf("%s is as of %d, want %d", name, asOf, o.asOf[name])
			}
		}
	}
}
