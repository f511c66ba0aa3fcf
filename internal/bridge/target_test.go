package bridge

import (
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// offline is subscriptions whose broker is the test.
func offline() *subscriptions {
	s := newSubscriptions(Config{}, "$fence", newSuspects(slog.New(slog.DiscardHandler), time.Minute), nil)
	s.changed = func([]string) {}
	return s
}

// What the broker is to be asked for is not worked out anew for each filter that
// comes or goes, and is always what it would be if it were.
func TestTargetFollowsWhatIsWanted(t *testing.T) {
	filters := []string{"a", "a/b", "a/+", "a/#", "c/+/d", "c/e/+", "c/d", "e/g/+", "x/y/z", "+/b", "#", "$SYS/a"}
	rapid.Check(t, func(t *rapid.T) {
		s := offline()
		s.plan(time.Now())
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			f := rapid.SampledFrom(filters).Draw(t, "filter")
			if s.wants[f] > 0 {
				s.remove(f)
			} else {
				s.add(f)
			}
			if s.target != nil {
				if want := s.cover(); !maps.Equal(s.target, want) {
					t.Fatalf("wanted %q: got %q, want %q", slices.Collect(maps.Keys(s.wants)), slices.Collect(maps.Keys(s.target)), slices.Collect(maps.Keys(want)))
				}
				missing, surplus := maps.Clone(s.target), maps.Clone(s.actual)
				maps.DeleteFunc(missing, func(f string, _ bool) bool { return s.actual[f] })
				maps.DeleteFunc(surplus, func(f string, _ bool) bool { return s.target[f] })
				if !maps.Equal(s.missing, missing) || !maps.Equal(s.surplus, surplus) {
					t.Fatalf("missing %v, too much %v; want %v, %v", s.missing, s.surplus, missing, surplus)
				}
				if s.targets.Len() != len(s.target) {
					t.Fatalf("the tree has %d filters, want %d", s.targets.Len(), len(s.target))
				}
			}
			if rapid.Bool().Draw(t, "plan") {
				add, remove, _ := s.plan(time.Now())
				if rapid.Bool().Draw(t, "change") && len(s.wants) > 0 { // while the broker has not answered
					s.remove(slices.Sorted(maps.Keys(s.wants))[0])
				}
				s.answered(add, nil)
				s.removed(remove, nil)
			}
		}
	})
}

func TestNamesComeAndGoWithoutWorkingAllOut(t *testing.T) {
	s := offline()
	s.add("d/+/x")
	s.plan(time.Now())
	for _, f := range []string{"a/1", "a/2", "a/3"} {
		if s.add(f); !s.target[f] {
			t.Errorf("%q: got no part of %v", f, s.target)
		}
		if s.remove(f); s.target == nil || s.target[f] {
			t.Errorf("%q is gone: got %v", f, s.target)
		}
	}
}
