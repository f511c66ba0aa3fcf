// Package wire is the JSON that the gateway and its clients exchange: messages,
// control frames and problems. Server and client share it, so there is one
// truth about every field name.
package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Encodings of a payload inside a message. All three are lossless.
const (
	// EncodingJSON: the payload is one JSON text without line breaks or white
	// space around it, embedded as it is.
	EncodingJSON = "json"
	// EncodingText: any other valid UTF-8, as a JSON string.
	EncodingText = "text"
	// EncodingBase64: everything else, standard alphabet, padded.
	EncodingBase64 = "base64"
)

// Message is a message as a client reads it.
type Message struct {
	Type     string          `json:"type"` // TypeMessage
	Topic    string          `json:"topic"`
	Payload  json.RawMessage `json:"payload"`
	Encoding string          `json:"encoding"` // one of the Encoding constants
	// Value is what the payload means, where the gateway has a decoder for the
	// topic: one JSON value, null among them. Without one it is empty.
	Value json.RawMessage `json:"value,omitempty"`
	// DecodeError says instead why the payload is not what its decoder expects.
	DecodeError string `json:"decode_error,omitempty"`
	QoS         byte   `json:"qos"`
	// Retain is true only on a copy that the broker keeps as retained.
	Retain bool `json:"retain"`
	// Time is when the gateway received the message, UTC, microseconds.
	Time time.Time `json:"time"`
	// ContentType to UserProperties are properties of MQTT 5. Expiry is a
	// duration: how long the message may still wait at the broker.
	ContentType    string             `json:"content_type,omitempty"`
	Expiry         string             `json:"expiry,omitempty"`
	ResponseTopic  string             `json:"response_topic,omitempty"`
	Correlation    []byte             `json:"correlation,omitempty"`
	UserProperties map[string]Strings `json:"user_properties,omitempty"`
	// Skipped counts the messages that min_interval held back before this one.
	Skipped int `json:"skipped,omitempty"`
	// Cursor is opaque; retained and snapshot copies have none.
	Cursor string `json:"cursor,omitempty"`
}

// Bytes gives the payload byte for byte as it was published.
func (m *Message) Bytes() ([]byte, error) {
	return DecodePayload(m.Payload, m.Encoding)
}

// DecodePayload turns an embedded payload back into its bytes.
func DecodePayload(payload []byte, encoding string) ([]byte, error) {
	if encoding == EncodingJSON {
		return payload, nil
	}
	var s string
	if err := json.Unmarshal(payload, &s); err != nil || len(payload) == 0 || payload[0] != '"' {
		return nil, fmt.Errorf("payload with encoding %q is not a JSON string", encoding)
	}
	switch encoding {
	case EncodingText:
		return []byte(s), nil
	case EncodingBase64:
		if strings.ContainsAny(s, "\r\n") { // which the decoder would skip
			return nil, errors.New("payload has line breaks in its base64")
		}
		return base64.StdEncoding.Strict().DecodeString(s)
	}
	return nil, errors.New("unknown payload encoding")
}

// PayloadEncoding tells how payload is embedded in a message.
func PayloadEncoding(payload []byte) string {
	switch {
	case !utf8.Valid(payload):
		return EncodingBase64
	case embeddable(payload):
		return EncodingJSON
	default:
		return EncodingText
	}
}

// maxDepth is how deep a payload may nest and still be embedded as JSON:
// readers have limits, and a deeper one must not make the message unreadable.
const maxDepth = 64

