package packet

import "strings"

// MaxLevels is how many levels a topic may have. The standard has no limit; trees of topics do.
const MaxLevels = 200

// IsName reports whether a string that is valid UTF-8 is a topic name: not empty and without wildcards (4.7.3-1,
// 3.3.2-2).
func IsName(s string) bool { return s != "" && !strings.ContainsAny(s, "+#") }

// isFilter reports whether a string that is valid UTF-8 is a topic filter: not empty, "+" only as a whole level, "#"
// only as the whole last one (4.7.1-1, 4.7.1-2, 4.7.3-1).
func isFilter(s string) bool {
	if s == "" {
		return false
	}
	for {
		level, rest, more := strings.Cut(s, "/")
		switch {
		case level == "#" && more:
			return false
		case level != "+" && level != "#" && strings.ContainsAny(level, "+#"):
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}

// isPlain reports whether a string that is valid UTF-8 has no control characters and no non-characters. Names should
// have none (1.5.4), and mosquitto takes none: readers have no way to ask for them.
func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7F && r <= 0x9F || r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF
	})
}

// tooDeep reports whether a name or filter has more than MaxLevels levels.
func tooDeep(s string) bool { return strings.Count(s, "/") >= MaxLevels }

// filter reads a topic filter, and takes the prefix of a shared subscription off it.
func (c *cursor) filter() (s Subscription) {
	s.Filter = c.text("topic filter")
	if c.err != nil {
		return s
	}
	shared := false
	if rest, ok := strings.CutPrefix(s.Filter, "$share/"); ok {
		shared = true
		s.Group, s.Filter, _ = strings.Cut(rest, "/")
	}
	switch {
	case shared && (s.Group == "" || strings.ContainsAny(s.Group, "+#")):
		c.fail(malformed("the share name is empty or has a wildcard")) // 4.8.2-1
	case s.Filter == "$share", !isFilter(s.Filter):
		c.fail(malformed("the topic filter is empty, or has a wildcard beside other characters or before the end"))
	case tooDeep(s.Filter):
		c.fail(malformed("the topic filter has more than %d levels", MaxLevels))
	}
	return s
}
