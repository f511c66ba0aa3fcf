package topic

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of names that are published to.
const (
	MaxBytes  = 1024
	MaxLevels = 32
)

// The limits of filters, and of names that others have chosen: what fits into a URL, percent-encoded. MQTT has no limit
// of depth, but brokers have: deep topics are how they were made to overflow their stacks.
const (
	MaxReadBytes  = 4096
	MaxReadLevels = 200
)

// The codes of [CheckName].
const (
	CodeTopicRequired     = "topic_required"
	CodeTopicTooLong      = "topic_too_long"
	CodeTopicTooDeep      = "topic_too_deep"
	CodeTopicUTF8         = "topic_utf8"
	CodeTopicControlChar  = "topic_control_char"
	CodeTopicNoncharacter = "topic_noncharacter"
	CodeTopicFormatChar   = "topic_format_char"
	CodeTopicWildcard     = "topic_wildcard"
	CodeTopicReserved     = "topic_reserved"
)

// The codes of [CheckFilter] and [CheckSystemFilter].
const (
	CodeFilterRequired     = "filter_required"
	CodeFilterTooLong      = "filter_too_long"
	CodeFilterUTF8         = "filter_utf8"
	CodeFilterControlChar  = "filter_control_char"
	CodeFilterNoncharacter = "filter_noncharacter"
	CodeFilterSyntax       = "filter_syntax"
	CodeFilterTooComplex   = "filter_too_complex"
	CodeFilterReserved     = "filter_reserved"
)

// Error says why a name or a filter is refused. Code is one of the constants of this package and never changes its
// meaning. Detail is a sentence for people: what is wrong, where, and what to do. It holds no text of the caller's,
// so it can be logged and sent as it is.
type Error struct{ Code, Detail string }

func (e *Error) Error() string { return e.Code + ": " + e.Detail }

func refuse(code, format string, args ...any) error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CheckName reports whether a message may be published to name: nil, or an [*Error].
//
// A name has 1 to [MaxBytes] bytes of valid UTF-8 without control, format and non-characters (MQTT 3.1.1, 1.5.3), no
// "+" and "#" (4.7.1), no leading "$" (4.7.2: those topics belong to the broker), and at most [MaxLevels] levels. Of the
// format characters U+200C and U+200D are taken: scripts and emoji need them.
// Of several faults the first in that order is reported.
func CheckName(name string) error { return checkName(name, MaxBytes, MaxLevels, isJoiner) }

// CheckReadName reports whether name can be that of a topic which somebody else has chosen: nil, or an [*Error]. It is
// [CheckName] with any format character, [MaxReadBytes] and [MaxReadLevels].
func CheckReadName(name string) error { return checkName(name, MaxReadBytes, MaxReadLevels, anyFormat) }

// CheckSeenName reports whether name can be that of a message which a broker has delivered: nil, or an [*Error]. It is
// [CheckReadName] with any character but U+0000. Many brokers cut the connection on control characters and
// non-characters, so such a name may be looked up, and must not be sent to a broker.
func CheckSeenName(name string) error {
	return checkName(name, MaxReadBytes, MaxReadLevels, anyCharacter)
}

func checkName(name string, maxBytes, maxLevels int, takes taken) error {
	if name == "" {
		return refuse(CodeTopicRequired, "The topic is empty; name one.")
	}
	if len(name) > maxBytes {
		return refuse(CodeTopicTooLong, "The topic is %d bytes long; shorten it to at most %d.", len(name), maxBytes)
	}
	if flaw, at, r := scan(name, takes); flaw != sound {
		return nameFlaw(flaw, at, r)
	}
	if at := strings.IndexAny(name, "+#"); at >= 0 {
		return refuse(CodeTopicWildcard,
			"The topic has the wildcard %c at byte offset %d; a message goes to one topic, so name that topic.", name[at], at)
	}
	if name[0] == '$' {
		return refuse(CodeTopicReserved,
			"The topic starts with $, and such topics are reserved for the broker; choose one that starts otherwise.")
	}
	if n := levels(name); n > maxLevels {
		return refuse(CodeTopicTooDeep, "The topic has %d levels; use at most %d.", n, maxLevels)
	}
	return nil
}

// CheckFilter reports whether filter may be subscribed to by anyone: nil, or an [*Error].
//
// Text and length are as in [CheckReadName]. A filter that starts with "$" is refused, whatever follows: "$share/g/a" would
// have the broker divide the messages that the gateway must see all of, and "$SYS" is for [CheckSystemFilter].
// "+" must be a whole level and "#" the whole last level (MQTT 3.1.1, 4.7.1), and there are at most [MaxReadLevels]
// levels. Of several faults the first in that order is reported.
func CheckFilter(filter string) error { return checkFilter(filter, false) }

