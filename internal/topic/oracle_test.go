package topic_test

import (
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// naiveMatch is the rule of MQTT 3.1.1, 4.7, said as plainly as possible.
func naiveMatch(filter, name string) bool {
	levels := strings.Split(filter, "/")
	if strings.HasPrefix(name, "$") && (filter == "#" || levels[0] == "+") {
		return false
	}
	return naiveLevels(levels, strings.Split(name, "/"))
}

func naiveLevels(filter, name []string) bool {
	switch {
	case len(filter) == 1 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(name) == 0:
		return len(filter) == len(name)
	case filter[0] == "+" || filter[0] == name[0]:
		return naiveLevels(filter[1:], name[1:])
	}
	return false
}

// paths returns every path of one to depth levels.
func paths(levels []string, depth int) []string {
	var all []string
	last := []string{""}
	for d := range depth {
		var next []string
		for _, head := range last {
			for _, level := range levels {
				if d == 0 {
					next = append(next, level)
				} else {
					next = append(next, head+"/"+level)
				}
			}
		}
		all = append(all, next...)
		last = next
	}
	return all
}

// allNames tell any two filters of allFilters apart if anything does: they have a level that no filter has, and go
// one level deeper.
func allNames() []string { return paths([]string{"", "a", "z", "$x"}, 4) }

// allFilters are all filters of up to three levels over a small alphabet.
func allFilters() []string {
	plain := paths([]string{"", "a", "$x", "+"}, 3)
	all := append(slices.Clone(plain), "#")
	for _, p := range plain {
		if strings.Count(p, "/") < 2 {
			all = append(all, p+"/#")
		}
	}
	return all
}

// matched says for each of names whether filter matches it.
func matched(filter string, names []string) []bool {
	set := make([]bool, len(names))
	for i, name := range names {
		set[i] = naiveMatch(filter, name)
	}
	return set
}

func subset(a, b []bool) bool {
	for i := range a {
		if a[i] && !b[i] {
			return false
		}
	}
	return true
}

func intersects(a, b []bool) bool {
	for i := range a {
		if a[i] && b[i] {
			return true
		}
	}
	return false
}

// Generators over an alphabet so small that what is drawn collides: levels that are empty, that sort on both sides of
// the slash, and that are reserved.
var (
	someName = rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "a-", "b", "$x"}), 1, 4).Draw(t, "levels"), "/")
	})
	someFilter = rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "a-", "b", "$x", "+", "+"}), 1, 4).Draw(t, "levels")
		if rapid.IntRange(0, 3).Draw(t, "end") == 0 {
			levels[len(levels)-1] = "#"
		}
		return strings.Join(levels, "/")
	})
)

// someScript draws lines that each are one of ops and one of a few paths, so that the lines are about the same things.
func someScript(path *rapid.Generator[string], ops ...string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		pool := rapid.SliceOfN(path, 1, 8).Draw(t, "pool")
		return strings.Join(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom(ops).Draw(t, "op") + rapid.SampledFrom(pool).Draw(t, "path")
		}), 1, 40).Draw(t, "script"), "\n")
	})
}
