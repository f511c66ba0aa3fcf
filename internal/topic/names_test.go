package topic_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/topic"
)

// walked returns the names that a walk visits. With after, it is a WalkAfter.
func walked(names *topic.Names[int], filter string, after ...string) []string {
	var got []string
	fn := func(name string, _ int) bool {
		got = append(got, name)
		return true
	}
	if len(after) > 0 {
		names.WalkAfter(filter, after[0], fn)
	} else {
		names.Walk(filter, fn)
	}
	return got
}

func TestNamesSetGetDelete(t *testing.T) {
	var names topic.Names[int]
	if _, ok := names.Get("a"); ok {
		t.Error("Get from an empty Names: got a value, want none")
	}
	if names.Delete("a") {
		t.Error("Delete from an empty Names: got true, want false")
	}
	names.Set("a/b", 1)
	names.Set("a/b", 2)
	names.Set("a", 3)
	if got, ok := names.Get("a/b"); got != 2 || !ok {
		t.Errorf("Get(a/b): got %d, %t, want 2, true", got, ok)
	}
	if _, ok := names.Get("a/"); ok {
		t.Error("Get(a/): got a value, want none")
	}
	if got, want := names.Len(), 2; got != want {
		t.Errorf("Len: got %d, want %d", got, want)
	}
	if !names.Delete("a") || names.Delete("a") {
		t.Error("Delete(a) twice: want true, then false")
	}
	if got, want := walked(&names, "#"), []string{"a/b"}; !slices.Equal(got, want) {
		t.Errorf("Walk(#): got %q, want %q", got, want)
	}
	names.Delete("a/b")
	if got := names.Bytes(); got != 0 {
		t.Fatalf("Bytes in the end: got %d, want 0", got)
	}
	if got := names.Entries(); got != 0 {
		t.Errorf("entries of an empty Names: got %d, want 0", got)
	}
}

// TestNamesWalkSortsByBytes has names in which "-" and "." sort before the slash and digits after it.
func TestNamesWalkSortsByBytes(t *testing.T) {
	sorted := []string{"$SYS/load", "/", "/a", "a", "a-b", "a-b/c", "a.b", "a/", "a/b", "a/b-c", "a/b/c", "a/c", "a0", "a0/b", "b"}
	if !slices.IsSorted(sorted) {
		t.Fatal("the table is not sorted")
	}
	var names topic.Names[int]
	for i := range sorted {
		names.Set(sorted[(i*7)%len(sorted)], i)
	}
	for filter, want := range map[string][]string{
		"#":      sorted[1:],
		"+/#":    sorted[1:],
		"+":      {"a", "a-b", "a.b", "a0", "b"},
		"+/+":    {"/", "/a", "a-b/c", "a/", "a/b", "a/b-c", "a/c", "a0/b"},
		"a/#":    {"a", "a/", "a/b", "a/b-c", "a/b/c", "a/c"},
		"a/+":    {"a/", "a/b", "a/b-c", "a/c"},
		"+/b/#":  {"a/b", "a/b/c", "a0/b"},
		"a/+/#":  {"a/", "a/b", "a/b-c", "a/b/c", "a/c"},
		"/+":     {"/", "/a"},
		"a/b/c":  {"a/b/c"},
		"a":      {"a"},
		"a/":     {"a/"},
		"x/#":    nil,
		"$SYS/#": {"$SYS/load"},
	} {
		if got := walked(&names, filter); !slices.Equal(got, want) {
			t.Errorf("Walk(%q): got %q, want %q", filter, got, want)
		}
	}
}

func TestNamesWalkStopsWhenToldTo(t *testing.T) {
	var names topic.Names[int]
	for _, name := range []string{"a", "a/b", "a/b/c", "b/c", "c"} {
		names.Set(name, 0)
	}
	for _, filter := range []string{"#", "+/#", "a/#", "a/+/#"} {
		calls := 0
		names.Walk(filter, func(string, int) bool { calls++; return false })
		if calls != 1 {
			t.Errorf("Walk(%q): got %d calls, want 1", filter, calls)
		}
	}
}

func TestNamesWalkAfterPagesWithoutGapOrRepeat(t *testing.T) {
	var names topic.Names[int]
	for i, name := range allNames() {
		names.Set(name, i)
	}
	for _, filter := range []string{"#", "+/+", "a/#", "+/a/#", "a/+/z", "$x/#"} {
		want := walked(&names, filter)
		var got []string
		for page := walked(&names, filter)[:1]; len(got) <= len(want); { // or pages that repeat would never end
			got = append(got, page...)
			last := got[len(got)-1]
			page = page[:0]
			names.WalkAfter(filter, last, func(name string, _ int) bool {
				page = append(page, name)
				return len(page) < 3
			})
			if len(page) == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %q: got %q, want %q", filter, got, want)
		}
	}
}

// TestNamesKeepsNothingOfTheCallersString: a name may be cut from a whole packet, which would stay alive with it.
func TestNamesKeepsNothingOfTheCallersString(t *testing.T) {
	packet := "a/b and a long payload"
	name := packet[:3]
	var names topic.Names[int]
	names.Set(name, 1)
	names.Walk("#", func(kept string, _ int) bool {
		if kept != name || unsafe.StringData(kept) == unsafe.StringData(name) {
			t.Errorf("got %q in the caller's memory, want a copy of %q", kept, name)
		}
		return true
	})
}

