package decode

import (
	"bytes"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/wire"
)

const (
	problemJSON   = "The payload is not valid JSON."
	problemNumber = "The payload is not a decimal number of at most 1000 characters."
	problemBool   = "The payload is none of the words for on and off."
)

// asciiSpace is the white space that may stand around a number or a word.
const asciiSpace = " \t\n\v\f\r"

// jsonFormat compacts a JSON text. Numbers and strings stay as they stand.
func jsonFormat(w *writer, payload []byte) (problem string) {
	if len(payload) == 0 {
		return problemEmpty
	}
	if wire.TooDeep(payload) {
		return problemTooDeep
	}
	out, err := jsontext.AppendFormat(w.b, payload, jsontext.PreserveRawStrings(true))
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return problemDuplicate
	case err != nil:
		return problemJSON
	}
	w.b = out
	return ""
}

func textFormat(w *writer, payload []byte) (problem string) { return w.text(payload) }

func hexFormat(w *writer, payload []byte) (problem string) {
	w.hex(payload)
	return ""
}

// number rewrites a decimal number as JSON has it: without a plus, with one
// digit at least before the point, without zeros in front. Its digits stay.
func number(w *writer, payload []byte) (problem string) {
	s := bytes.Trim(payload, asciiSpace)
	if len(s) == 0 {
		return problemEmpty
	}
	if len(s) > maxDigits {
		return problemNumber
	}
	switch s[0] {
	case '-':
		w.raw("-")
		s = s[1:]
	case '+':
		s = s[1:]
	}
	whole, s := digits(s)
	var fraction []byte
	if len(s) > 0 && s[0] == '.' {
		if fraction, s = digits(s[1:]); len(fraction) == 0 {
			return problemNumber
		}
	}
	if len(whole)+len(fraction) == 0 {
		return problemNumber
	}
	if whole = bytes.TrimLeft(whole, "0"); len(whole) == 0 {
		whole = []byte("0")
	}
	w.b = append(w.b, whole...)
	if len(fraction) > 0 {
		w.b = append(append(w.b, '.'), fraction...)
	}
	return exponent(w, s)
}

// exponent writes what stands behind the digits of a number: an exponent, or
// nothing.
func exponent(w *writer, s []byte) (problem string) {
	if len(s) == 0 {
		return ""
	}
	if s[0] != 'e' && s[0] != 'E' {
		return problemNumber
	}
	w.raw("e")
	if s = s[1:]; len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		if s[0] == '-' {
			w.raw("-")
		}
		s = s[1:]
	}
	power, rest := digits(s)
	if len(power) == 0 || len(rest) > 0 {
		return problemNumber
	}
	w.b = append(w.b, power...)
	return ""
}

// digits cuts s behind its leading decimal digits.
func digits(s []byte) (head, rest []byte) {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return s[:n], s[n:]
}

// The words of bool, unless the rule has its own.
var (
	onWords  = []string{"true", "on", "1", "yes"}
	offWords = []string{"false", "off", "0", "no"}
)

// maxWord is the longest word in bytes.
const maxWord = 64

// fold makes words that differ in case only the same.
func fold(word string) string { return strings.ToLower(word) }

// boolFormat knows words, in any case, and what they mean.
func boolFormat(words map[string]bool) format {
	return func(w *writer, payload []byte) (problem string) {
		s := bytes.Trim(payload, asciiSpace)
		if len(s) == 0 {
			return problemEmpty
		}
		if len(s) > 2*maxWord { // upper case may take more bytes
			return problemBool
		}
		v, known := words[fold(string(s))]
		if !known {
			return problemBool
		}
		w.bool(v)
		return ""
	}
}
