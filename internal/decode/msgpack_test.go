package decode_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"
	"pgregory.net/rapid"
)

// msgpackTests are also what the fuzzer starts from.
func msgpackTests() []tt {
	return []tt{
		// Scalars.
		{"\xc0", "null", ""}, {"\xc2", "false", ""}, {"\xc3", "true", ""}, {"\x00", "0", ""}, {"\x7f", "127", ""}, {"\xff", "-1", ""}, {"\xe0", "-32", ""},
		{"\xcc\xff", "255", ""}, {"\xcd\xff\xff", "65535", ""}, {"\xce\xff\xff\xff\xff", "4294967295", ""}, {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615", ""},
		{"\xd0\x80", "-128", ""}, {"\xd1\x80\x00", "-32768", ""}, {"\xd2\x80\x00\x00\x00", "-2147483648", ""}, {"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808", ""},
		{"\xca\x3d\xcc\xcc\xcd", "0.1", ""}, {"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1", ""}, {"\xcb\x40\x35\x80\x00\x00\x00\x00\x00", "21.5", ""},
		{"\xca\x7f\xc0\x00\x00", "null", ""}, {"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null", ""}, {"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "-0", ""},
		// Text and bytes.
		{"\xa0", `""`, ""}, {"\xa2on", `"on"`, ""}, {"\xd9\x01\n", `"\n"`, ""}, {"\xda\x00\x02\xc3\xa9", `"é"`, ""}, {"\xdb\x00\x00\x00\x01a", `"a"`, ""},
		{"\xa1\xff", "", "not valid UTF-8"}, {"\xa3\xed\xa0\x80", "", "not valid UTF-8"}, {"\xc4\x00", `""`, ""}, {"\xc4\x04\xde\xad\xbe\xef", `"3q2+7w=="`, ""}, {"\xc5\x00\x01\xff", `"/w=="`, ""},
		// Containers.
		{"\x90", "[]", ""}, {"\x80", "{}", ""}, {"\x93\x01\xa1a\x90", `[1,"a",[]]`, ""}, {"\xdc\x00\x01\xc0", "[null]", ""}, {"\xdd\x00\x00\x00\x01\xc0", "[null]", ""},
		{"\x82\xa1b\x01\xa1a\x81\xa1c\xc3", `{"b":1,"a":{"c":true}}`, ""}, {"\xde\x00\x01\xa1a\x01", `{"a":1}`, ""}, {"\xdf\x00\x00\x00\x01\xa1a\x01", `{"a":1}`, ""},
		// Keys.
		{"\x82\x01\x02\xff\x03", `{"1":2,"-1":3}`, ""}, {"\x81\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x00", `{"18446744073709551615":0}`, ""},
		{"\x82\xa1a\x01\xa1a\x02", "", "same key twice"}, {"\x82\x01\x01\xcc\x01\x02", "", "same key twice"}, {"\x82\xa11\x01\x01\x02", "", "same key twice"},
		{"\x81\xc0\x01", "", "neither text nor a whole number"}, {"\x81\xc3\x01", "", "neither"}, {"\x81\xca\x00\x00\x00\x00\x01", "", "neither"}, {"\x81\xc4\x01a\x01", "", "neither"},
		{"\x81\x90\x01", "", "neither"}, {"\x81\xd6\xff\x00\x00\x00\x00\x01", "", "neither"}, {"\x81\xa1\xff\x01", "", "not valid UTF-8"}, {"\x81", "", "ends too early"}, {"\x81\xc1\x01", "", "not valid MessagePack"},
		// Extensions.
		{"\xd6\xff\x51\x4b\x67\xb0", `"2013-03-21T20:04:00Z"`, ""}, {"\xd7\xff\x77\x35\x94\x00\x51\x4b\x67\xb0", `"2013-03-21T20:04:00.5Z"`, ""},
		{"\xc7\x0c\xff\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff", `"1969-12-31T23:59:59.000000001Z"`, ""},
		{"\xc7\x0c\xff\x3b\x9a\xca\x00\x00\x00\x00\x00\x00\x00\x00\x00", "", "time that is malformed"}, // 1e9 ns
		{"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "", "time that is malformed"},
		{"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x7f", `"9999-12-31T23:59:59Z"`, ""}, {"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x80", "", "time that is malformed"},
		{"\xc7\x03\xff\x00\x00\x00", "", "time that is malformed"}, {"\xc7\x04\xff\x00\x00\x00\x00", `"1970-01-01T00:00:00Z"`, ""},
		{"\xd4\x01\x00", "", "extension other than"}, {"\xc7\x0c\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "", "extension other than"}, // the library's own time
		{"\xd7\x03\x00\x00\x00\x00\x00\x00\x00\x00", "", "extension other than"}, {"\xd5\xff\x00\x00", "", "extension other than"}, {"\xc9\x00\x00\x00\x04\xff\x00\x00\x00\x00", "", "extension other than"},
		{"\xd6", "", "ends too early"}, {"\xd6\xff", "", "ends too early"}, {"\xd6\xff\x00\x00", "", "ends too early"}, {"\xc7\xff\xff", "", "ends too early"},
		// Broken off, or going on.
		{"", "", "empty"}, {"\xc1", "", "not valid MessagePack"}, {"\xc0\xc0", "", "goes on"}, {"\x90\x00", "", "goes on"}, {"21.5", "", "goes on"}, {"{\"a\":1}", "", "goes on"},
		{"\x92\x01", "", "ends too early"}, {"\x91", "", "ends too early"}, {"\x82\xa1a\x01", "", "ends too early"}, {"\xa5on", "", "ends too early"}, {"\xcd\x01", "", "ends too early"}, {"\xcb\x00", "", "ends too early"},
		// Claims.
		{"\xdd\xff\xff\xff\xff", "", "ends too early"}, {"\xdd\xff\xff\xff\xff\xc0\xc0", "", "ends too early"}, {"\xdf\xff\xff\xff\xff\xa1a\x01", "", "ends too early"}, {"\xdf\x80\x00\x00\x01\xa1a\x01", "", "ends too early"},
		{"\xdb\xff\xff\xff\xffa", "", "ends too early"}, {"\xc6\xff\xff\xff\xffa", "", "ends too early"}, {"\xc9\xff\xff\xff\xff\xff", "", "extension other than"},
		// Depth.
		{strings.Repeat("\x91", 63) + "\x90", strings.Repeat("[", 64) + strings.Repeat("]", 64), ""}, {strings.Repeat("\x91", 64) + "\x90", "", "nested more than 64"},
		{strings.Repeat("\x81\xa1a", 64) + "\x80", "", "nested more than 64"}, {strings.Repeat("\x91", 1<<20), "", "nested more than 64"}, {strings.Repeat("\xdd\x00\x00\x00\x01", 200_000), "", "nested more than 64"},
	}
}

func TestMsgpack(t *testing.T) { run(t, one(t, "msgpack", ""), msgpackTests()) }

// claims are a few bytes that claim to be followed by gigabytes.
func claims(t *testing.T, format string, payloads ...string) {
	r := one(t, format, "")
	for _, p := range payloads {
		payload := []byte(p)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			if v, problem := r.Decode("t", payload); problem == "" {
				t.Fatalf("%s: got %s, want a problem", show(p), v)
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 4096 {
			t.Errorf("%s: got %d bytes allocated, want next to none", show(p), got)
		}
	}
}

func TestMsgpackClaimsReserveNothing(t *testing.T) {
	claims(t, "msgpack", "\xdd\xff\xff\xff\xff\xc0", "\xdf\xff\xff\xff\xff\xa1a\xc0", "\xdf\x7f\xff\xff\xff\xa1a\xc0", "\xdb\xff\xff\xff\xffab", "\xc6\xff\xff\xff\xffab", "\xc9\xff\xff\xff\xff\xffab",
		"\x91\xdd\xff\xff\xff\xff\xc0", "\x81\xa1a\xdf\xff\xff\xff\xff")
}

// A map with many keys costs what its bytes cost, whatever the keys are.
func TestManyKeysAreCheap(t *testing.T) {
	const n = 50_000
	b := msgp.AppendMapHeader(nil, n+1)
	for i := range n {
		b = msgp.AppendNil(msgp.AppendUint32(b, uint32(i)))
	}
	b = msgp.AppendNil(msgp.AppendString(b, "49999"))
	start := time.Now()
	if _, problem := decodeOne(t, one(t, "msgpack", ""), b); !strings.Contains(problem, "same key twice") {
		t.Errorf("got problem %q, want that the last key is there twice", problem)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

// tree is a value that JSON can hold, and its JSON text as we write it.
type tree struct {
	value any
	text  string
}

// drawTree draws a value of the kinds that both binary formats know.
func drawTree(t *rapid.T, depth int) tree {
	kinds := 8
	if depth > 0 {
		kinds = 10
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return tree{nil, "null"}
	case 1:
		v := rapid.Bool().Draw(t, "bool")
		return tree{v, strconv.FormatBool(v)}
	case 2:
		v := rapid.Int64().Draw(t, "int")
		return tree{v, strconv.FormatInt(v, 10)}
	case 3:
		v := rapid.Uint64().Draw(t, "uint")
		return tree{v, strconv.FormatUint(v, 10)}
	case 4:
		v := rapid.Float64().Draw(t, "float64")
		return tree{v, floatText(v, 64)}
	case 5:
		v := rapid.Float32().Draw(t, "float32")
		return tree{v, floatText(float64(v), 32)}
	case 6:
		v := rapid.String().Draw(t, "string")
		return tree{v, stringText(v)}
	case 7:
		v := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		return tree{v, `"` + base64.StdEncoding.EncodeToString(v) + `"`}
	case 8:
		items, texts := []any{}, []string{}
		for range rapid.IntRange(0, 20).Draw(t, "items") {
			item := drawTree(t, depth-1)
			items, texts = append(items, item.value), append(texts, item.text)
		}
		return tree{items, "[" + strings.Join(texts, ",") + "]"}
	}
	fields, texts := []member{}, []string{}
	for _, key := range rapid.SliceOfNDistinct(rapid.String(), 0, 20, rapid.ID).Draw(t, "keys") {
		item := drawTree(t, depth-1)
		fields, texts = append(fields, member{key, item.value}), append(texts, stringText(key)+":"+item.text)
	}
	return tree{fields, "{" + strings.Join(texts, ",") + "}"}
}

// member is one of an object, in its order.
type member struct {
	key   string
	value any
}

func stringText(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s)
	// encoding/json escapes a few more than it has to.
	return strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029", `\b`, `\u0008`, `\f`, `\u000c`, `\\`, `\\`).Replace(strings.TrimSpace(b.String()))
}

func floatText(f float64, bits int) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "null"
	}
	form := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		form = 'e'
	}
	return strconv.FormatFloat(f, form, -1, bits)
}

func appendMsgpack(b []byte, v any) []byte {
	switch v := v.(type) {
	case []any:
		b = msgp.AppendArrayHeader(b, uint32(len(v)))
		for _, item := range v {
			b = appendMsgpack(b, item)
		}
		return b
	case []member:
		b = msgp.AppendMapHeader(b, uint32(len(v)))
		for _, m := range v {
			b = appendMsgpack(msgp.AppendString(b, m.key), m.value)
		}
		return b
	}
	b, err := msgp.AppendIntf(b, v)
	if err != nil {
		panic(fmt.Sprintf("%T: %v", v, err))
	}
	return b
}

func TestMsgpackRoundTrips(t *testing.T) {
	r := one(t, "msgpack", "")
	rapid.Check(t, func(t *rapid.T) {
		want := drawTree(t, 3)
		payload := appendMsgpack(nil, want.value)
		got, problem := decodeOne(t, r, payload)
		if got != want.text || problem != "" {
			t.Errorf("%s: got %s %q, want %s", show(string(payload)), got, problem, want.text)
		}
	})
}

// FuzzDecodeMsgpack: whatever comes, the library's own reading of it agrees on
// whether it is MessagePack.
func FuzzDecodeMsgpack(f *testing.F) {
	for _, tt := range msgpackTests() {
		if len(tt.payload) < 1000 {
			f.Add([]byte(tt.payload))
		}
	}
	r := one(f, "msgpack", "")
	f.Fuzz(func(t *testing.T, payload []byte) {
		value, problem := decodeOne(t, r, payload)
		if limit := 8*len(payload) + 1024; len(value) > limit {
			t.Errorf("%s: got %d bytes, want at most %d", show(string(payload)), len(value), limit)
		}
		if rest, err := msgp.Skip(payload); problem == "" && (err != nil || len(rest) > 0) {
			t.Errorf("%s: got %s, but the library says %v with %d bytes left", show(string(payload)), value, err, len(rest))
		}
	})
}