// checkNames does to a Names and to a map what the lines of a script say: "=a/b" sets the name a/b, "-a/b" deletes it,
// any other line is a filter to walk with, from the beginning and from the name last set or deleted.
func checkNames(t rapid.TB, script string) {
	var names topic.Names[int]
	model := make(map[string]int)
	after := ""
	for i, line := range strings.Split(script, "\n") {
		if name, ok := strings.CutPrefix(line, "="); ok {
			after = name
			names.Set(name, i)
			model[name] = i
		} else if name, ok := strings.CutPrefix(line, "-"); ok {
			after = name
			_, want := model[name]
			delete(model, name)
			if got := names.Delete(name); got != want {
				t.Fatalf("Delete(%q): got %t, want %t", name, got, want)
			}
		} else {
			checkWalk(t, &names, model, line, after)
		}
		if got, want := names.Len(), len(model); got != want {
			t.Fatalf("Len: got %d, want %d", got, want)
		}
		if got, want := names.Bytes(), names.CountedBytes(); got != want {
			t.Fatalf("Bytes: got %d, want %d", got, want)
		}
		want, wantOK := model[after]
		if got, ok := names.Get(after); got != want || ok != wantOK {
			t.Fatalf("Get(%q): got %d, %t, want %d, %t", after, got, ok, want, wantOK)
		}
	}
	for name := range model {
		names.Delete(name)
	}
	if got := names.Bytes(); got != 0 {
		t.Fatalf("Bytes in the end: got %d, want 0", got)
	}
	if got := names.Entries(); got != 0 {
		t.Fatalf("entries in the end: got %d, want 0", got)
	}
}

func checkWalk(t rapid.TB, names *topic.Names[int], model map[string]int, filter, after string) {
	var all, rest []string
	for _, name := range slices.Sorted(maps.Keys(model)) {
		if naiveMatch(filter, name) {
			if all = append(all, name); name > after {
				rest = append(rest, name)
			}
		}
	}
	if got := walked(names, filter); !slices.Equal(got, all) {
		t.Fatalf("Walk(%q): got %q, want %q", filter, got, all)
	}
	if got := walked(names, filter, after); !slices.Equal(got, rest) {
		t.Fatalf("WalkAfter(%q, %q): got %q, want %q", filter, after, got, rest)
	}
	for _, looks := range []int{1, 2, 5} {
		got := walkedInParts(t, names, filter, looks)
		if !slices.Equal(got, all) {
			t.Fatalf("WalkSome(%q) by %d: got %q, want %q", filter, looks, got, all)
		}
	}
	names.Walk(filter, func(name string, v int) bool {
		if want := model[name]; v != want {
			t.Fatalf("Walk(%q) at %q: got %d, want %d", filter, name, v, want)
		}
		return true
	})
}

// walkedInParts is a whole walk in parts of so many looks.
func walkedInParts(t rapid.TB, names *topic.Names[int], filter string, looks int) (all []string) {
	for at, done := "", false; !done; {
		seen := 0
		at, done = names.WalkSome(filter, at, looks, func(name string, _ int) bool {
			all = append(all, name)
			seen++
			return true
		})
		if seen > looks {
			t.Fatalf("WalkSome(%q) by %d saw %d names in one part", filter, looks, seen)
		}
	}
	return all
}

// A part of a walk costs what it may look at, however many names there are and however few of them match.
func TestNamesWalkSomeIsBoundedWhereNothingMatches(t *testing.T) {
	var names topic.Names[int]
	for i := range 10_000 {
		names.Set(fmt.Sprintf("d/%d/x", i), i)
	}
	parts := 0
	for at, done := "", false; !done; parts++ {
		at, done = names.WalkSome("d/+/none", at, 100, func(name string, _ int) bool {
			t.Errorf("got %q, want nothing", name)
			return true
		})
	}
	if parts < 100 {
		t.Errorf("got %d parts for 10000 branches by 100, want at least 100", parts)
	}
}

func TestNamesAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkNames(t, someScript(rapid.OneOf(someFilter, someName, someName), "=", "=", "-", "", "").Draw(t, "script"))
	})
}

func FuzzNames(f *testing.F) {
	f.Add("=a\n=a/b\n=a-b\n=a/\na/#\n#\n-a\n+/#\n+/+")
	f.Add("=$SYS/a\n=b/$x\n#\n$SYS/#\n+/+\n=b\n=b/c/d\n=b/\nb/#\nb/+/#")
	f.Add("=\n=/\n=//\n=/a\n-/\n#\n+\n+/+\n/#\n/+")
	f.Fuzz(func(t *testing.T, script string) { checkNames(t, script) })
}

func TestNamesAllocatesNothingForANameItHas(t *testing.T) {
	var names topic.Names[int]
	names.Set("pi/3/battery", 0)
	if got := testing.AllocsPerRun(100, func() {
		names.Set("pi/3/battery", 1)
		names.Get("pi/3/battery")
	}); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
