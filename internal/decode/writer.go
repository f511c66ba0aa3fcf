package decode

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/vulturepi/gateway/wire"
)

// writer collects one JSON text up to a limit. Whoever writes in a loop looks
// at full, so that no more than one item goes over it.
type writer struct {
	b     []byte
	limit int
}

func newWriter(payload int) *writer {
	limit := min(8*payload+1024, maxValue)
	return &writer{b: make([]byte, 0, min(payload+payload/2+32, limit)), limit: limit}
}

func (w *writer) full() bool { return len(w.b) > w.limit }

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) int(i int64)   { w.b = strconv.AppendInt(w.b, i, 10) }
func (w *writer) uint(u uint64) { w.b = strconv.AppendUint(w.b, u, 10) }
func (w *writer) bool(v bool)   { w.b = strconv.AppendBool(w.b, v) }

// text writes a string, unless it is no text.
func (w *writer) text(s []byte) (problem string) {
	if !utf8.Valid(s) {
		return problemUTF8
	}
	if len(w.b)+len(s) > w.limit {
		return problemValueLong
	}
	w.b = wire.AppendString(w.b, s)
	return ""
}

// base64 writes bytes as a string, in the alphabet of a message's payload.
func (w *writer) base64(b []byte) (problem string) {
	if len(w.b)+len(b) > w.limit {
		return problemValueLong
	}
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, b)
	w.b = append(w.b, '"')
	return ""
}

// hex writes bytes as a string of lowercase digits.
func (w *writer) hex(b []byte) {
	const digits = "0123456789abcdef"
	w.b = append(w.b, '"')
	for _, c := range b {
		w.b = append(w.b, digits[c>>4], digits[c&15])
	}
	w.b = append(w.b, '"')
}

// float writes the shortest decimal that reads as f again, in a number of that
// many bits. JSON has no NaN and no infinity: they are null, as JavaScript's
// JSON.stringify has it.
func (w *writer) float(f float64, bits int) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.raw("null")
		return
	}
	form := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) { // as JavaScript does
		form = 'e'
	}
	w.b = strconv.AppendFloat(w.b, f, form, -1, bits)
}

// time writes a time in UTC. RFC 3339 has years of four digits.
func (w *writer) time(t time.Time) (problem string) {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return problemTime
	}
	w.b = append(w.b, '"')
	w.b = t.AppendFormat(w.b, time.RFC3339Nano)
	w.b = append(w.b, '"')
	return ""
}

// keys finds out whether a map has the same key twice. Its cost is bounded by
// the payload's length, whatever the map claims to hold.
type keys map[string]struct{}

// add is false if the key was there already. Key is how it stands in the JSON
// text, so that the number 1 and the text "1" are the same.
func (k *keys) add(key []byte) bool {
	if *k == nil {
		*k = keys{}
	}
	if _, twice := (*k)[string(key)]; twice {
		return false
	}
	(*k)[string(key)] = struct{}{}
	return true
}
