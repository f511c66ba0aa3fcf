package topic_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/topic"
)

// flat returns all values of a match, sorted.
func flat(slots [][]int) []int {
	all := slices.Concat(slots...)
	slices.Sort(all)
	return all
}

func TestTrieMatchesAsMatchDoes(t *testing.T) {
	var trie topic.Trie[string]
	for _, c := range matchTable {
		trie.Add(c.filter, c.filter)
	}
	for _, c := range matchTable {
		found := false
		for _, values := range trie.Match(nil, c.name) {
			if len(values) != 1 {
				t.Fatalf("Match(%q): got values %q, want one a filter", c.name, values)
			}
			found = found || values[0] == c.filter
		}
		if found != c.want {
			t.Errorf("Match(%q) finds %q: got %t, want %t", c.name, c.filter, found, c.want)
		}
	}
}

func TestTrieKeepsAPairOnce(t *testing.T) {
	var trie topic.Trie[int]
	if got := trie.Add("a/+", 1); !got {
		t.Errorf("first Add: got %t, want true", got)
	}
	if got := trie.Add("a/+", 1); got {
		t.Errorf("second Add: got %t, want false", got)
	}
	trie.Add("a/+", 2)
	trie.Add("a/#", 1)
	if got, want := trie.Len(), 3; got != want {
		t.Errorf("Len: got %d, want %d", got, want)
	}
	if got, want := flat(trie.Match(nil, "a/b")), []int{1, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("Match: got %v, want %v", got, want)
	}
}

func TestTrieRemoveTakesOnlyThatPair(t *testing.T) {
	var trie topic.Trie[int]
	if trie.Remove("a", 1) {
		t.Error("Remove from an empty trie: got true, want false")
	}
	trie.Add("a/b", 1)
	trie.Add("a/b", 2)
	trie.Add("a/b", 3)
	for _, c := range []struct {
		filter string
		v      int
		want   bool
	}{
		{"a/b", 4, false}, {"a", 1, false}, {"a/b/c", 1, false}, {"a/+", 1, false}, {"a/#", 1, false}, {"#", 1, false},
		{"a/b", 1, true}, {"a/b", 1, false},
	} {
		if got := trie.Remove(c.filter, c.v); got != c.want {
			t.Errorf("Remove(%q, %d): got %t, want %t", c.filter, c.v, got, c.want)
		}
	}
	if got, want := flat(trie.Match(nil, "a/b")), []int{2, 3}; !slices.Equal(got, want) {
		t.Errorf("Match: got %v, want %v", got, want)
	}
	if got, want := trie.Len(), 2; got != want {
		t.Errorf("Len: got %d, want %d", got, want)
	}
}

func TestTrieMatchAppendsToDst(t *testing.T) {
	var trie topic.Trie[int]
	trie.Add("a", 1)
	got := trie.Match([][]int{{7}}, "a")
	if len(got) != 2 || got[0][0] != 7 || got[1][0] != 1 {
		t.Errorf("got %v, want [[7] [1]]", got)
	}
}

func TestTrieRemovePrunesEmptyNodes(t *testing.T) {
	var trie topic.Trie[int]
	trie.Add("a/b", 1)
	before := trie.Nodes()
	filters := []string{"a/b/c/d", "a/+/x/#", "a/b/+", "#", "+/+", "a/c/d", "a/e", "a/#/b", ""}
	for _, f := range filters {
		trie.Add(f, 1)
	}
	for _, f := range filters {
		trie.Remove(f, 1)
	}
	if got := trie.Nodes(); got != before {
		t.Errorf("nodes: got %d, want %d as before", got, before)
	}
	trie.Remove("a/b", 1)
	if got := trie.Nodes(); got != 0 {
		t.Errorf("nodes of an empty trie: got %d, want 0", got)
	}
}

