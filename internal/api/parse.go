package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// scanObject calls field for every member of the one JSON object in body,
// which must be UTF-8 without duplicate keys, lone surrogates or anything
// behind it. The value aliases body. field reports whether it knows the name.
func scanObject(body []byte, field func(name string, value jsontext.Value) bool) *wire.Problem {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return problem(wire.CodeEmptyBody, "The body is empty; send a JSON object.")
	case !utf8.Valid(body):
		return problem(wire.CodeInvalidUTF8, "The JSON has bytes that are not UTF-8; send binary payloads as base64.")
	case wire.TooDeep(trimmed):
		return problem(wire.CodeTooDeep, "The JSON is nested more than 64 levels deep.")
	case trimmed[0] != '{' && json.Valid(trimmed):
		return problem(wire.CodeNotAnObject, "The body is valid JSON, but not an object.")
	}
	parser := parsers.Get().(*parser)
	defer parser.free()
	dec := parser.over(trimmed)
	offset := len(body) - len(trimmed)
	if _, err := dec.ReadToken(); err != nil {
		return syntaxProblem(err, dec, offset, trimmed)
	}
	var unknown []wire.FieldError
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return syntaxProblem(err, dec, offset, trimmed)
		}
		name := tok.String()
		value, err := dec.ReadValue()
		if err != nil {
			return syntaxProblem(err, dec, offset, trimmed)
		}
		if !field(name, value) && len(unknown) < maxFieldErrors {
			unknown = append(unknown, wire.FieldError{Pointer: "/" + pointerEscape(name), Detail: "There is no such field here."})
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return syntaxProblem(err, dec, offset, trimmed)
	}
	if rest := trimmed[dec.InputOffset():]; len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return problem(wire.CodeTrailingData, fmt.Sprintf("The object ends at byte %d, but more follows.", offset+int(dec.InputOffset())))
	}
	if len(unknown) > 0 {
		return problem(wire.CodeUnknownField, "The object has a field that does not exist here; names are case-sensitive.", unknown...)
	}
	return nil
}

// parser is a decoder that is used again.
type parser struct {
	buf bytes.Buffer
	dec jsontext.Decoder
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

// over makes the decoder read b, without copying it.
func (p *parser) over(b []byte) *jsontext.Decoder {
	p.buf = *bytes.NewBuffer(b)
	p.dec.Reset(&p.buf)
	return &p.dec
}

func (p *parser) free() {
	p.buf = bytes.Buffer{}
	p.dec.Reset(&p.buf)
	parsers.Put(p)
}

// syntaxProblem says what is wrong with the JSON without repeating any of it.
func syntaxProblem(err error, dec *jsontext.Decoder, offset int, body []byte) *wire.Problem {
	at := offset + int(dec.InputOffset())
	switch {
	case bytes.HasPrefix(body, byteOrderMark):
		return markedProblem()
	case errors.Is(err, jsontext.ErrDuplicateName):
		return problem(wire.CodeDuplicateKey, fmt.Sprintf("An object has the same key twice, near byte %d.", at))
	case json.Valid(body):
		// Grammar and UTF-8 are fine, so a \u escape is half of a pair.
		return problem(wire.CodeInvalidUnicode, fmt.Sprintf("A string near byte %d has half of a surrogate pair.", at))
	}
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		at = offset + int(syn.ByteOffset)
	}
	return problem(wire.CodeInvalidJSON, fmt.Sprintf("The JSON breaks off or is malformed at byte %d.", at))
}

// byteOrderMark is U+FEFF in UTF-8, as some editors write it in front of a text.
var byteOrderMark = []byte("\xEF\xBB\xBF")

func markedProblem() *wire.Problem {
	return problem(wire.CodeInvalidJSON, "The JSON begins with a byte-order mark (EF BB BF); send it without (RFC 8259, 8.1).")
}

// maxFieldErrors is how many fields one problem lists at most.
const maxFieldErrors = 16

// pointerEscape makes name one token of a JSON pointer (RFC 6901).
func pointerEscape(name string) string {
	const maxName = 64
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "") + "…"
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// publication is a message to be published.
type publication struct {
	requestID string  // of the request that brings it, for the log
	by        *caller // set by mayPublish
	topic     string
	payload   []byte
	counted   bool // the payload is the request's body, which is counted until its end
	qos       byte
	retain    bool
	given     *given // properties; nil: none
}

