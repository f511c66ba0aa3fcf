package gauge

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
)

// document is a payload as a JSON value; nil: it is none.
type document struct{ value any }

// read reads a payload, by the decoder of its topic if there is one. Of a
// decoder that breaks down the hub tells, which has the same message.
func (s *Set) read(name string, payload []byte) (doc document) {
	defer func() {
		if recover() != nil {
			doc = document{}
		}
	}()
	if s.opts.Decode != nil {
		value, problem := s.opts.Decode(name, payload)
		if problem != "" {
			return document{}
		}
		if value != nil {
			payload = value
		}
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	if dec.Decode(&doc.value) != nil {
		return document{}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return document{}
	}
	return doc
}

// at is the value behind the tokens of a JSON pointer, nil if there is none.
func (d document) at(path []string) any {
	v := d.value
	for _, token := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(in) || strconv.Itoa(i) != token {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// number is the value there as a number: true is 1, false is 0.
func (d document) number(path []string) (float64, bool) {
	switch v := d.at(path).(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// text is the value there as a label: a string, or a number or a boolean as it
// is written.
func (d document) text(path []string) (string, bool) {
	switch v := d.at(path).(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