// TestTrieRemoveReleasesTheValue: a closed connection must not stay alive in the slack of a slice.
func TestTrieRemoveReleasesTheValue(t *testing.T) {
	type connection [64]byte
	var trie topic.Trie[*connection]
	trie.Add("a", new(connection))
	gone := new(connection)
	trie.Add("a", gone)
	pointer := weak.Make(gone)
	trie.Remove("a", gone)
	gone = nil
	runtime.GC()
	if got := pointer.Value(); got != nil {
		t.Errorf("after Remove: got a value that is still alive, want it collected")
	}
	runtime.KeepAlive(&trie)
}

func TestTrieGivesBackTheSpaceOfAFilterThatWasPopular(t *testing.T) {
	var trie topic.Trie[int]
	for i := range 1000 {
		trie.Add("#", i)
	}
	for i := range 990 {
		trie.Remove("#", i)
	}
	values := trie.Match(nil, "a")[0]
	if got, most := cap(values), 64; got > most {
		t.Errorf("capacity for %d values: got %d, want at most %d", len(values), got, most)
	}
}

// checkTrie does to a trie and to a list of pairs what the lines of a script say: "+1a/#" adds 1 to a/#, "-1a/#" removes
// it, any other line is a name to match.
func checkTrie(t rapid.TB, script string) {
	type pair struct {
		filter string
		v      int
	}
	var trie topic.Trie[int]
	var pairs []pair
	for _, line := range strings.Split(script, "\n") {
		if len(line) < 2 || line[0] != '+' && line[0] != '-' {
			checkTrieMatch(t, &trie, line, func(yield func(string, int)) {
				for _, p := range pairs {
					yield(p.filter, p.v)
				}
			})
			continue
		}
		p := pair{line[2:], int(line[1])}
		i := slices.Index(pairs, p)
		if line[0] == '+' {
			if got, want := trie.Add(p.filter, p.v), i < 0; got != want {
				t.Fatalf("Add(%q, %d): got %t, want %t", p.filter, p.v, got, want)
			}
			if i < 0 {
				pairs = append(pairs, p)
			}
		} else {
			if got, want := trie.Remove(p.filter, p.v), i >= 0; got != want {
				t.Fatalf("Remove(%q, %d): got %t, want %t", p.filter, p.v, got, want)
			}
			if i >= 0 {
				pairs = slices.Delete(pairs, i, i+1)
			}
		}
		if got, want := trie.Len(), len(pairs); got != want {
			t.Fatalf("Len: got %d, want %d", got, want)
		}
	}
	for _, p := range pairs {
		if !trie.Remove(p.filter, p.v) {
			t.Fatalf("last Remove(%q, %d): got false, want true", p.filter, p.v)
		}
	}
	if got := trie.Nodes(); got != 0 {
		t.Fatalf("nodes in the end: got %d, want 0", got)
	}
}

func checkTrieMatch(t rapid.TB, trie *topic.Trie[int], name string, pairs func(func(filter string, v int))) {
	var want []int
	filters := make(map[string]bool)
	pairs(func(filter string, v int) {
		if naiveMatch(filter, name) {
			want = append(want, v)
			filters[filter] = true
		}
	})
	slices.Sort(want)
	slots := trie.Match(nil, name)
	if got := flat(slots); !slices.Equal(got, want) {
		t.Fatalf("Match(%q): got %v, want %v", name, got, want)
	}
	checkCovering(t, trie, name, pairs)
	if got, want := len(slots), len(filters); got != want {
		t.Fatalf("Match(%q): got %d slices, want %d, one a filter", name, got, want)
	}
	if got, want := trie.Matches(name), len(want) > 0; got != want {
		t.Fatalf("Matches(%q): got %t, want %t", name, got, want)
	}
}