// CheckSystemFilter is [CheckFilter] for those who may read the broker's own topics: it also accepts "$SYS" and what
// starts with "$SYS/". Every other "$" stays refused.
func CheckSystemFilter(filter string) error { return checkFilter(filter, true) }

func checkFilter(filter string, system bool) error {
	if filter == "" {
		return refuse(CodeFilterRequired, "The filter is empty; name the topics to subscribe to, or # for all of them.")
	}
	if len(filter) > MaxReadBytes {
		return refuse(CodeFilterTooLong, "The filter is %d bytes long; shorten it to at most %d.", len(filter), MaxReadBytes)
	}
	if flaw, at, r := scan(filter, anyFormat); flaw != sound {
		return filterFlaw(flaw, at, r)
	}
	if first, _, _ := cut(filter); first == "$SYS" && !system {
		return refuse(CodeFilterReserved,
			"The filter is for topics of the broker itself, and those are for operators.")
	} else if filter[0] == '$' && first != "$SYS" {
		return refuse(CodeFilterReserved,
			"The filter starts with $, and such filters are reserved, shared subscriptions among them; leave that part out.")
	}
	return checkWildcards(filter)
}

// checkWildcards finds out where the wildcards of a filter are.
func checkWildcards(filter string) error {
	depth := 0
	for level, rest, more := cut(filter); ; level, rest, more = cut(rest) {
		depth++
		switch {
		case level == "#" && more:
			return refuse(CodeFilterSyntax, "The filter has # at level %d and more levels after it; # must be the last.", depth)
		case level == "+" || level == "#":
		case strings.Contains(level, "#"):
			return refuse(CodeFilterSyntax, "The filter has # beside other characters at level %d; # must be a level of its own.", depth)
		case strings.Contains(level, "+"):
			return refuse(CodeFilterSyntax, "The filter has + beside other characters at level %d; + must be a level of its own.", depth)
		}
		if !more {
			break
		}
	}
	if depth > MaxReadLevels {
		return refuse(CodeFilterTooComplex, "The filter has %d levels; use at most %d.", depth, MaxReadLevels)
	}
	return nil
}

// A flaw is what may be wrong with the text of a name or a filter.
type flaw int

const (
	sound flaw = iota
	notUTF8
	controlChar
	noncharacter
	formatChar
)

// taken reports whether a character is accepted in spite of its flaw.
type taken func(what flaw, r rune) bool

// isJoiner is true for the format characters that scripts and emoji need: zero width non-joiner and joiner.
func isJoiner(what flaw, r rune) bool { return what == formatChar && (r == 0x200C || r == 0x200D) }

func anyFormat(what flaw, _ rune) bool { return what == formatChar }

func anyCharacter(_ flaw, r rune) bool { return r != 0 }

// scan finds the first character that is not taken, and its byte offset.
func scan(s string, takes taken) (what flaw, at int, r rune) {
	for at = 0; at < len(s); {
		if c := s[at]; c < utf8.RuneSelf {
			if (c < 0x20 || c == 0x7F) && !takes(controlChar, rune(c)) {
				return controlChar, at, rune(c)
			}
			at++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[at:])
		switch {
		case r == utf8.RuneError && size == 1: // U+FFFD itself is three bytes and legal
			return notUTF8, at, 0
		case r <= 0x9F && !takes(controlChar, r):
			return controlChar, at, r
		case (r&0xFFFE == 0xFFFE || (r >= 0xFDD0 && r <= 0xFDEF)) && !takes(noncharacter, r):
			return noncharacter, at, r
		case unicode.Is(unicode.Cf, r) && !takes(formatChar, r):
			return formatChar, at, r
		}
		at += size
	}
	return sound, 0, 0
}

const (
	detailUTF8         = "The %s is not valid UTF-8 at byte offset %d; send it as UTF-8."
	detailControlChar  = "The %s has the control character %U at byte offset %d; remove it."
	detailNoncharacter = "The %s has %U at byte offset %d, which is not a character; remove it."
	detailFormatChar   = "The %s has the invisible format character %U at byte offset %d; remove it."
)

func nameFlaw(what flaw, at int, r rune) error {
	switch what {
	case controlChar:
		return refuse(CodeTopicControlChar, detailControlChar, "topic", r, at)
	case noncharacter:
		return refuse(CodeTopicNoncharacter, detailNoncharacter, "topic", r, at)
	case formatChar:
		return refuse(CodeTopicFormatChar, detailFormatChar, "topic", r, at)
	default:
		return refuse(CodeTopicUTF8, detailUTF8, "topic", at)
	}
}

func filterFlaw(what flaw, at int, r rune) error {
	switch what {
	case controlChar:
		return refuse(CodeFilterControlChar, detailControlChar, "filter", r, at)
	case noncharacter:
		return refuse(CodeFilterNoncharacter, detailNoncharacter, "filter", r, at)
	default:
		return refuse(CodeFilterUTF8, detailUTF8, "filter", at)
	}
}
