package topic_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/vulturepi/gateway/internal/topic"
)

// code returns the code of a refusal, "" for nil.
func code(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var refusal *topic.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("got an error of type %T, want *topic.Error", err)
	}
	return refusal.Code
}

// badText has one entry for each rule about characters; the code lacks its "topic_" or "filter_".
var badText = []struct{ text, code string }{
	{"\x00", "control_char"},
	{"a\x00b", "control_char"},
	{"\x01", "control_char"},
	{"a\nb", "control_char"},
	{"a\tb", "control_char"},
	{"a/\x1f", "control_char"},
	{"\x7f", "control_char"},
	{"\u0080", "control_char"},
	{"\u009f", "control_char"},
	{"\ufffe", "noncharacter"},
	{"\uffff", "noncharacter"},
	{"\ufdd0", "noncharacter"},
	{"\ufdef", "noncharacter"},
	{"\U0001fffe", "noncharacter"},
	{"\U0001ffff", "noncharacter"},
	{"\U0010ffff", "noncharacter"},
	{"\xc0\xaf", "utf8"},                 // an overlong slash
	{"a\xc0\x80b", "utf8"},               // an overlong NUL
	{"\xed\xa0\x80", "utf8"},             // a surrogate
	{"\xed\xa0\xbd\xed\xb8\x80", "utf8"}, // a surrogate pair
	{"\xff", "utf8"},
	{"a/\xe2\x82", "utf8"},       // cut short
	{"\xf4\x90\x80\x80", "utf8"}, // beyond U+10FFFF
}

// hiddenText has format characters, which nobody may publish with, and which devices have all the same.
var hiddenText = []string{"\u202e", "\u200b", "\ufeff", "a/\ufeffb", "a\u00adb", "\U000e0041"}

// goodText is unusual and legal, and each entry is different from every other.
var goodText = []string{
	"a", "A/b", "a/b", "/", "//", "a//b", "/a", "a/", "a/ ", " a", "a ", " ", "%2B", "%252B",
	"caf\u00e9", "cafe\u0301", "\u00a0", "\u2028", "\ufdcf", "\ufdf0", "\ufffd", "\U0001f600", "a$b", "a/$SYS", "~", "\u200c", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469",
	strings.Repeat("x", topic.MaxBytes), strings.Repeat("/", topic.MaxLevels-1),
}

func TestCheckNameAcceptsWhatMQTTAllows(t *testing.T) {
	for _, name := range goodText {
		if err := topic.CheckName(name); err != nil {
			t.Errorf("CheckName(%.40q): got %v, want nil", name, err)
		}
	}
}

func TestCheckNameRefuses(t *testing.T) {
	cases := []struct{ name, code string }{
		{"", topic.CodeTopicRequired},
		{"a/+", topic.CodeTopicWildcard},
		{"a/#", topic.CodeTopicWildcard},
		{"+", topic.CodeTopicWildcard},
		{"#", topic.CodeTopicWildcard},
		{"c#/c++", topic.CodeTopicWildcard},
		{"$", topic.CodeTopicReserved},
		{"$SYS/x", topic.CodeTopicReserved},
		{"$CONTROL/dynamic-security/v1", topic.CodeTopicReserved},
		{"$share/g/a", topic.CodeTopicReserved},
		{strings.Repeat("x", topic.MaxBytes+1), topic.CodeTopicTooLong},
		{strings.Repeat("x", 65536), topic.CodeTopicTooLong},
		{"a/b/#" + strings.Repeat("x", 65536), topic.CodeTopicTooLong}, // a length that wraps in 16 bits
		{strings.Repeat("/", topic.MaxLevels), topic.CodeTopicTooDeep},
		{strings.Repeat("/", 201), topic.CodeTopicTooDeep},
	}
	for _, bad := range badText {
		cases = append(cases, struct{ name, code string }{bad.text, "topic_" + bad.code})
	}
	for _, hidden := range hiddenText {
		cases = append(cases, struct{ name, code string }{hidden, topic.CodeTopicFormatChar})
	}
	for _, c := range cases {
		if got := code(t, topic.CheckName(c.name)); got != c.code {
			t.Errorf("CheckName(%.40q): got code %q, want %q", c.name, got, c.code)
		}
	}
}

