package decode_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/decode"
)

// rules puts rules below decoders, each in one line.
func rules(lines ...string) string { return "decoders:\n  - " + strings.Join(lines, "\n  - ") + "\n" }

func TestParseReadsYAMLInAllItsForms(t *testing.T) {
	for _, file := range []string{
		rules("{topic: t, format: bool}"),
		"\ufeff" + rules("{topic: t, format: bool}"),
		"%YAML 1.1\n---\n# comment\ndecoders:\n- topic: \"t\"\n  format: 'bool' # comment\n...\n",
		strings.ReplaceAll(rules("topic: t", "{topic: u, format: hex}"), "topic: t\n", "topic: t\n    format: bool\n    on_words: [on, yes, true, 1, 1.0, 0x1F]\n    off_words:\n    - \"off\"\n    - no\n"),
		`{"decoders":[{"topic":"t","format":"bool"}]}`,
		strings.ReplaceAll("decoders:\n  - topic: t\n    format: bool\n", "\n", "\r\n"),
	} {
		if got, problem := decodeOne(t, parse(t, file), []byte("ON")); got != "true" || problem != "" {
			t.Errorf("got %s %q, want true:\n%s", got, problem, file)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	field := func(f string) string {
		return rules("{topic: a, format: struct, endian: little, fields: [" + f + "]}")
	}
	many := strings.Repeat("  - {topic: a, format: hex}\n", 1001)
	for _, c := range []struct{ name, file, want string }{
		{"no file", "", "the file is empty"}, {"comments only", "# decoders:\n", "the file is empty"}, {"null", "~", "the file is empty"},
		{"no YAML", "decoders: [", "this is not YAML"}, {"tab", "decoders:\n\t- a", "this is not YAML"}, {"binary", "\x00\x01", "this is not YAML"}, {"not UTF-8", "\xff\xff", "this is not YAML"},
		{"a list", "- a", "must have keys"}, {"a word", "hunter2", "must have keys"}, {"two documents", rules("{topic: a, format: hex}") + "---\n" + rules("{topic: b, format: hex}"), "a second document begins at line"},
		{"no decoders", "{}", "there are no decoders"}, {"null decoders", "decoders:\n", "there are no decoders"}, {"empty list", "decoders: []", "there are no decoders"}, {"a mapping", "decoders: {topic: a}", "there are no decoders"},
		{"unknown key", "decoder: []", `the key "decoder" at line 1 does not exist here; the keys are decoders`}, {"key twice", "decoders: []\ndecoders: []", "the key decoders is there twice, at line 2"},
		{"too many", "decoders:\n" + many, "there are 1001 decoders; write at most 1000"},
		{"a rule that is a word", rules("a"), "rule 1 (line 2): line 2 must have keys"}, {"an empty rule", "decoders:\n  -\n", "rule 1 (line 2): line 2 must have keys"},
		{"no topic", rules("{format: hex}"), "rule 1 (line 2): topic is missing; write a topic filter"}, {"null topic", rules("{topic: , format: hex}"), "topic at line 2 is empty"},
		{"empty topic", rules(`{topic: "", format: hex}`), "The filter is empty"}, {"topic list", rules("{topic: [a], format: hex}"), "topic at line 2 is not a plain value"},
		{"bad filter", rules("{topic: a, format: hex}", `{topic: "a/b#", format: hex}`), `rule 2 ("a/b#", line 3): The filter has # beside other characters`},
		{"reserved filter", rules("{topic: $SYS/#, format: hex}"), "of the broker itself"}, {"control character", rules(`{topic: "a\nb", format: hex}`), `rule 1 ("a\nb", line 2): The filter has the control character`},
		{"topic twice", rules("{topic: a/+, format: hex}", "{topic: b, format: hex}", "{topic: a/+, format: text}"), `rule 3 ("a/+", line 4): rule 1 has the same topic`},
		{"no format", rules("{topic: a}"), `rule 1 ("a", line 2): format is missing; write msgpack, cbor, json`}, {"unknown format", rules("{topic: a, format: protobuf}"), `the format "protobuf" does not exist; write one of msgpack, cbor`},
		{"format in capitals", rules("{topic: a, format: JSON}"), `the format "JSON" does not exist`}, {"number as format", rules("{topic: a, format: 1}"), `the format "1" does not exist`},
		{"unknown key of a rule", rules("{topic: a, format: hex, retain: true}"), `rule 1 ("a", line 2): the key "retain" at line 2 does not exist here; the keys are topic, format`},
		{"key of a rule twice", rules("{topic: a, format: hex, topic: b}"), "the key topic is there twice"}, {"key in capitals", rules("{Topic: a, format: hex}"), `the key "Topic"`}, {"key that is no word", rules("{topic: a, format: hex, [x]: 1}"), "does not exist here"},
		{"merge key", "a: &a {format: hex}\n", `the key "a"`}, {"merge", rules("{<<: {format: hex}, topic: a}"), `the key "<<"`}, {"anchor alone", rules("&x {topic: a, format: hex}", "*x"), "rule 2 (line 3): aliases"},
		{"alias in a rule", rules("{topic: &x a, format: hex}", "{topic: *x, format: hex}"), "aliases"}, {"unknown alias", rules("{topic: *hunter2, format: hex}"), "this is not YAML: it is malformed"}, {"alias in words", rules("{topic: a, format: bool, on_words: [&x a], off_words: [*x]}"), "aliases"},
		{"tag", rules("{topic: !!binary YQ==, format: hex}"), "not a plain value"}, {"tagged rule", rules("!x {topic: a, format: hex}"), "must have keys"},
		{"words without bool", rules("{topic: a, format: hex, on_words: [a]}"), "format hex has no on_words; remove it"}, {"endian without struct", rules("{topic: a, format: bool, endian: big}"), "format bool has no endian"},
		{"half the words", rules("{topic: a, format: bool, on_words: [a]}"), "only one of on_words and off_words is there"}, {"no words", rules("{topic: a, format: bool, on_words: [], off_words: [b]}"), "on_words must be a list"}, {"words as text", rules("{topic: a, format: bool, on_words: a, off_words: b}"), "must be a list"},
		{"empty word", rules(`{topic: a, format: bool, on_words: [""], off_words: [b]}`), "on_words has a word that is empty"}, {"null word", rules(`{topic: a, format: bool, on_words: [null], off_words: [b]}`), "a word of on_words at line 2 is empty"}, {"spaced word", rules(`{topic: a, format: bool, on_words: [a], off_words: [" b"]}`), "white space around it"},
		{"word in both", rules("{topic: a, format: bool, on_words: [x, A], off_words: [a]}"), "is there twice"}, {"word twice", rules("{topic: a, format: bool, on_words: [a, a], off_words: [b]}"), `the word "a" is there twice`}, {"long word", rules("{topic: a, format: bool, on_words: [" + strings.Repeat("x", 65) + "], off_words: [b]}"), "write at most 64"},
		{"no endian", rules("{topic: a, format: struct, fields: [{name: a, type: int8}]}"), "endian is missing; write little or big"}, {"bad endian", rules("{topic: a, format: struct, endian: middle, fields: [{name: a, type: int8}]}"), `endian is "middle"`},
		{"no fields", rules("{topic: a, format: struct, endian: big}"), "fields must be a list"}, {"empty fields", field(""), "fields must be a list"}, {"fields as mapping", rules("{topic: a, format: struct, endian: big, fields: {a: int8}}"), "fields must be a list"},
		{"nothing but skip", field("{type: skip, length: 1}"), "all fields are skipped"}, {"no type", field("{name: a}"), "field 1 (line 2): type is missing; write int8"}, {"bad type", field("{name: a, type: int24}"), `the type "int24" does not exist`},
		{"no name", field("{type: int8}"), "field 1 (line 2): name is missing"}, {"empty name", field(`{name: "", type: int8}`), "the name must have 1 to 256 bytes"}, {"long name", field("{name: " + strings.Repeat("x", 257) + ", type: int8}"), "the name must have 1 to 256"}, {"skip with a name", field("{name: a, type: skip, length: 1}"), "skip has no name"},
		{"name twice", field("{name: a, type: int8}, {name: b, type: int8}, {name: a, type: int8}"), `field 3 (line 2): the name "a" is there twice`}, {"unknown key of a field", field("{name: a, type: int8, unit: V}"), `the key "unit"`}, {"key of a field twice", field("{name: a, type: int8, name: b}"), "the key name is there twice"},
		{"length of a number", field("{name: a, type: int8, length: 1}"), "a field of type int8 has no length"}, {"no length", field("{name: a, type: text}"), "length is missing; write the number of bytes"},
		{"length 0", field("{name: a, type: text, length: 0}"), `the length is "0"; write a whole number`}, {"length with a sign", field("{name: a, type: hex, length: -1}"), "the length is"}, {"octal length", field("{name: a, type: hex, length: 010}"), "the length is"}, {"length of a half", field("{name: a, type: hex, length: 1.5}"), "the length is"}, {"huge length", field("{name: a, type: hex, length: 9999999999999999999}"), "the length is"},
		{"huge fields", field("{type: skip, length: 1048576}, {name: a, type: int8}"), "longer than 1048576"}, {"a field that is a word", field("int8"), "must have keys"},
		{"scale of a text", field("{name: a, type: text, length: 1, scale: 2}"), "a field of type text has neither"}, {"offset of a bool", field("{name: a, type: bool, offset: 2}"), "a field of type bool has neither"}, {"scale 0", field("{name: a, type: int8, scale: 0.0}"), "the scale is 0"},
		{"scale inf", field("{name: a, type: int8, scale: .inf}"), "write a decimal number"}, {"scale NaN", field("{name: a, type: int8, scale: nan}"), "write a decimal number"}, {"scale fraction", field("{name: a, type: int8, scale: 1/3}"), "write a decimal number"}, {"scale hex", field("{name: a, type: int8, scale: 0x10}"), "write a decimal number"}, {"scale word", field("{name: a, type: int8, scale: ten}"), "write a decimal number"},
		{"scale huge", field("{name: a, type: int8, scale: 1e300}"), "between 1e-30 and 1e30"}, {"scale tiny", field("{name: a, type: int8, scale: 1e-300}"), "between"}, {"offset that takes long", field("{name: a, type: int8, offset: 0e999999999}"), "between"}, {"scale underscore", field("{name: a, type: int8, scale: 1_0}"), "write a decimal number"}, {"scale null", field("{name: a, type: int8, scale: }"), "scale at line 2 is empty"},
	} {
		r, err := decode.Parse([]byte(c.file))
		if err == nil || r != nil {
			t.Errorf("%s: got rules, want an error with %q", c.name, c.want)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, want %q in it", c.name, err, c.want)
		}
		checkLine(t, err)
	}
}

// checkLine: one line, and nothing that may be a secret of a wrong file.
func checkLine(t tester, err error) {
	t.Helper()
	if text := err.Error(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) || len(text) > 400 || strings.Contains(text, "hunter2") {
		t.Errorf("got error %q, want one short line", text)
	}
}

func TestParseTakesAsManyRulesAsItSays(t *testing.T) {
	var file strings.Builder
	file.WriteString("decoders:\n")
	for i := range 1000 {
		fmt.Fprintf(&file, "  - {topic: device/%d/state, format: bool}\n", i)
	}
	if got := parse(t, file.String()).Len(); got != 1000 {
		t.Errorf("Len: got %d, want 1000", got)
	}
}

// Files that are made to grow do not.
func TestParseIsBounded(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, file := range map[string]string{
		"aliases": bomb + "decoders: *j\n", "flow": strings.Repeat("[", 1<<20), "mappings": strings.Repeat("{a: ", 1<<18), "blocks": strings.Repeat("- ", 1<<19),
		"loop": "decoders: &a [*a]\n", "keys": "? " + strings.Repeat("? ", 100_000), "anchors": strings.Repeat("&a ", 100_000), "words": "decoders:\n" + strings.Repeat("- a\n", 250_000),
	} {
		if _, err := decode.Parse([]byte(file)); err == nil {
			t.Errorf("%s: got rules, want an error", name)
		} else {
			checkLine(t, err)
		}
	}
}

// FuzzParse: no file breaks the reader, and rules that it accepts decode.
func FuzzParse(f *testing.F) {
	for _, file := range []string{
		"", rules("{topic: t, format: json}"), rules("{topic: t, format: bool, on_words: [a], off_words: [b]}"), rules("topic: a", "b"),
		"decoders:\n  - topic: t\n    format: struct\n    endian: big\n    fields:\n      - {name: a, type: int16, scale: 0.01, offset: -1e3}\n      - {name: b, type: text, length: 8}\n      - {type: skip, length: 2}\n",
		"decoders: &a [*a]", "a: !!binary x\n---\n", "decoders: [{<<: *x}]", "? [a]\n: |+\n b\n",
	} {
		f.Add([]byte(file), []byte("on"))
	}
	f.Fuzz(func(t *testing.T, file, payload []byte) {
		r, err := decode.Parse(file)
		if err != nil {
			if text := err.Error(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
				t.Errorf("got error %q, want one line", text)
			}
			return
		}
		if v, problem := r.Decode("t", payload); v != nil || problem != "" {
			decodeOne(t, r, payload)
		}
	})
}

// FuzzDecodeRules tries every payload on the formats that are read by hand.
func FuzzDecodeRules(f *testing.F) {
	for _, payload := range []string{"", "on", "21.50", "+007.10e-5", " {\"a\" : [1, 2]}\n", `{"a":1,"a":2}`, "\xff\x00", "abcdefgh\x00\x01"} {
		f.Add([]byte(payload))
	}
	all := []*decode.Rules{
		one(f, "json", ""), one(f, "text", ""), one(f, "hex", ""), one(f, "number", ""), one(f, "bool", ""),
		one(f, "struct", "    endian: big\n    fields:\n      - {name: a, type: float32, scale: 1e30, offset: 3}\n      - {name: b, type: text, length: 3}\n      - {name: c, type: bool}\n"),
		one(f, "struct", "    endian: little\n    fields:\n      - {name: a, type: float64, scale: 0.1}\n      - {name: b, type: uint64, scale: 1e-30}\n"),
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, r := range all {
			decodeOne(t, r, payload)
		}
	})
}
