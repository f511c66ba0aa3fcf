package decode_test

import (
	"strings"
	"testing"
)

func TestNumber(t *testing.T) {
	const bad = "not a decimal number"
	run(t, one(t, "number", ""), []tt{
		{"0", "0", ""}, {"21.50", "21.50", ""}, {" 21.50\r\n", "21.50", ""}, {"\t\v\f-3 ", "-3", ""}, {"+7", "7", ""},
		{"007", "7", ""}, {"-007.10", "-7.10", ""}, {"000", "0", ""}, {"-0", "-0", ""}, {"0.0", "0.0", ""}, {".5", "0.5", ""}, {"-.5", "-0.5", ""},
		{"1e5", "1e5", ""}, {"1E+05", "1e05", ""}, {"2.5e-3", "2.5e-3", ""}, {"00e0", "0e0", ""},
		{"18446744073709551615", "18446744073709551615", ""}, {"0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827", ""},
		{"123456789012345678901234567890", "123456789012345678901234567890", ""},
		{strings.Repeat("9", 1000), strings.Repeat("9", 1000), ""}, {strings.Repeat("9", 1001), "", bad}, {"\n" + strings.Repeat("0", 1001), "", bad},
		{"", "", "empty"}, {" \n", "", "empty"},
		{"+", "", bad}, {"-", "", bad}, {"+-1", "", bad}, {"--1", "", bad}, {"- 1", "", bad}, {".", "", bad}, {"5.", "", bad}, {"1.e5", "", bad},
		{"1e", "", bad}, {"1e+", "", bad}, {"1e1.5", "", bad}, {"e5", "", bad}, {"1 2", "", bad}, {"1,5", "", bad}, {"1_000", "", bad},
		{"0x10", "", bad}, {"0b1", "", bad}, {"NaN", "", bad}, {"inf", "", bad}, {"-Infinity", "", bad}, {"21.5 C", "", bad}, {"21.5%", "", bad},
		{"\u00a01", "", bad}, {"１", "", bad}, {"1\x00", "", bad}, {"\xff", "", bad}, {"\ufeff1", "", bad},
	})
}

func TestBoolHasTheUsualWords(t *testing.T) {
	const bad = "none of the words"
	run(t, one(t, "bool", ""), []tt{
		{"true", "true", ""}, {"ON", "true", ""}, {"1", "true", ""}, {"Yes", "true", ""}, {" on\r\n", "true", ""},
		{"false", "false", ""}, {"Off", "false", ""}, {"0", "false", ""}, {"no", "false", ""},
		{"", "", "empty"}, {"  ", "", "empty"}, {"onoff", "", bad}, {"2", "", bad}, {"01", "", bad}, {"1.0", "", bad}, {"o n", "", bad}, {"on\x00", "", bad},
		{"\xff", "", bad}, {"\u00a0on", "", bad}, {strings.Repeat("on", 1000), "", bad},
	})
}

func TestBoolHasWordsOfItsOwn(t *testing.T) {
	run(t, one(t, "bool", "    on_words: [OPEN, 2, auf]\n    off_words: [closed, \"null\", Größe]\n"), []tt{
		{"open", "true", ""}, {"2", "true", ""}, {"AUF", "true", ""}, {"Closed", "false", ""}, {"null", "false", ""}, {"GRÖSSE", "", "none"}, {"grÖße", "false", ""},
		{"on", "", "none of the words"}, {"0", "", "none of the words"},
	})
	run(t, one(t, "bool", "    on_words: [off]\n    off_words: [on]\n"), []tt{{"ON", "false", ""}, {"OFF", "true", ""}})
}

func TestText(t *testing.T) {
	run(t, one(t, "text", ""), []tt{
		{"", `""`, ""}, {"21.50", `"21.50"`, ""}, {" a\n", `" a\n"`, ""}, {"Grüße 🦅", `"Grüße 🦅"`, ""}, {"\x00\x1f\"\\\x7f", `"\u0000\u001f\"\\` + "\x7f\"", ""},
		{"\xff", "", "not valid UTF-8"}, {"a\xc3", "", "not valid UTF-8"}, {"\xed\xa0\x80", "", "not valid UTF-8"},
	})
}

func TestHex(t *testing.T) {
	run(t, one(t, "hex", ""), []tt{{"", `""`, ""}, {"\x00\x0f\xa0\xff", `"000fa0ff"`, ""}})
}

func TestJSON(t *testing.T) {
	const bad = "not valid JSON"
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	run(t, one(t, "json", ""), []tt{
		{"{\n\t\"b\" : 1.0 ,\r\n \"a\": [ 1e3, null ] }\n", `{"b":1.0,"a":[1e3,null]}`, ""}, {" 21.50 ", "21.50", ""}, {"-0", "-0", ""},
		{"123456789012345678901234567890", "123456789012345678901234567890", ""}, {`"\u00e9\/ é"`, `"\u00e9\/ é"`, ""}, {`"a  b"`, `"a  b"`, ""},
		{deep(64), deep(64), ""}, {deep(65), "", "nested more than 64"}, {strings.Repeat("[", 1<<20), "", "nested"}, {strings.Repeat(`{"a":`, 100_000), "", "nested"},
		{"", "", "empty"}, {" ", "", bad}, {"on", "", bad}, {"{", "", bad}, {"1 2", "", bad}, {"[1,]", "", bad}, {"{'a':1}", "", bad}, {"NaN", "", bad}, {"01", "", bad}, {"\ufeff1", "", bad},
		{"\"a\nb\"", "", bad}, {`"\ud800"`, "", bad}, {"\"\xff\"", "", bad}, {`{"a":1} // x`, "", bad},
		{`{"a":1,"a":1}`, "", "same key twice"}, {`{"a":1,"\u0061":1}`, "", "same key twice"}, {`[{"b":{"a":1,"a":2}}]`, "", "same key twice"},
		{`{"a":{"a":1},"b":{"a":1}}`, `{"a":{"a":1},"b":{"a":1}}`, ""},
	})
}