// TooDeep reports whether b, valid JSON or not, nests deeper than 64 levels.
func TooDeep(b []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// embeddable reports whether payload is one JSON text that may stand inside a
// single line: no line breaks, no white space around it, not too deep.
func embeddable(payload []byte) bool {
	if len(payload) == 0 {
		return false
	}
	// What is plainly no JSON is told by its ends: json.Valid would format an
	// error about it.
	last := payload[len(payload)-1]
	switch c := payload[0]; {
	case c == '{':
		if last != '}' || TooDeep(payload) {
			return false
		}
	case c == '[':
		if last != ']' || TooDeep(payload) {
			return false
		}
	case c == '"':
		if last != '"' {
			return false
		}
	case c == '-', '0' <= c && c <= '9':
		if len(bytes.Trim(payload, "+-.0123456789Ee")) > 0 {
			return false
		}
	default:
		switch string(payload) {
		case "true", "false", "null":
			return true
		}
		return false
	}
	return bytes.IndexByte(payload, '\n') < 0 && bytes.IndexByte(payload, '\r') < 0 && json.Valid(payload)
}

// Fields are the parts of a message that AppendMessage encodes.
type Fields struct {
	Topic   string // valid UTF-8
	Payload []byte
	// Value is the decoded payload, one JSON text without line breaks. Without
	// one DecodeError says why there is none, in valid UTF-8. Both are empty
	// where there is no decoder.
	Value       []byte
	DecodeError string
	QoS         byte
	Retain      bool
	Time        time.Time
	Properties  *Properties // nil: none; strings in them are valid UTF-8
	Epoch       string      // with Seq the cursor; empty: no cursor
	Seq         uint64
}

// Layout says where the parts of an encoded message stand, so that variants
// are cut from it instead of being encoded again.
type Layout struct {
	Payload, PayloadEnd int    // the embedded payload
	Encoding            string // its encoding
	Retain              int    // the value of "retain"
	Properties          int    // the properties, up to Cut
	Cut                 int    // everything before the cursor; adding "}" makes the message without it
}

// AppendMessage appends the JSON object of f to dst. Offsets in the layout
// count from the start of the object.
func AppendMessage(dst []byte, f *Fields) ([]byte, Layout) {
	var l Layout
	start := len(dst)
	dst = append(dst, `{"type":"message","topic":`...)
	dst = AppendString(dst, f.Topic)
	dst = append(dst, `,"payload":`...)
	l.Payload = len(dst) - start
	l.Encoding = PayloadEncoding(f.Payload)
	switch l.Encoding {
	case EncodingJSON:
		dst = append(dst, f.Payload...)
	case EncodingText:
		dst = AppendString(dst, f.Payload)
	default:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, f.Payload)
		dst = append(dst, '"')
	}
	l.PayloadEnd = len(dst) - start
	dst = append(dst, `,"encoding":"`...)
	dst = append(dst, l.Encoding...)
	dst = append(dst, '"')
	if len(f.Value) > 0 {
		dst = append(append(dst, `,"value":`...), f.Value...)
	} else if f.DecodeError != "" {
		dst = AppendString(append(dst, `,"decode_error":`...), f.DecodeError)
	}
	dst = append(dst, `,"qos":`...)
	dst = append(dst, '0'+f.QoS)
	dst = append(dst, `,"retain":`...)
	l.Retain = len(dst) - start
	dst = strconv.AppendBool(dst, f.Retain)
	dst = append(dst, `,"time":"`...)
	dst = AppendTime(dst, f.Time)
	dst = append(dst, '"')
	l.Properties = len(dst) - start
	if f.Properties != nil {
		dst = f.Properties.append(dst)
	}
	l.Cut = len(dst) - start
	if f.Epoch != "" {
		dst = append(dst, `,"cursor":"`...)
		dst = AppendCursor(dst, f.Epoch, f.Seq)
		dst = append(dst, '"')
	}
	return append(dst, '}'), l
}

// AppendCursor appends `<epoch>-<sequence>`.
func AppendCursor(dst []byte, epoch string, seq uint64) []byte {
	dst = append(dst, epoch...)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, seq, 10)
}

// CursorOf cuts the cursor, the last field, out of a message object as
// AppendMessage writes it; nil if it has none.
func CursorOf(object []byte) []byte {
	end := len(object) - len(`"}`)
	if end < 0 || object[end] != '"' {
		return nil
	}
	start := bytes.LastIndexByte(object[:end], '"') + 1
	if !bytes.HasSuffix(object[:start], []byte(`,"cursor":"`)) {
		return nil
	}
	return object[start:end]
}

// AppendTime appends t in UTC with microseconds (RFC 3339).
func AppendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	dst = t.AppendFormat(dst, time.RFC3339) // which package time has a short way for
	dst[len(dst)-1] = '.'
	fraction := t.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+fraction/unit%10))
	}
	return append(dst, 'Z')
}

const hexDigits = "0123456789abcdef"

// AppendString appends s, which must be valid UTF-8, as a JSON string
// (RFC 8259 section 7), escaping no more than it has to.
func AppendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
