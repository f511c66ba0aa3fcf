package list

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type element struct {
	n     int
	place Place[element]
}

// Whatever is pushed and removed, the list is what a slice would be.
func TestListIsWhatASliceWouldBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l List[element]
		var want []*element
		for i := range rapid.IntRange(0, 60).Draw(t, "steps") {
			if len(want) > 0 && rapid.Bool().Draw(t, "remove") {
				at := rapid.IntRange(0, len(want)-1).Draw(t, "at")
				l.Remove(&want[at].place)
				want = slices.Delete(want, at, at+1)
			} else if e := (&element{n: i}); rapid.Bool().Draw(t, "front") {
				l.PushFirst(&e.place, e)
				want = slices.Insert(want, 0, e)
			} else {
				l.Push(&e.place, e)
				want = append(want, e)
			}
			if got := slices.Collect(l.All()); !slices.Equal(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			if first := l.First(); len(want) == 0 && first != nil || len(want) > 0 && first != want[0] {
				t.Fatalf("first: got %v", first)
			}
		}
	})
}
