package hub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
)

// mixed are filters that a/a/…/a leads to one by one, and matches none of.
func mixed(n int) (filters []string) {
	for i := range n {
		levels := make([]string, 32)
		for at := range levels {
			if levels[at] = "a"; i>>(at%16)&1 == 1 {
				levels[at] = "+"
			}
		}
		levels[31] = "z"
		filters = append(filters, strings.Join(levels, "/"))
	}
	return filters
}

// However many filters there are, and whatever they are, a message looks at few
// of them; those that would make it more are refused, and others are not.
func TestFiltersDoNotMakeALookUpTakeLong(t *testing.T) {
	for _, dynamic := range []bool{false, true} { // with GATEWAY_WATCH=
		b := newBroker()
		b.dynamic = dynamic
		h := setup(t, b, Options{Linger: time.Hour})
		var held []string
		refused := 0
		for i, f := range mixed(2000) {
			switch err := h.hold(t.Context(), f, i); {
			case err == nil:
				held = append(held, f)
			case errors.Is(err, ErrTooWide):
				refused++
			default:
				t.Fatal(err)
			}
		}
		if refused == 0 || len(held) < 50 {
			t.Errorf("%d filters were taken and %d refused, want some of both", len(held), refused)
		}
		h.mu.Lock()
		for _, trie := range []interface{ Width() int }{&h.interests, &h.watched} {
			if got := trie.Width(); got > maxWidth {
				t.Errorf("a look-up leads to %d places, want %d at most", got, maxWidth)
			}
		}
		h.mu.Unlock()
		for _, f := range []string{"#", "+/b", "a/b/+", "fleet/+/temp", "a/a/a/a/b", held[0]} {
			if err := h.hold(t.Context(), f, nil); err != nil {
				t.Errorf("%q: got %v, want it taken", f, err)
			}
			held = append(held, f)
		}
		h.unwatch(held)
		h.mu.Lock()
		if n := h.interests.Len(); n != 0 {
			t.Errorf("%d interests are left", n)
		}
		h.mu.Unlock()
		if n := b.wants(); n > len(held) {
			t.Errorf("%d filters are held upstream, want %d at most", n, len(held))
		}
	}
}

// What lingers upstream counts as well: who asks for ever other filters and gives
// them back does not pile them up.
func TestWatchesThatLingerDoNotPileUp(t *testing.T) {
	b := newBroker()
	b.dynamic = true
	h := setup(t, b, Options{Linger: time.Hour})
	for _, f := range mixed(1000) {
		if h.hold(t.Context(), f, nil) == nil {
			h.unwatch([]string{f})
		}
	}
	eventually(t, "those that linger leave room, and are as many as are upstream", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.watched.Width() <= maxWidth/4+32 && len(h.watches) == h.watched.Len() && len(h.watches) == b.wants()
	})
	if h.watched.Len() < 5 {
		t.Errorf("%d filters linger, want more", h.watched.Len())
	}
}

// long are filters that take all the places there are with few of them: long ones
// first, and then ever shorter ones.
func long() (filters []string) {
	for levels := 199; levels > 1; levels = levels * 3 / 4 {
		for at := range min(30, levels-1) {
			names := strings.Split(strings.Repeat("a/", levels-1)+"z", "/")
			names[at] = "+"
			filters = append(filters, strings.Join(names, "/"))
		}
	}
	return filters
}

// However many filters one holder asks for, or how deep, others have theirs, and
// what it has given back is there for it again.
func TestNoHolderHasThePlacesOfAll(t *testing.T) {
	for _, dynamic := range []bool{false, true} { // with GATEWAY_WATCH=
		for name, greedy := range map[string][]string{"many": mixed(2000), "long": long()} {
			b := newBroker()
			b.dynamic = dynamic
			h := setup(t, b, Options{Linger: time.Hour})
			take := func() (held []string) {
				for _, f := range greedy {
					if h.hold(t.Context(), f, "greedy") == nil {
						held = append(held, f)
					}
				}
				return held
			}
			held := take()
			if len(held) < 4 || len(held) == len(greedy) {
				t.Errorf("%s: %d of %d filters were taken, want some", name, len(held), len(greedy))
			}
			for holder := range 10 {
				for _, f := range []string{"+/+/+/+/+/temp", "a/+/a/b/+/c", "+/a/+/state"} {
					if err := h.hold(t.Context(), fmt.Sprintf("%s/%d", f, holder), holder); err != nil {
						t.Errorf("%s: %q of holder %d: got %v, want it taken", name, f, holder, err)
					}
				}
			}
			h.unwatch(held)
			eventually(t, "the watches have ended", func() bool {
				h.mu.Lock()
				defer h.mu.Unlock()
				return h.watched.Width() <= maxWidth/4+199
			})
			if again := take(); len(again) < len(held)*3/4 {
				t.Errorf("%s: %d filters were taken again, want about the %d of before", name, len(again), len(held))
			} else {
				h.unwatch(again)
			}
			h.mu.Lock()
			if got := h.levels["greedy"]; got != 0 {
				t.Errorf("%s: the holder bears %d levels, want none", name, got)
			}
			h.mu.Unlock()
		}
	}
}

// A client is told which of its filters were refused, and has the others.
func TestFilterThatIsTooWideIsRefusedAlone(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	var tree topic.Trie[int]
	for i, f := range mixed(2000) {
		if tree.Add(f, 0); tree.Width() > maxWidth {
			break
		}
		if err := h.hold(t.Context(), f, i); err != nil {
			t.Fatal(err)
		}
	}
	c, tap := attach(t, h)
	c.Subscribe(t.Context(), ok("b/#", strings.Repeat("+/", 31)+"y"))
	h.Ingest(live("b/x", "1"))
	frames := tap.wait(t, count(2))
	if got := frames[0].Results; len(got) != 2 || !got[0].OK || got[1].Code != ErrTooWide.Code {
		t.Errorf("got %+v, want the second one to be refused", got)
	}
	if got := frames[1]; got.Topic != "b/x" {
		t.Errorf("got %v, want the message", got)
	}
}
