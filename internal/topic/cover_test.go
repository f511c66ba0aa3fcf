package topic_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/topic"
)

func TestCoversTable(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"#", "a", true},
		{"#", "+", true},
		{"#", "+/#", true},
		{"+/#", "#", true}, // every name has a first level
		{"a/+/#", "a/#", false},
		{"a/#", "a", true},
		{"a/#", "a/+", true},
		{"a/#", "a/#", true},
		{"a/+", "a/#", false},
		{"sensors/+", "sensors/#", false},
		{"+/+", "a/+", true},
		{"a/+", "+/+", false},
		{"a/+", "a", false},
		{"a/+", "a/", true},
		{"+", "#", false},
		{"#", "$SYS/#", false},
		{"+/#", "$SYS/a", false},
		{"$SYS/#", "$SYS", true},
		{"$SYS/#", "$SYS/+/a", true},
		{"$SYS/#", "#", false},
		{"a/#", "a/$x", true},
		{"a/b", "a/b", true},
		{"a/b", "a/+", false},
	} {
		if got := topic.Covers(c.outer, c.inner); got != c.want {
			t.Errorf("Covers(%q, %q): got %t, want %t", c.outer, c.inner, got, c.want)
		}
	}
}

func TestJoinTable(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"a/b", "a/b", "a/b"},
		{"a/b/c", "a/x/c", "a/+/c"},
		{"a/b", "a/x", "a/+"},
		{"a/b", "a/x/c", "a/+/#"},
		{"a", "a/b", "a/#"},
		{"a", "a/b/c", "a/#"},
		{"a/#", "a", "a/#"},
		{"a/#", "b", "#"},
		{"a/b/#", "a/c/d", "a/+/#"},
		{"a", "b", "+"},
		{"a", "b/c", "#"},
		{"+/#", "+/#", "#"},
		{"a//b", "a/x/b", "a/+/b"},
		{"/", "a/", "+/"},
		{"$SYS/a", "$SYS/b", "$SYS/+"},
		{"$SYS", "$SYS/b/c", "$SYS/#"},
		{"$SYS/a", "$x/a", ""},
		{"$SYS/a", "a", ""},
		{"#", "$SYS/a", ""},
		{"a/$x", "a/$y", "a/+"},
	} {
		if got := topic.Join(c.a, c.b); got != c.want {
			t.Errorf("Join(%q, %q): got %q, want %q", c.a, c.b, got, c.want)
		}
		if got := topic.Join(c.b, c.a); got != c.want {
			t.Errorf("Join(%q, %q): got %q, want %q", c.b, c.a, got, c.want)
		}
	}
}

// TestRelationsAreExact compares every pair of small filters with the sets of names that they match.
func TestRelationsAreExact(t *testing.T) {
	names, filters := allNames(), allFilters()
	sets := make([][]bool, len(filters))
	for i, f := range filters {
		sets[i] = matched(f, names)
	}
	for i, a := range filters {
		for j, b := range filters {
			if got, want := topic.Covers(a, b), subset(sets[j], sets[i]); got != want {
				t.Errorf("Covers(%q, %q): got %t, want %t", a, b, got, want)
			}
			if got, want := topic.Overlaps(a, b), intersects(sets[i], sets[j]); got != want {
				t.Errorf("Overlaps(%q, %q): got %t, want %t", a, b, got, want)
			}
		}
	}
}

// TestJoinIsTheNarrowest tries, for pairs of small filters, every other filter as a narrower cover of both.
func TestJoinIsTheNarrowest(t *testing.T) {
	names, filters := allNames(), allFilters()
	sets := make(map[string][]bool)
	for _, f := range filters {
		sets[f] = matched(f, names)
	}
	for i, a := range filters {
		for _, b := range filters[i:] {
			join := topic.Join(a, b)
			reach := make([]bool, len(names)) // of nothing, when Join finds none
			if join != "" || a == "" && b == "" {
				reach = matched(join, names)
				if !subset(sets[a], reach) || !subset(sets[b], reach) {
					t.Errorf("Join(%q, %q): got %q, which does not cover both", a, b, join)
				}
			}
			for _, c := range filters {
				if subset(sets[a], sets[c]) && subset(sets[b], sets[c]) && !subset(reach, sets[c]) {
					t.Errorf("Join(%q, %q): got %q, want nothing wider than %q", a, b, join, c)
				} else if join == "" && subset(sets[a], sets[c]) && subset(sets[b], sets[c]) && !(a == "" && b == "") {
					t.Errorf("Join(%q, %q): got none, want %q", a, b, c)
				}
			}
		}
	}
}

