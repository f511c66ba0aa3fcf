// Package decode turns payloads into JSON values, by rules that say which
// topics have which format. It is pure: it knows neither MQTT nor HTTP nor
// where the rules come from, and a value follows from the payload's bytes
// alone.
//
// Payloads are hostile. What a payload claims about lengths is believed only
// as far as there are bytes, nesting ends at 64 levels, and a value is at most
// 8 times as long as its payload.
package decode

import "github.com/vulturepi/gateway/internal/topic"

const (
	// maxPayload is the longest payload that is looked at.
	maxPayload = 1 << 20
	// maxValue is the longest value, however long the payload is.
	maxValue = 1 << 20
	// maxDepth is how deep arrays and maps nest, as in a message's payload.
	maxDepth = 64
	// maxDigits bounds the numbers that some readers of JSON refuse whole
	// messages for.
	maxDigits = 1000
)

// What is said about payloads of every format. Problems are fixed sentences:
// they go to clients and must not carry anything of the payload.
const (
	problemTooLong   = "The payload is longer than 1 MiB, and no decoder reads more."
	problemValueLong = "The decoded value would be too long."
	problemEmpty     = "The payload is empty."
	problemTooDeep   = "The payload is nested more than 64 levels deep."
	problemUTF8      = "The payload has text that is not valid UTF-8."
	problemDuplicate = "The payload has a map with the same key twice."
	problemShort     = "The payload ends too early."
	problemTrailing  = "The payload goes on behind the value."
	problemTime      = "The payload has a time that is malformed or outside of the years 0 to 9999."
)

// format appends the value of a payload to w, or returns the problem with it.
type format func(w *writer, payload []byte) (problem string)

// Rules say how the payloads of which topics are decoded. They do not change,
// so any number of goroutines may use them. A nil *Rules decodes nothing.
type Rules struct {
	filters topic.Trie[int] // numbers of formats
	formats []format        // in the order of the file
}

// Len is the number of rules.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.formats)
}

// Decode decodes a payload by the first rule, in the order of the file, whose
// filter matches the topic. Value is one JSON text without line breaks. When
// the payload is not what the rule says, problem is a sentence that says why.
// Both are empty when no rule matches.
func (r *Rules) Decode(topic string, payload []byte) (value []byte, problem string) {
	if r == nil {
		return nil, ""
	}
	first := len(r.formats)
	for _, numbers := range r.filters.Match(nil, topic) {
		for _, n := range numbers {
			first = min(first, n)
		}
	}
	if first == len(r.formats) {
		return nil, ""
	}
	return apply(r.formats[first], payload)
}

func apply(f format, payload []byte) (value []byte, problem string) {
	if len(payload) > maxPayload {
		return nil, problemTooLong
	}
	w := newWriter(len(payload))
	if problem = f(w, payload); problem != "" {
		return nil, problem
	}
	if w.full() {
		return nil, problemValueLong
	}
	return w.b, ""
}
