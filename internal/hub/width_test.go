package hub

import (
	"errors"
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
		for _, f := range mixed(2000) {
			switch err := h.hold(t.Context(), f); {
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
		for _, trie := range []interface{ Width() int }{&h.interests, &h.watched} {
			if got := trie.Width(); got > maxWidth {
				t.Errorf("a look-up leads to %d places, want %d at most", got, maxWidth)
			}
		}
		for _, f := range []string{"#", "+/b", "a/b/+", "fleet/+/temp", "a/a/a/a/b", held[0]} {
			if err := h.hold(t.Context(), f); err != nil {
				t.Errorf("%q: got %v, want it taken", f, err)
			}
			held = append(held, f)
		}
		h.unwatch(held)
		if n := h.interests.Len(); n != 0 {
			t.Errorf("%d interests are left", n)
		}
		if len(b.wanted) > len(held) {
			t.Errorf("%d filters are held upstream, want %d at most", len(b.wanted), len(held))
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
		if h.hold(t.Context(), f) == nil {
			h.unwatch([]string{f})
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := h.watched.Width(); got > maxWidth {
		t.Errorf("a look-up leads to %d places, want %d at most", got, maxWidth)
	}
	if got, want := len(h.watches), h.watched.Len(); got != want || got != b.wants() {
		t.Errorf("%d watches, %d of them in force, %d upstream, want as many", got, want, b.wants())
	}
}

// A client is told which of its filters were refused, and has the others.
func TestFilterThatIsTooWideIsRefusedAlone(t *testing.T) {
	h := setup(t, newBroker(), Options{})
	var tree topic.Trie[int]
	for _, f := range mixed(2000) {
		if tree.Add(f, 0); tree.Width() > maxWidth {
			break
		}
		if err := h.hold(t.Context(), f); err != nil {
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