// witnesses are names that inner matches: if outer matches them, it matches all that inner does. Their levels at a
// wildcard appear in no filter, and "#" stands for none up to more levels than outer has.
func witnesses(outer, inner string) []string {
	const fresh = "no filter has this level"
	levels := strings.Split(inner, "/")
	for i, level := range levels {
		if level == "+" {
			levels[i] = fresh
		}
	}
	if levels[len(levels)-1] != "#" {
		return []string{strings.Join(levels, "/")}
	}
	var all []string
	for levels = levels[:len(levels)-1]; len(all) < strings.Count(outer, "/")+3; levels = append(levels, fresh) {
		if len(levels) > 0 {
			all = append(all, strings.Join(levels, "/"))
		}
	}
	return all
}

func checkCovers(t rapid.TB, outer, inner string) {
	want := !slices.ContainsFunc(witnesses(outer, inner), func(name string) bool { return !naiveMatch(outer, name) })
	if got := topic.Covers(outer, inner); got != want {
		t.Errorf("Covers(%q, %q): got %t, want %t", outer, inner, got, want)
	}
	if want && !topic.Overlaps(outer, inner) {
		t.Errorf("Overlaps(%q, %q): got false, want true, since one covers the other", outer, inner)
	}
	if got, want := topic.Overlaps(outer, inner), topic.Overlaps(inner, outer); got != want {
		t.Errorf("Overlaps(%q, %q): got %t, but %t the other way round", outer, inner, got, want)
	}
	join := topic.Join(outer, inner)
	if back := topic.Join(inner, outer); back != join {
		t.Errorf("Join(%q, %q): got %q, but %q the other way round", outer, inner, join, back)
	}
	if join != "" && (!topic.Covers(join, outer) || !topic.Covers(join, inner)) {
		t.Errorf("Join(%q, %q): got %q, which does not cover both", outer, inner, join)
	}
}

func FuzzCovers(f *testing.F) {
	for _, c := range matchTable {
		f.Add(c.filter, c.name)
	}
	for _, c := range [][2]string{{"+/#", "#"}, {"a/+/#", "a/#"}, {"$SYS/#", "#"}, {"a/#/b", "a/#"}, {"", "#"}, {"+/+/#", "+/#"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, outer, inner string) { checkCovers(t, outer, inner) })
}

func TestCoversAgreesWithItsWitnesses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkCovers(t, someFilter.Draw(t, "outer"), someFilter.Draw(t, "inner")) })
}

func TestJoinIsALeastUpperBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := someFilter.Draw(t, "a"), someFilter.Draw(t, "b"), someFilter.Draw(t, "c")
		ab, bc := topic.Join(a, b), topic.Join(b, c)
		if ab == "" || bc == "" {
			return
		}
		if left, right := topic.Join(ab, c), topic.Join(a, bc); left != right {
			t.Errorf("Join of %q, %q, %q: got %q from the left, %q from the right", a, b, c, left, right)
		}
		if topic.Covers(c, a) && topic.Covers(c, b) && !topic.Covers(c, ab) {
			t.Errorf("Join(%q, %q): got %q, want nothing wider than %q", a, b, ab, c)
		}
	})
}

