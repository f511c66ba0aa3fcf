package devicecom

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// decode turns a payload into a value; the table is in the package's comment.
func decode(payload []byte) any {
	if !utf8.Valid(payload) {
		return payload
	}
	// Most text is told apart here, without the cost of a JSON error.
	if !mayBeJSON(payload) {
		return string(payload)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return string(payload)
	}
	if _, err := d.Token(); err != io.EOF { // "21 22" is no JSON
		return string(payload)
	}
	v, ok := withNumbers(v)
	if !ok {
		return string(payload)
	}
	return v
}

// mayBeJSON looks at the first character.
func mayBeJSON(payload []byte) bool {
	text := bytes.TrimLeft(payload, " \t\r\n")
	return len(text) > 0 && bytes.IndexByte([]byte(`{["-0123456789tfn`), text[0]) >= 0
}

// withNumbers replaces the numbers of a JSON value, in place. It is false for a
// number that no float64 holds.
func withNumbers(v any) (any, bool) {
	ok := true
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			if v[i], ok = withNumbers(v[i]); !ok {
				return nil, false
			}
		}
	case map[string]any:
		for key := range v {
			if v[key], ok = withNumbers(v[key]); !ok {
				return nil, false
			}
		}
	}
	return v, true
}

// exact is up to where every whole number is a float64 of its own.
const exact = 1 << 53

func number(n json.Number) (any, bool) {
	if i, err := strconv.ParseInt(string(n), 10, strconv.IntSize); err == nil {
		return int(i), true
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return nil, false
	}
	if f == math.Trunc(f) && math.Abs(f) <= min(exact, math.MaxInt) {
		return int(f), true
	}
	return f, true
}

// Float returns a number, an int or a float64 of a decoded value, as float64.
// ok is false for anything else.
func Float(v any) (f float64, ok bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}
