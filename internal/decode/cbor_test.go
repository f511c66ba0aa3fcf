package decode_test

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

// cborTests are also what the fuzzer starts from. Many stand in RFC 8949,
// appendix A.
func cborTests() []tt {
	return []tt{
		// Scalars.
		{"\x00", "0", ""}, {"\x17", "23", ""}, {"\x18\x18", "24", ""}, {"\x19\x03\xe8", "1000", ""}, {"\x1a\x00\x0f\x42\x40", "1000000", ""}, {"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615", ""},
		{"\x20", "-1", ""}, {"\x39\x03\xe7", "-1000", ""}, {"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "-18446744073709551616", ""}, {"\x3b\xff\xff\xff\xff\xff\xff\xff\xfe", "-18446744073709551615", ""},
		{"\xf4", "false", ""}, {"\xf5", "true", ""}, {"\xf6", "null", ""}, {"\xf7", "null", ""}, {"\xf0", "", "simple value"}, {"\xf8\xff", "", "simple value"}, {"\xf8\x18", "", "not valid CBOR"},
		{"\xf9\x00\x00", "0", ""}, {"\xf9\x80\x00", "-0", ""}, {"\xf9\x3c\x00", "1", ""}, {"\xf9\x3e\x00", "1.5", ""}, {"\xf9\x7b\xff", "65504", ""}, {"\xf9\x00\x01", "5.9604645e-08", ""}, {"\xf9\x04\x00", "0.000061035156", ""}, {"\xf9\xc4\x00", "-4", ""},
		{"\xf9\x7c\x00", "null", ""}, {"\xf9\x7e\x00", "null", ""}, {"\xf9\xfc\x00", "null", ""}, {"\xfa\x3d\xcc\xcc\xcd", "0.1", ""}, {"\xfa\x7f\x7f\xff\xff", "3.4028235e+38", ""}, {"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", "1.1", ""},
		{"\xfb\x7e\x37\xe4\x3c\x88\x00\x75\x9c", "1e+300", ""}, {"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00", "null", ""}, {"\xfa\xff\xc0\x00\x00", "null", ""},
		// Text and bytes, whole and in chunks.
		{"\x60", `""`, ""}, {"\x61a", `"a"`, ""}, {"\x62\"\\", `"\"\\"`, ""}, {"\x62\xc3\xbc", `"ü"`, ""}, {"\x61\xff", "", "not valid UTF-8"}, {"\x40", `""`, ""}, {"\x44\x01\x02\x03\x04", `"AQIDBA=="`, ""},
		{"\x7f\x65strea\x64ming\xff", `"streaming"`, ""}, {"\x7f\xff", `""`, ""}, {"\x7f\x60\x61a\x60\xff", `"a"`, ""}, {"\x7f\x61\xc3\x61\xbc\xff", "", "not valid UTF-8"}, {"\x5f\x42\x01\x02\x43\x03\x04\x05\xff", `"AQIDBAU="`, ""},
		{"\x7f\x41a\xff", "", "not valid CBOR"}, {"\x7f\x7f\x61a\xff\xff", "", "not valid CBOR"},
		// Containers.
		{"\x80", "[]", ""}, {"\xa0", "{}", ""}, {"\x83\x01\x82\x02\x03\x82\x04\x05", "[1,[2,3],[4,5]]", ""}, {"\x9f\xff", "[]", ""}, {"\x9f\x01\x82\x02\x03\x9f\x04\x05\xff\xff", "[1,[2,3],[4,5]]", ""}, {"\xbf\xff", "{}", ""},
		{"\xa2\x61b\x01\x61a\x82\x02\x03", `{"b":1,"a":[2,3]}`, ""}, {"\xbf\x63Fun\xf5\x63Amt\x21\xff", `{"Fun":true,"Amt":-2}`, ""}, {"\xbf\x61a\xff", "", "not valid CBOR"},
		// Keys.
		{"\xa2\x01\x02\x20\x04", `{"1":2,"-1":4}`, ""}, {"\xa1\x7f\x61a\xff\x01", `{"a":1}`, ""}, {"\xa2\x61a\x01\x61a\x02", "", "same key twice"}, {"\xa2\x01\x01\x18\x01\x02", "", "same key twice"}, {"\xa2\x611\x01\x01\x02", "", "same key twice"},
		{"\xbf\x61a\x01\x61a\x02\xff", "", "same key twice"}, {"\xa1\x41a\x01", "", "neither text nor a whole number"}, {"\xa1\xf6\x01", "", "neither"}, {"\xa1\xf9\x3c\x00\x01", "", "neither"}, {"\xa1\x80\x01", "", "neither"}, {"\xa1\xc2\x41\x01\x01", "", "neither"},
		// Tags.
		{"\xc0\x742013-03-21T20:04:00Z", `"2013-03-21T20:04:00Z"`, ""}, {"\xc0\x782013-03-21", "", "ends too early"}, {"\xc0\x78\x192013-03-21T22:04:00+02:00", `"2013-03-21T20:04:00Z"`, ""},
		{"\xc0\x6a2013-03-21", "", "time that is malformed"}, {"\xc0\x00", "", "time that is malformed"}, {"\xc0\x78\x190000-01-01T00:00:00+01:00", "", "time that is malformed"}, {"\xc0\x54" + strings.Repeat("0", 20), "", "time that is malformed"},
		{"\xc1\x1a\x51\x4b\x67\xb0", `"2013-03-21T20:04:00Z"`, ""}, {"\xc1\xfb\x41\xd4\x52\xd9\xec\x20\x00\x00", `"2013-03-21T20:04:00.5Z"`, ""}, {"\xc1\x20", `"1969-12-31T23:59:59Z"`, ""}, {"\xc1\xfb\xbf\xe0\x00\x00\x00\x00\x00\x00", `"1969-12-31T23:59:59.5Z"`, ""},
		{"\xc1\xf9\x3c\x00", `"1970-01-01T00:00:01Z"`, ""}, {"\xc1\xfa\x3f\xc0\x00\x00", `"1970-01-01T00:00:01.5Z"`, ""}, {"\xc1\xfb\x3f\xef\xff\xff\xff\xff\xff\xff", `"1970-01-01T00:00:01Z"`, ""},
		{"\xc1\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00", "", "time that is malformed"}, {"\xc1\xf9\x7c\x00", "", "time that is malformed"}, {"\xc1\xf6", "", "time that is malformed"}, {"\xc1\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "", "time that is malformed"}, {"\xc1\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "", "time that is malformed"}, {"\xc1\x611", "", "time that is malformed"},
		{"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", "18446744073709551616", ""}, {"\xc3\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00", "-18446744073709551617", ""}, {"\xc2\x40", "0", ""}, {"\xc3\x40", "-1", ""}, {"\xc2\x5f\x41\x01\x41\x00\xff", "256", ""},
		{"\xc2\x59\x01\x01" + strings.Repeat("\xff", 257), "", "big number"}, {"\xc2\x611", "", "big number"}, {"\xc3\x01", "", "big number"},
		{"\xd9\xd9\xf7\xa1\x61a\x01", `{"a":1}`, ""}, {"\xc4\x82\x21\x19\x6a\xb3", "", "CBOR tag other than"}, {"\xd8\x20\x61a", "", "CBOR tag other than"}, {"\xd8\x18\x41\x00", "", "CBOR tag other than"}, {"\x81\xd8\x25\x40", "", "CBOR tag other than"},
		// Broken off, or going on.
		{"", "", "empty"}, {"\x00\x00", "", "goes on"}, {"\x80\xff", "", "goes on"}, {"\x82\x01", "", "ends too early"}, {"\x18", "", "ends too early"}, {"\x62a", "", "ends too early"}, {"\xa1\x61a", "", "ends too early"}, {"\x9f\x01", "", "ends too early"},
		{"\xc1", "", "ends too early"}, {"\xff", "", "not valid CBOR"}, {"\x1c", "", "not valid CBOR"}, {"\x81\xff", "", "not valid CBOR"}, {"\xdf\x00", "", "not valid CBOR"}, {"\x3f", "", "not valid CBOR"},
		// Claims.
		{"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "", "not valid CBOR"}, {"\x9a\xff\xff\xff\xff\x00", "", "not valid CBOR"}, {"\x9a\x00\x0f\xff\xff\x00", "", "ends too early"}, {"\xba\xff\xff\xff\xff\x00\x00", "", "not valid CBOR"},
		{"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", "", "ends too early"}, {"\x7a\xff\xff\xff\xffab", "", "ends too early"}, {"\x5f\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", "", "ends too early"},
		// Depth.
		{strings.Repeat("\x81", 63) + "\x80", strings.Repeat("[", 64) + strings.Repeat("]", 64), ""}, {strings.Repeat("\x81", 64) + "\x80", "", "nested more than 64"}, {strings.Repeat("\x9f", 65), "", "nested more than 64"},
		{strings.Repeat("\xa1\x61a", 64) + "\xa0", "", "nested more than 64"}, {strings.Repeat("\x81", 1<<20), "", "nested more than 64"}, {strings.Repeat("\xc2", 1<<20), "", "nested more than 64"}, {strings.Repeat("\xd9\xd9\xf7", 100) + "\x00", "", "nested more than 64"},
	}
}

func TestCBOR(t *testing.T) { run(t, one(t, "cbor", ""), cborTests()) }

func TestCBORClaimsReserveNothing(t *testing.T) {
	claims(t, "cbor", "\x9a\x00\x0f\xff\xff\x00", "\x9a\xff\xff\xff\xff\x00", "\xba\x00\x0f\xff\xff\x00\x00", "\x5a\xff\xff\xff\xffab", "\x7a\xff\xff\xff\xffab", "\x5f\x5a\xff\xff\xff\xff", "\x81\x9a\x00\x0f\xff\xff", "\xc2\x5a\xff\xff\xff\xff")
}

func appendCBOR(t *rapid.T, b []byte, v any) []byte {
	indefinite := false
	if reflect.ValueOf(v).Kind() == reflect.Slice {
		indefinite = rapid.Bool().Draw(t, "indefinite")
	}
	head := func(major byte, n int) []byte {
		if indefinite {
			return append(b, major<<5|31)
		}
		return append(b, major<<5|24, byte(n))
	}
	switch v := v.(type) {
	case []any:
		b = head(4, len(v))
		for _, item := range v {
			b = appendCBOR(t, b, item)
		}
	case []member:
		b = head(5, len(v))
		for _, m := range v {
			b = appendCBOR(t, appendCBOR(t, b, m.key), m.value)
		}
	default:
		one, err := cbor.Marshal(v)
		if err != nil {
			t.Fatalf("%T: %v", v, err)
		}
		return append(b, one...)
	}
	if indefinite {
		b = append(b, 0xff)
	}
	return b
}

func TestCBORRoundTrips(t *testing.T) {
	r := one(t, "cbor", "")
	rapid.Check(t, func(t *rapid.T) {
		want := drawTree(t, 3)
		payload := appendCBOR(t, nil, want.value)
		got, problem := decodeOne(t, r, payload)
		if got != want.text || problem != "" {
			t.Errorf("%s: got %s %q, want %s", show(string(payload)), got, problem, want.text)
		}
	})
}

// FuzzDecodeCBOR holds the walk against the library's own decoder: what we
// give a value for it decodes, strictly, and to the same.
func FuzzDecodeCBOR(f *testing.F) {
	for _, tt := range cborTests() {
		if len(tt.payload) < 1000 {
			f.Add([]byte(tt.payload))
		}
	}
	r := one(f, "cbor", "")
	strict, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 64, UTF8: cbor.UTF8RejectInvalid}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		value, problem := decodeOne(t, r, payload)
		if limit := 8*len(payload) + 1024; len(value) > limit {
			t.Errorf("%s: got %d bytes, want at most %d", show(string(payload)), len(value), limit)
		}
		if problem != "" {
			return
		}
		var want any
		if err := strict.Unmarshal(payload, &want); err != nil {
			if !strings.Contains(err.Error(), "tag") { // it wants more of the content of times
				t.Errorf("%s: got %s, but the library says %v", show(string(payload)), value, err)
			}
			return
		}
		dec := json.NewDecoder(strings.NewReader(value))
		dec.UseNumber()
		var got any
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if !same(got, want) {
			t.Errorf("%s: got %s, want %#v", show(string(payload)), value, want)
		}
	})
}

// same compares a JSON value with what the library decoded. Times are not
// looked into.
func same(got, want any) bool {
	switch want := want.(type) {
	case nil, bool, string:
		return got == want
	case []byte:
		return got == base64.StdEncoding.EncodeToString(want)
	case uint64, int64:
		return got == json.Number(reflectText(want))
	case big.Int:
		return got == json.Number(want.String())
	case []any:
		items, ok := got.([]any)
		ok = ok && len(items) == len(want)
		for i := range want {
			ok = ok && same(items[i], want[i])
		}
		return ok
	case map[any]any:
		members, ok := got.(map[string]any)
		ok = ok && len(members) == len(want)
		for key, value := range want {
			ok = ok && same(members[reflectText(key)], value)
		}
		return ok
	}
	return true
}

func reflectText(v any) string {
	if b, ok := v.(big.Int); ok {
		return b.String()
	}
	switch v := reflect.ValueOf(v); v.Kind() {
	case reflect.Uint64:
		return new(big.Int).SetUint64(v.Uint()).String()
	case reflect.Int64:
		return big.NewInt(v.Int()).String()
	default:
		return v.String()
	}
}
