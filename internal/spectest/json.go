package spectest

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Decode reads JSON; numbers become json.Number.
func Decode[T any, B ~string | ~[]byte](t testing.TB, body B) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(bytes.NewReader([]byte(body)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v: %.200s", err, body)
	}
	return v
}

// Encode writes a value as JSON; json.Number keeps its digits.
func Encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// volatile are the members that differ from one answer to the next.
var volatile = []string{"took_ms", "request_id", "time", "since", "last_seen", "epoch", "cursor", "after", "before"}

// moment is a time in a sentence.
var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`)

// Steady is v with volatile members blanked, as JSON.
func Steady(t testing.TB, v any) string {
	t.Helper()
	var blank func(v any)
	blank = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, child := range v {
				if slices.Contains(volatile, name) {
					v[name] = "…"
				}
				if link, ok := child.(string); ok && name == "type" { // it leads up from the request's path
					v[name] = strings.TrimLeft(link, "./")
				}
				if text, ok := child.(string); ok && name == "detail" {
					v[name] = moment.ReplaceAllString(text, "…")
				}
				blank(child)
			}
		case []any:
			for _, child := range v {
				blank(child)
			}
		}
	}
	v = Decode[any](t, Encode(t, v))
	blank(v)
	return string(Encode(t, v))
}

// Keys are the keys of m in order.
func Keys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