func TestCheckReadNameAcceptsWhatDevicesChoose(t *testing.T) {
	long := []string{strings.Repeat("x", topic.MaxReadBytes), strings.Repeat("/", topic.MaxReadLevels-1)}
	for _, name := range slices.Concat(goodText, hiddenText, long) {
		if err := topic.CheckReadName(name); err != nil {
			t.Errorf("CheckReadName(%.40q): got %v, want nil", name, err)
		}
		if err := topic.CheckFilter(name); err != nil {
			t.Errorf("CheckFilter(%.40q): got %v, want nil", name, err)
		}
	}
	for name, want := range map[string]string{
		"": topic.CodeTopicRequired, "a/+": topic.CodeTopicWildcard, "$SYS/x": topic.CodeTopicReserved, "a\x00": topic.CodeTopicControlChar,
		long[0] + "x": topic.CodeTopicTooLong, long[1] + "/": topic.CodeTopicTooDeep,
	} {
		if got := code(t, topic.CheckReadName(name)); got != want {
			t.Errorf("CheckReadName(%.40q): got code %q, want %q", name, got, want)
		}
	}
}

func TestCheckSeenNameAcceptsWhatBrokersDeliver(t *testing.T) {
	odd := []string{"a\x01", "a\tb", "\x7f", "a\u0080", "\u009f", "a\ufffe", "\uffff", "\ufdd0", "\U0001fffe"}
	for _, name := range slices.Concat(goodText, hiddenText, odd) {
		if err := topic.CheckSeenName(name); err != nil {
			t.Errorf("CheckSeenName(%.40q): got %v, want nil", name, err)
		}
	}
	for name, want := range map[string]string{
		"": topic.CodeTopicRequired, "a/+": topic.CodeTopicWildcard, "$SYS/x": topic.CodeTopicReserved, "a\x00": topic.CodeTopicControlChar,
		"a\xff": topic.CodeTopicUTF8, strings.Repeat("x", topic.MaxReadBytes+1): topic.CodeTopicTooLong,
	} {
		if got := code(t, topic.CheckSeenName(name)); got != want {
			t.Errorf("CheckSeenName(%.40q): got code %q, want %q", name, got, want)
		}
	}
}

func TestCheckFilterAcceptsWhatMQTTAllows(t *testing.T) {
	wild := []string{"#", "+", "+/#", "a/#", "/#", "+/", "/+", "+/+", "a/+/b", "a/+/#", "//#", "a/$share/+",
		strings.Repeat("+/", topic.MaxReadLevels-1) + "a", strings.Repeat("+/", topic.MaxReadLevels-1) + "#"}
	for _, filter := range append(wild, goodText...) {
		if err := topic.CheckFilter(filter); err != nil {
			t.Errorf("CheckFilter(%.40q): got %v, want nil", filter, err)
		}
	}
}

func TestCheckFilterRefuses(t *testing.T) {
	cases := []struct{ filter, code string }{
		{"", topic.CodeFilterRequired},
		{"a+", topic.CodeFilterSyntax},
		{"+a/b", topic.CodeFilterSyntax},
		{"a/b#", topic.CodeFilterSyntax},
		{"a/#/b", topic.CodeFilterSyntax},
		{"#/", topic.CodeFilterSyntax},
		{"##", topic.CodeFilterSyntax},
		{"++", topic.CodeFilterSyntax},
		{"+#", topic.CodeFilterSyntax},
		{"$share/g/a", topic.CodeFilterReserved},
		{"$share/g", topic.CodeFilterReserved},
		{"$share", topic.CodeFilterReserved},
		{"$sharex", topic.CodeFilterReserved},
		{"$queue/a", topic.CodeFilterReserved},
		{"$", topic.CodeFilterReserved},
		{"$SYS", topic.CodeFilterReserved},
		{"$SYS/#", topic.CodeFilterReserved},
		{strings.Repeat("x", topic.MaxReadBytes+1), topic.CodeFilterTooLong},
		{strings.Repeat("x", 65536+5), topic.CodeFilterTooLong},
		{strings.Repeat("/", topic.MaxReadLevels), topic.CodeFilterTooComplex},
		{strings.Repeat("+/", topic.MaxReadLevels) + "#", topic.CodeFilterTooComplex},
	}
	for _, bad := range badText {
		cases = append(cases, struct{ filter, code string }{bad.text, "filter_" + bad.code})
	}
	for _, c := range cases {
		if got := code(t, topic.CheckFilter(c.filter)); got != c.code {
			t.Errorf("CheckFilter(%.40q): got code %q, want %q", c.filter, got, c.code)
		}
	}
}