// publishFields are the members of a publish object, still raw.
type publishFields struct {
	topic, payload, encoding, qos, retain jsontext.Value

	properties propertyFields
}

func (f *publishFields) set(name string, value jsontext.Value) bool {
	switch name {
	case wire.FieldTopic:
		f.topic = value
	case wire.FieldPayload:
		f.payload = value
	case wire.FieldEncoding:
		f.encoding = value
	case wire.FieldQoS:
		f.qos = value
	case wire.FieldRetain:
		f.retain = value
	default:
		return f.properties.set(name, value)
	}
	return true
}

// publication checks the fields, all of them, and gives the message.
func (f *publishFields) publication(maxPayload int) (*publication, *wire.Problem) {
	p := &publication{qos: 1}
	var wrong []*wire.Problem
	note := func(bad *wire.Problem) {
		if bad != nil {
			wrong = append(wrong, bad)
		}
	}
	switch name, ok := stringValue(f.topic); {
	case f.topic == nil:
		note(fieldProblem(wire.CodeTopicRequired, "/topic", "The topic is missing."))
	case !ok:
		note(fieldProblem(wire.CodeInvalidTopic, "/topic", "The topic must be a string."))
	default:
		p.topic = name
		if err := topic.CheckName(name); err != nil {
			note(problemAt("/topic", err))
		}
	}
	switch string(f.qos) {
	case "", "1":
	case "0", "2":
		p.qos = f.qos[0] - '0'
	default:
		note(invalidQoS())
	}
	switch string(f.retain) {
	case "", "false":
	case "true":
		p.retain = true
	default:
		note(invalidRetain())
	}
	payload, bad := f.payloadBytes(maxPayload)
	note(bad)
	p.payload = payload
	if bad == nil && p.retain && len(payload) == 0 {
		note(wouldClear("/payload"))
	}
	p.given, bad = f.properties.read()
	note(bad)
	return p, merge(wrong)
}

func wouldClear(pointer string) *wire.Problem {
	return fieldProblem(wire.CodeWouldClearRetained, pointer, "An empty retained payload would delete the retained message; if that is what you want, DELETE the topic.")
}

// payloadBytes gives the bytes to publish.
func (f *publishFields) payloadBytes(maxPayload int) ([]byte, *wire.Problem) {
	if f.payload == nil {
		return nil, fieldProblem(wire.CodePayloadRequired, "/payload", "The payload is missing; an empty string is allowed.")
	}
	encoding, ok := "", true
	if f.encoding != nil {
		encoding, ok = stringValue(f.encoding)
		ok = ok && encoding != ""
	}
	text, isString := stringBytes(f.payload)
	var payload []byte
	switch {
	case !ok || encoding != "" && encoding != wire.EncodingJSON && encoding != wire.EncodingText && encoding != wire.EncodingBase64:
		return nil, fieldProblem(wire.CodeInvalidEncoding, "/encoding", "The encoding must be json, text or base64.")
	case encoding == wire.EncodingJSON, encoding == "" && !isString:
		payload = bytes.Clone(f.payload)
	case !isString:
		return nil, fieldProblem(wire.CodeInvalidPayload, "/payload", "With this encoding the payload must be a string.")
	case encoding == wire.EncodingBase64:
		var err error
		payload, err = base64.StdEncoding.Strict().AppendDecode(nil, text)
		if err != nil || bytes.ContainsAny(text, "\r\n") {
			return nil, fieldProblem(wire.CodeInvalidBase64, "/payload", "The payload is not base64 in the standard alphabet with padding.")
		}
	default:
		payload = bytes.Clone(text)
	}
	if len(payload) > maxPayload {
		return nil, payloadTooLarge(maxPayload)
	}
	return payload, nil
}

func payloadTooLarge(limit int) *wire.Problem {
	return fieldProblem(wire.CodePayloadTooLarge, "/payload", fmt.Sprintf("The payload has more than %d bytes.", limit))
}

// stringValue gives the text of a JSON string.
func stringValue(v jsontext.Value) (string, bool) {
	b, ok := stringBytes(v)
	return string(b), ok
}

// stringBytes is stringValue; the bytes may be those of v.
func stringBytes(v jsontext.Value) ([]byte, bool) {
	if len(v) < 2 || v[0] != '"' {
		return nil, false
	}
	if inner := v[1 : len(v)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return b, err == nil
}
