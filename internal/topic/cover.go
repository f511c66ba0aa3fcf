package topic

import (
	"slices"
	"strings"
)

// Covers reports whether outer matches every name that inner matches. Inner may be a filter or a name.
// It is exact: "a/#" covers "a", "#" and "+/#" cover each other, "#" does not cover "$SYS/#", "a/+" not "a/#".
func Covers(outer, inner string) bool {
	if reserved(inner) && wildcardFirst(outer) {
		return false
	}
	outer, inner = shortest(outer), shortest(inner)
	for {
		if outer == "#" {
			return true
		}
		if inner == "#" {
			return false
		}
		o, outerRest, outerMore := cut(outer)
		i, innerRest, innerMore := cut(inner)
		if o != "+" && o != i {
			return false
		}
		if !innerMore {
			return !outerMore || outerRest == "#"
		}
		if !outerMore {
			return false
		}
		outer, inner = outerRest, innerRest
	}
}

// Overlaps reports whether there is a name that both a and b match. Either may be a filter or a name.
func Overlaps(a, b string) bool {
	if (reserved(a) && wildcardFirst(b)) || (reserved(b) && wildcardFirst(a)) {
		return false
	}
	for {
		if a == "#" || b == "#" {
			return true
		}
		x, aRest, aMore := cut(a)
		y, bRest, bMore := cut(b)
		if x != y && x != "+" && y != "+" {
			return false
		}
		if !aMore {
			return !bMore || bRest == "#"
		}
		if !bMore {
			return aRest == "#"
		}
		a, b = aRest, bRest
	}
}

// Join returns the narrowest filter that covers both a and b. Levels that are equal stay, others become "+", and from
// where one of the two ends or has "#" the rest becomes "#": "a/b/c" and "a/x/c" give "a/+/c", "a/b" and "a/x/c" give
// "a/+/#", "a" and "a/b" give "a/#". Where everything not reserved is left, it says "#", never "+/#".
//
// "$" is reached by no wildcard, so if one of the two starts with "$" they must have the same first level; otherwise
// no filter covers both and Join returns "".
func Join(a, b string) string {
	if reserved(a) || reserved(b) {
		x, _, _ := cut(a)
		y, _, _ := cut(b)
		if x != y {
			return ""
		}
	}
	var joined strings.Builder
	joined.Grow(max(len(a), len(b)) + 2)
	for {
		if a == "#" || b == "#" {
			joined.WriteString("#")
			break
		}
		x, aRest, aMore := cut(a)
		y, bRest, bMore := cut(b)
		if x == y {
			joined.WriteString(x)
		} else {
			joined.WriteString("+")
		}
		if !aMore && !bMore {
			break
		}
		joined.WriteString("/")
		if !aMore || !bMore {
			joined.WriteString("#")
			break
		}
		a, b = aRest, bRest
	}
	return shortest(joined.String())
}

// shortest gives the two filters that match everything not reserved one spelling. No other two filters are equivalent:
// further down "a/#" matches "a" and "a/+/#" does not.
func shortest(filter string) string {
	if filter == "+/#" {
		return "#"
	}
	return filter
}

// SmallestCover returns the fewest filters that together cover all of filters, reach no further than they must, and
// do not overlap: a name that any of filters matches is matched by exactly one of the result, so that a broker which
// sends a message once per matching subscription sends it once. What is covered by another filter is left out, and two
// that overlap without covering each other are replaced by their [Join], until none do. Filters that share no name stay
// as they are, however many.
//
// The result is sorted and does not depend on the order of filters or on repeats, because Join is a least upper bound.
// The cost is one walk down a tree for each filter and each join: linear in practice. Filters made for it, half of them
// "+/x" and half "y/z", take a walk over the other half each.
func SmallestCover(filters []string) []string {
	var tree Trie[string]
	cover := make(map[string]struct{})
	for _, filter := range filters {
		filter = shortest(filter)
		for {
			other, found := overlapping(tree.root, filter, reserved(filter), true)
			if !found {
				break
			}
			tree.Remove(other, other)
			delete(cover, other)
			filter = Join(filter, other) // both match some name, so it is never ""
		}
		tree.Add(filter, filter)
		cover[filter] = struct{}{}
	}
	result := make([]string, 0, len(cover))
	for filter := range cover {
		result = append(result, filter)
	}
	slices.Sort(result)
	return result
}