func TestCheckSystemFilterOpensSYSAndNothingElse(t *testing.T) {
	for filter, want := range map[string]string{
		"$SYS":          "",
		"$SYS/":         "",
		"$SYS/#":        "",
		"$SYS/+/load":   "",
		"a/+":           "",
		"#":             "",
		"":              topic.CodeFilterRequired,
		"$SYSTEM":       topic.CodeFilterReserved,
		"$sys/#":        topic.CodeFilterReserved,
		"$SYS#":         topic.CodeFilterReserved,
		"$SYS+/a":       topic.CodeFilterReserved,
		"$share/g/a":    topic.CodeFilterReserved,
		"$share/g/$SYS": topic.CodeFilterReserved,
		"$queue/$SYS/#": topic.CodeFilterReserved,
		"$SYS/a#":       topic.CodeFilterSyntax,
		"$SYS/#/a":      topic.CodeFilterSyntax,
	} {
		if got := code(t, topic.CheckSystemFilter(filter)); got != want {
			t.Errorf("CheckSystemFilter(%q): got code %q, want %q", filter, got, want)
		}
	}
}

func TestCheckReportsTheFirstFaultInADocumentedOrder(t *testing.T) {
	for name, want := range map[string]string{
		"\xff" + strings.Repeat("/", topic.MaxBytes): topic.CodeTopicTooLong,
		"$+\x00":                            topic.CodeTopicControlChar,
		"$share/+":                          topic.CodeTopicWildcard,
		"$" + strings.Repeat("/", 40):       topic.CodeTopicReserved,
		strings.Repeat("/", 40) + "\u200b":  topic.CodeTopicFormatChar,
		"a\u200b\ufffe\xff\x01 first wins ": topic.CodeTopicFormatChar,
	} {
		if got := code(t, topic.CheckName(name)); got != want {
			t.Errorf("CheckName(%.40q): got code %q, want %q", name, got, want)
		}
	}
	for filter, want := range map[string]string{
		"$a+\x00":                       topic.CodeFilterControlChar,
		"$a+":                           topic.CodeFilterReserved,
		strings.Repeat("/", 300) + "a#": topic.CodeFilterSyntax,
	} {
		if got := code(t, topic.CheckFilter(filter)); got != want {
			t.Errorf("CheckFilter(%.40q): got code %q, want %q", filter, got, want)
		}
	}
}

func TestDetailSaysWhereAndWhat(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{topic.CheckName("é/+"), "The topic has the wildcard + at byte offset 3; a message goes to one topic, so name that topic."},
		{topic.CheckName("ab\nc"), "The topic has the control character U+000A at byte offset 2; remove it."},
		{topic.CheckName("\U0001fffe"), "The topic has U+1FFFE at byte offset 0, which is not a character; remove it."},
		{topic.CheckName("a/b/\xff"), "The topic is not valid UTF-8 at byte offset 4; send it as UTF-8."},
		{topic.CheckName(strings.Repeat("x", 1025)), "The topic is 1025 bytes long; shorten it to at most 1024."},
		{topic.CheckName(strings.Repeat("/", 201)), "The topic has 202 levels; use at most 32."},
		{topic.CheckFilter("a/b/c+"), "The filter has + beside other characters at level 3; + must be a level of its own."},
		{topic.CheckFilter("a/#/c"), "The filter has # at level 2 and more levels after it; # must be the last."},
		{topic.CheckName("\u202ea"), "The topic has the invisible format character U+202E at byte offset 0; remove it."},
		{topic.CheckFilter(strings.Repeat("+/", 200)), "The filter has 201 levels; use at most 200."},
	} {
		var refusal *topic.Error
		if !errors.As(c.err, &refusal) {
			t.Errorf("got %v, want a *topic.Error with %q", c.err, c.want)
		} else if refusal.Detail != c.want {
			t.Errorf("got  %q\nwant %q", refusal.Detail, c.want)
		}
	}
}

