package topic

import "strings"

// Match reports whether filter matches name (MQTT 3.1.1, 4.7). It walks both once and allocates nothing.
//
//   - any one level, an empty one too:        a/+ matches a/b and a/, not a and not a/b/c
//     #      the level before it and all below:      a/# matches a, a/ and a/b/c
//     +, #   as the first level, not what starts with $:  # and +/x match neither $SYS nor $SYS/x
func Match(filter, name string) bool {
	if reserved(name) && wildcardFirst(filter) {
		return false
	}
	f, n := 0, 0
	for { // filter[f:] and name[n:] both begin a level
		if filter[f:] == "#" {
			return true
		}
		if f < len(filter) && filter[f] == '+' && (f+1 == len(filter) || filter[f+1] == '/') {
			f++
			for n < len(name) && name[n] != '/' {
				n++
			}
		} else {
			for f < len(filter) && filter[f] != '/' {
				if n == len(name) || name[n] != filter[f] {
					return false
				}
				f++
				n++
			}
			if n < len(name) && name[n] != '/' {
				return false
			}
		}
		if f == len(filter) {
			return n == len(name)
		}
		if n == len(name) {
			return filter[f:] == "/#"
		}
		f++
		n++
	}
}

// cut splits s at its first slash. Without one, more is false.
func cut(s string) (level, rest string, more bool) {
	// A loop, because levels are a few bytes long and strings.Cut costs a call that is not inlined.
	for i := 0; i < len(s); i++ {
		if s[i] == '/' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// levels counts the levels of s; an empty string has one.
func levels(s string) int { return strings.Count(s, "/") + 1 }

// reserved reports whether a name or filter is in the broker's own tree, where a leading wildcard does not reach.
func reserved(s string) bool { return s != "" && s[0] == '$' }

// wildcardFirst reports whether the first level of a filter is a wildcard.
func wildcardFirst(filter string) bool {
	first, _, _ := cut(filter)
	return first == "+" || filter == "#"
}
