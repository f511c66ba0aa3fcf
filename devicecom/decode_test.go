package devicecom

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// The table of the package's comment, and its edges.
var decoded = []struct {
	payload string
	want    any
}{
	{"0", 0}, {"-0", 0}, {"0.0", 0}, {"-0.0", 0}, {"0e5", 0}, {"7", 7}, {"-7", -7},
	{"21.0", 21}, {"21.50", 21.5}, {"-3.25", -3.25}, {"1e3", 1000}, {"1E+3", 1000}, {"15e-1", 1.5}, {"1e-400", 0},
	{" 21\r\n", 21}, {"\t0\n", 0},
	{"9223372036854775807", math.MaxInt64}, {"-9223372036854775808", math.MinInt64},
	{"9223372036854775808", 9223372036854775808.0}, {"18446744073709551615", 18446744073709551615.0},
	{"9007199254740992.0", 1 << 53}, {"9007199254740994.0", 9007199254740994.0}, {"1e300", 1e300}, {"1e16", 1e16},
	{"true", true}, {"false", false}, {"null", nil},
	{`"on"`, "on"}, {`"0"`, "0"}, {`""`, ""}, {`"\u00e9"`, "é"}, {"\"a\\nb\"", "a\nb"},
	{"[1,2.5,1e3]", []any{1, 2.5, 1000}}, {"[]", []any{}},
	{`{"t":21,"h":[40.5,{"x":-0}],"s":"1","n":null}`, map[string]any{"t": 21, "h": []any{40.5, map[string]any{"x": 0}}, "s": "1", "n": nil}},
	{"{}", map[string]any{}}, {`{"a":1,"a":2}`, map[string]any{"a": 2}},
	// Text: what is no JSON.
	{"", ""}, {" ", " "}, {"on", "on"}, {"ON", "ON"}, {"True", "True"}, {"nullify", "nullify"}, {"truely", "truely"},
	{"007", "007"}, {"+5", "+5"}, {".5", ".5"}, {"5.", "5."}, {"-", "-"}, {"0x10", "0x10"}, {"1_000", "1_000"}, {"NaN", "NaN"}, {"Infinity", "Infinity"},
	{"21 22", "21 22"}, {"21,5", "21,5"}, {"21 C", "21 C"}, {"\ufeff21", "\ufeff21"}, {"{t:1}", "{t:1}"}, {"[1,]", "[1,]"}, {`"a`, `"a`}, {"é\x00", "é\x00"},
	// JSON with a number that no float64 holds.
	{"1e400", "1e400"}, {"[1,-1e999]", "[1,-1e999]"}, {`{"a":{"b":1e400}}`, `{"a":{"b":1e400}}`},
	// Too deep for JSON.
	{strings.Repeat("[", 20000) + strings.Repeat("]", 20000), strings.Repeat("[", 20000) + strings.Repeat("]", 20000)},
	// Bytes: no UTF-8.
	{"\xff\xd8\xff\xe0", []byte("\xff\xd8\xff\xe0")}, {"\"\xff\"", []byte("\"\xff\"")}, {"21\x80", []byte("21\x80")}, {"\xed\xa0\x80", []byte("\xed\xa0\x80")},
}

func TestDecodingTable(t *testing.T) {
	for _, tc := range decoded {
		if got := decode([]byte(tc.payload)); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%.60q: got %T %.60v, want %T %.60v", tc.payload, got, got, tc.want, tc.want)
		}
	}
}

// What v == 0 means in a program.
func TestDecodedNumbersCompareWithConstants(t *testing.T) {
	for payload, want := range map[string]bool{"0": true, "-0": true, "0.0": true, "0e1": true, " 0\n": true, "1": false, "0.5": false, `"0"`: false, "": false, "null": false, "false": false} {
		if got := decode([]byte(payload)) == 0; got != want {
			t.Errorf("%q == 0: got %v, want %v", payload, got, want)
		}
	}
	if decode([]byte("21.5")) != 21.5 {
		t.Error("21.5 != 21.5")
	}
}

func TestFloatTakesEveryNumber(t *testing.T) {
	for _, tc := range []struct {
		v    any
		want float64
		ok   bool
	}{{21, 21, true}, {21.5, 21.5, true}, {-7, -7, true}, {"21", 0, false}, {nil, 0, false}, {true, 0, false}, {[]byte("1"), 0, false}} {
		if got, ok := Float(tc.v); got != tc.want || ok != tc.ok {
			t.Errorf("Float(%#v): got %v, %v, want %v, %v", tc.v, got, ok, tc.want, tc.ok)
		}
	}
}

// Whatever comes, a value has one of the documented types and nothing is lost:
// text and bytes are the payload itself, and a number has its value.
func FuzzDecode(f *testing.F) {
	for _, tc := range decoded {
		f.Add([]byte(tc.payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		v := decode(payload)
		if err := documentedType(v); err != nil {
			t.Fatalf("%q: %v", payload, err)
		}
		switch v := v.(type) {
		case []byte:
			if string(v) != string(payload) || utf8.Valid(payload) {
				t.Fatalf("%q: got bytes %q", payload, v)
			}
		case string:
			if !json.Valid(payload) && v != string(payload) {
				t.Fatalf("%q: got text %q", payload, v)
			}
		case int:
			var want float64
			if err := json.Unmarshal(payload, &want); err != nil || float64(v) != want {
				t.Fatalf("%q: got %d, want %v (%v)", payload, v, want, err)
			}
		}
	})
}

func documentedType(v any) error {
	switch v := v.(type) {
	case nil, bool, int, string, []byte:
		return nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= 1<<53 {
			return fmt.Errorf("%v is whole and a float64", v)
		}
		return nil
	case []any:
		for _, inner := range v {
			if err := documentedType(inner); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for _, inner := range v {
			if err := documentedType(inner); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("got a %T", v)
}