func TestSmallestCoverTable(t *testing.T) {
	for _, c := range []struct{ filters, want []string }{
		{nil, []string{}},
		{[]string{"b", "a", "b"}, []string{"a", "b"}},
		{[]string{"a/#", "a/+", "a", "a/b/c"}, []string{"a/#"}},
		{[]string{"a/+", "+/b"}, []string{"+/+"}},
		{[]string{"a/+", "+/b", "c/d"}, []string{"+/+"}}, // the join swallows what neither touched
		{[]string{"a/+", "b/+"}, []string{"a/+", "b/+"}},
		{[]string{"a/b/+", "a/+/c", "a/d/#"}, []string{"a/+/#"}}, // the join overlaps the third
		{[]string{"#", "$SYS/#", "$SYS/a"}, []string{"#", "$SYS/#"}},
		{[]string{"+/#"}, []string{"#"}},
		{[]string{"+/a", "$x/a"}, []string{"$x/a", "+/a"}},
		{[]string{"a", "a/"}, []string{"a", "a/"}},
		{[]string{"a/#", "a"}, []string{"a/#"}},
		{[]string{"+/a/#", "b/a"}, []string{"+/a/#"}},
	} {
		if got := topic.SmallestCover(c.filters); !slices.Equal(got, c.want) {
			t.Errorf("SmallestCover(%q): got %q, want %q", c.filters, got, c.want)
		}
	}
}

// naiveCover joins any two that overlap until none do, in the order that they come.
func naiveCover(filters []string) []string {
	cover := slices.Clone(filters)
again:
	for i := range cover {
		cover[i] = topic.Join(cover[i], cover[i])
		for j := range i {
			if topic.Overlaps(cover[i], cover[j]) {
				cover[j] = topic.Join(cover[i], cover[j])
				cover = slices.Delete(cover, i, i+1)
				goto again
			}
		}
	}
	slices.Sort(cover)
	return cover
}

// checkSmallestCover takes filters with line breaks between them.
func checkSmallestCover(t rapid.TB, lines string) {
	filters := strings.Split(lines, "\n")
	filters = filters[:min(len(filters), 20)]
	input := slices.Clone(filters)
	got := topic.SmallestCover(filters)
	if !slices.Equal(filters, input) {
		t.Fatalf("the argument: got %q, want %q untouched", filters, input)
	}
	if want := naiveCover(filters); !slices.Equal(got, want) {
		t.Fatalf("SmallestCover(%q): got %q, want %q", filters, got, want)
	}
	for i, filter := range filters {
		if !slices.ContainsFunc(got, func(g string) bool { return topic.Covers(g, filter) }) {
			t.Errorf("SmallestCover(%q): got %q, which does not cover %q", filters, got, filter)
		}
		for _, name := range witnesses(filters[len(filters)-1-i], filter) {
			times := 0
			for _, g := range got {
				if naiveMatch(g, name) {
					times++
				}
			}
			if times != 1 {
				t.Errorf("SmallestCover(%q) = %q matches %q: got %d times, want once", filters, got, name, times)
			}
		}
	}
	slices.Reverse(filters)
	if again := topic.SmallestCover(append(filters, got...)); !slices.Equal(again, got) {
		t.Errorf("SmallestCover of %q the other way round, with its result: got %q, want %q", input, again, got)
	}
}

func TestSmallestCoverMatchesEachNameOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkSmallestCover(t, strings.Join(rapid.SliceOfN(someFilter, 1, 10).Draw(t, "filters"), "\n"))
	})
}

// TestSmallestCoverLeavesNothingOut looks at all names, not only at those made from the filters.
func TestSmallestCoverLeavesNothingOut(t *testing.T) {
	names := allNames()
	rapid.Check(t, func(t *rapid.T) {
		filters := rapid.SliceOfN(rapid.SampledFrom(allFilters()), 0, 6).Draw(t, "filters")
		got := topic.SmallestCover(filters)
		for _, name := range names {
			matches := func(f string) bool { return naiveMatch(f, name) }
			in, out := slices.ContainsFunc(filters, matches), 0
			for _, g := range got {
				if matches(g) {
					out++
				}
			}
			if out > 1 || in && out == 0 {
				t.Errorf("SmallestCover(%q) = %q matches %q: got %d times, want once", filters, got, name, out)
			}
		}
	})
}

func FuzzSmallestCover(f *testing.F) {
	for _, lines := range []string{"", "#\n$SYS/#", "a/+\n+/b\nc/d", "a/b/+\na/+/c\na/d/#", "+/#\n#", "a\na/#\na/\nb", "+/a\n$x/a\n$x/+"} {
		f.Add(lines)
	}
	f.Fuzz(func(t *testing.T, lines string) { checkSmallestCover(t, lines) })
}