// checkCovering holds Covering against Covers and Overlaps against its like; name may as well be a filter.
func checkCovering(t rapid.TB, trie *topic.Trie[int], inner string, pairs func(func(filter string, v int))) {
	var want []int
	overlaps := false
	valid := topic.CheckFilter(inner) == nil
	pairs(func(filter string, v int) {
		if valid = valid && topic.CheckFilter(filter) == nil; valid && topic.Covers(filter, inner) {
			want = append(want, v)
		}
		overlaps = overlaps || valid && topic.Overlaps(filter, inner)
	})
	if !valid {
		return
	}
	slices.Sort(want)
	if got := flat(trie.Covering(nil, inner)); !slices.Equal(got, want) {
		t.Fatalf("Covering(%q): got %v, want %v", inner, got, want)
	}
	if got := trie.Overlaps(inner); got != overlaps {
		t.Fatalf("Overlaps(%q): got %t, want %t", inner, got, overlaps)
	}
}

func TestTrieAgreesWithAListOfPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.OneOf(someFilter, someName)
		checkTrie(t, someScript(path, "+1", "+2", "+3", "-1", "-2", "-3", "", "").Draw(t, "script"))
	})
}

func FuzzTrie(f *testing.F) {
	f.Add("+1a/#\n+1a/+\n+2a/+\na/b\na\n-1a/+\na/b")
	f.Add("+1#\n+1+/b\n+1$SYS/#\n$SYS/b\n+1+/#\n$SYS")
	f.Add("+1a/b\n+1a/c\n+1a/d\n-1a/b\na/b\na/c\n+1a/#/b\na/#/b\n+1\n")
	f.Fuzz(func(t *testing.T, script string) { checkTrie(t, script) })
}

func TestTrieMatchAllocatesNothing(t *testing.T) {
	var trie topic.Trie[int]
	for i := range 100 {
		trie.Add("a/b/c", i)
		trie.Add(fmt.Sprintf("a/%d/+", i), i)
	}
	for _, f := range []string{"#", "+/+/+", "a/#", "a/b/#", "a/b/c/#", "+/b/c", "a/+/c"} {
		trie.Add(f, 1)
	}
	dst := make([][]int, 0, 16)
	got := testing.AllocsPerRun(100, func() { dst = trie.Match(dst[:0], "a/b/c") })
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
	if got, want := len(dst), 8; got != want {
		t.Errorf("got %d filters, want %d", got, want)
	}
	if got := testing.AllocsPerRun(100, func() { trie.Matches("a/b/c"); trie.Matches("b/b/x") }); got != 0 {
		t.Errorf("Matches: got %v allocations, want 0", got)
	}
}

// Width is what the worst name costs, before and after every change.
func TestTrieWidthIsWhatTheWorstNameCosts(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "c", "+"})
	rapid.Check(t, func(t *rapid.T) {
		var trie topic.Trie[int]
		pairs := map[string]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			levels := rapid.SliceOfN(level, 1, 4).Draw(t, "levels")
			if rapid.IntRange(0, 5).Draw(t, "hash") == 0 {
				levels = append(levels, "#")
			}
			f := strings.Join(levels, "/")
			if pairs[f] {
				trie.Remove(f, 1)
				delete(pairs, f)
			} else {
				trie.Add(f, 1)
				pairs[f] = true
			}
			if got, want := trie.Width(), widest(slices.Collect(maps.Keys(pairs))); got != want {
				t.Fatalf("%q: got %d, want %d", slices.Collect(maps.Keys(pairs)), got, want)
			}
		}
	})
}

// widest is how many beginnings of filters the worst name has, of those that can be without "#": the nodes of a tree.
func widest(filters []string) (most int) {
	if len(filters) == 0 {
		return 0
	}
	below := map[string][]string{}
	for _, f := range filters {
		if level, rest, more := strings.Cut(f, "/"); more {
			below[level] = append(below[level], rest)
		} else if level != "#" && below[level] == nil {
			below[level] = []string{}
		}
	}
	width := func(level string) int {
		rest, there := below[level]
		if !there {
			return 0
		}
		return max(1, widest(rest))
	}
	for level := range below {
		if level != "+" {
			most = max(most, width(level))
		}
	}
	return 1 + most + width("+")
}