func TestErrorHasCodeAndDetail(t *testing.T) {
	err := &topic.Error{Code: "c", Detail: "D."}
	if got, want := err.Error(), "c: D."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzCheck holds the two checks to each other and to the plain wording of their rules.
func FuzzCheck(f *testing.F) {
	for _, bad := range badText {
		f.Add(bad.text)
	}
	for _, s := range []string{"", "$SYS/#", "a+", "a/#/b", "##", "a/+/#", strings.Repeat("+/", 9), strings.Repeat("/", 33)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, hidden := utf8.ValidString(s), false
		for _, r := range s {
			if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Noncharacter_Code_Point, r) {
				text = false
			}
			hidden = hidden || unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d'
		}
		depth := len(strings.Split(s, "/"))
		text = text && s != "" && len(s) <= topic.MaxReadBytes && depth <= topic.MaxReadLevels
		read := text && !strings.ContainsAny(s, "+#") && !strings.HasPrefix(s, "$")
		name := read && !hidden && len(s) <= topic.MaxBytes && depth <= topic.MaxLevels
		if got := topic.CheckReadName(s) == nil; got != read {
			t.Errorf("CheckReadName(%q): got accepted %t, want %t", s, got, read)
		}
		if got := topic.CheckName(s) == nil; got != name {
			t.Errorf("CheckName(%q): got accepted %t, want %t", s, got, name)
		}
		filter := text
		for i, level := range strings.Split(s, "/") {
			if level != "+" && (level != "#" || i < strings.Count(s, "/")) && strings.ContainsAny(level, "+#") {
				filter = false
			}
		}
		if got, want := topic.CheckFilter(s) == nil, filter && !strings.HasPrefix(s, "$"); got != want {
			t.Errorf("CheckFilter(%q): got accepted %t, want %t", s, got, want)
		}
		system := !strings.HasPrefix(s, "$") || strings.HasPrefix(s+"/", "$SYS/")
		if got, want := topic.CheckSystemFilter(s) == nil, filter && system; got != want {
			t.Errorf("CheckSystemFilter(%q): got accepted %t, want %t", s, got, want)
		}
		for _, err := range []error{topic.CheckName(s), topic.CheckFilter(s)} {
			if err != nil && strings.IndexFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
				t.Errorf("got the caller's text in %q, want printable ASCII", err)
			}
		}
	})
}

func TestCheckAllocatesNothingForWhatItAccepts(t *testing.T) {
	for _, name := range []string{"pi/3/battery", "größe/温度/\U0001f600", strings.Repeat("x", topic.MaxBytes)} {
		if got := testing.AllocsPerRun(100, func() { _ = topic.CheckName(name) }); got != 0 {
			t.Errorf("CheckName(%.20q): got %v allocations, want 0", name, got)
		}
	}
	for _, filter := range []string{"pi/+/battery", "größe/+/#"} {
		if got := testing.AllocsPerRun(100, func() { _ = topic.CheckFilter(filter) }); got != 0 {
			t.Errorf("CheckFilter(%q): got %v allocations, want 0", filter, got)
		}
	}
	if got := testing.AllocsPerRun(100, func() { _ = topic.CheckSystemFilter("$SYS/#") }); got != 0 {
		t.Errorf("CheckSystemFilter: got %v allocations, want 0", got)
	}
}
