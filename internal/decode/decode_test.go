package decode_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/internal/decode"
	"github.com/vulturepi/gateway/wire"
)

// tester is what tests and fuzz runs have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func parse(t tester, file string) *decode.Rules {
	t.Helper()
	r, err := decode.Parse([]byte(file))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, file)
	}
	return r
}

// one is the rules with a single one, for the topic t. more stands below it.
func one(t tester, format, more string) *decode.Rules {
	t.Helper()
	return parse(t, "decoders:\n  - topic: t\n    format: "+format+"\n"+more)
}

// tt is a payload with the value or the problem that it must lead to.
type tt struct{ payload, value, problem string }

func run(t *testing.T, r *decode.Rules, tests []tt) {
	t.Helper()
	for _, tt := range tests {
		value, problem := decodeOne(t, r, []byte(tt.payload))
		if value != tt.value || !strings.Contains(problem, tt.problem) || tt.problem == "" && problem != "" {
			t.Errorf("%s: got value %s, problem %q, want %s, %q", show(tt.payload), cut(value), problem, cut(tt.value), tt.problem)
		}
	}
}

// decodeOne decodes and holds what every value and every problem promises.
func decodeOne(t tester, r *decode.Rules, payload []byte) (value, problem string) {
	t.Helper()
	before := bytes.Clone(payload)
	v, problem := r.Decode("t", payload)
	if !bytes.Equal(payload, before) {
		t.Errorf("%s: the payload was changed", show(string(before)))
	}
	if (len(v) > 0) == (problem != "") {
		t.Errorf("%s: got value %s and problem %q, want one of them", show(string(payload)), cut(string(v)), problem)
	}
	if problem != "" {
		checkProblem(t, problem)
		return "", problem
	}
	if !json.Valid(v) || bytes.ContainsAny(v, "\r\n") || wire.TooDeep(v) {
		t.Errorf("%s: got %s, want one JSON text in one line", show(string(payload)), cut(string(v)))
	}
	if len(v) > 1<<20 {
		t.Errorf("%s: got %d bytes, want at most 1 MiB", show(string(payload)), len(v))
	}
	if again, _ := r.Decode("t", before); !bytes.Equal(again, v) {
		t.Errorf("%s: got %s and then %s", show(string(payload)), cut(string(v)), cut(string(again)))
	}
	return string(v), ""
}

// checkProblem: a short sentence of ours.
func checkProblem(t tester, problem string) {
	t.Helper()
	if !strings.HasPrefix(problem, "The ") || !strings.HasSuffix(problem, ".") || len(problem) >= 200 ||
		strings.ContainsFunc(problem, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("got problem %q, want a short sentence", problem)
	}
}

func show(payload string) string { return cut(hex.EncodeToString([]byte(payload))) }

func cut(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%s… (%d bytes)", s[:100], len(s))
	}
	return s
}

func TestNoRuleNoValue(t *testing.T) {
	none := (*decode.Rules)(nil)
	if v, p := none.Decode("t", []byte("1")); v != nil || p != "" || none.Len() != 0 {
		t.Errorf("nil rules: got %s, %q, Len %d", v, p, none.Len())
	}
	r := one(t, "number", "")
	for _, topic := range []string{"", "u", "t/", "t/u", "T"} {
		if v, p := r.Decode(topic, []byte("1")); v != nil || p != "" {
			t.Errorf("%q: got %s, %q, want neither", topic, v, p)
		}
	}
	payload := []byte("1")
	if allocs := testing.AllocsPerRun(100, func() { r.Decode("other/topic", payload) }); allocs != 0 {
		t.Errorf("a topic without a rule: got %v allocations, want none", allocs)
	}
}

func TestFirstRuleInTheFileWins(t *testing.T) {
	r := parse(t, `
decoders:
  - {topic: a/+, format: text}
  - {topic: +/b, format: hex}
  - {topic: a/b/c, format: number}
  - {topic: a/#, format: bool}
  - {topic: "#", format: json}
`)
	if r.Len() != 5 {
		t.Errorf("Len: got %d, want 5", r.Len())
	}
	for topic, want := range map[string]string{"a/b": `"1"`, "c/b": `"31"`, "a/b/c": "1", "a": "true", "a/b/d": "true", "x": "1"} {
		if v, p := r.Decode(topic, []byte("1")); string(v) != want || p != "" {
			t.Errorf("%s: got %s, %q, want %s", topic, v, p, want)
		}
	}
	if v, p := r.Decode("$SYS/load", []byte("1")); v != nil || p != "" {
		t.Errorf("$SYS/load: got %s, %q, want what # does not match left alone", v, p)
	}
}

// Values have a bound of their own, so that a few bytes cannot become many.
func TestValueIsBounded(t *testing.T) {
	for _, c := range []struct {
		name, format string
		payload      []byte
		problem      string
	}{
		{"text that is all escapes", "text", bytes.Repeat([]byte{1}, 200_000), "too long"},
		{"text that just fits", "text", bytes.Repeat([]byte{1}, 170_000), ""},
		{"hex", "hex", make([]byte, 600_000), "too long"},
		{"json", "json", []byte(`"` + strings.Repeat("x", 1<<20-3) + `"`), ""},
		{"more than is looked at", "json", make([]byte, 1<<20+1), "longer than 1 MiB"},
		{"msgpack bools", "msgpack", append([]byte{0xdd, 0, 0x04, 0, 0}, bytes.Repeat([]byte{0xc2}, 0x40000)...), "too long"},
		{"cbor bools", "cbor", append([]byte{0x9a, 0, 0x04, 0, 0}, bytes.Repeat([]byte{0xf4}, 0x40000)...), "too long"},
		{"msgpack binary", "msgpack", append([]byte{0xc6, 0, 0x0d, 0, 0}, make([]byte, 0xd0000)...), "too long"},
	} {
		_, problem := decodeOne(t, one(t, c.format, ""), c.payload)
		if !strings.Contains(problem, c.problem) || c.problem == "" && problem != "" {
			t.Errorf("%s: got problem %q, want %q", c.name, problem, c.problem)
		}
	}
}

func TestRulesServeManyGoroutines(t *testing.T) {
	r := parse(t, "decoders:\n  - {topic: a/+, format: json}\n  - {topic: b/#, format: struct, endian: big, fields: [{name: x, type: uint16, scale: 0.1}]}\n")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if v, _ := r.Decode("a/1", []byte(`{"a": 1}`)); string(v) != `{"a":1}` {
					t.Errorf("got %s", v)
				}
				if v, _ := r.Decode("b/1", []byte{0, 3}); string(v) != `{"x":0.3}` {
					t.Errorf("got %s", v)
				}
			}
		})
	}
	wg.Wait()
}
