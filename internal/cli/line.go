package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// appendObject appends the JSON object of a message, as the gateway writes it,
// and a line break.
func appendObject(dst []byte, m *client.Message) []byte {
	fields := &wire.Fields{
		Topic: m.Topic, Payload: m.Payload, Value: m.Value, DecodeError: m.DecodeError, QoS: m.QoS, Retain: m.Retain, Time: m.Time,
		Properties: properties(m),
	}
	dst, _ = wire.AppendMessage(dst, fields)
	dst = dst[:len(dst)-1]
	if m.Skipped > 0 {
		dst = strconv.AppendInt(append(dst, `,"skipped":`...), int64(m.Skipped), 10)
	}
	if m.Cursor != "" {
		dst = wire.AppendString(append(dst, `,"cursor":`...), m.Cursor)
	}
	return append(dst, "}\n"...)
}

// properties are what MQTT 5 says about a message.
func properties(m *client.Message) *wire.Properties {
	p := &wire.Properties{
		ContentType: m.ContentType, Expires: m.Expiry > 0, Expiry: uint32(m.Expiry / time.Second), ResponseTopic: m.ResponseTopic, Correlation: m.Correlation,
	}
	for _, name := range slices.Sorted(maps.Keys(m.UserProperties)) {
		for _, value := range m.UserProperties[name] {
			p.User = append(p.User, wire.UserProperty{Name: name, Value: value})
		}
	}
	return p
}

// appendItem appends a message as it is published, and a line break: it says
// nothing of the gateway that it comes from.
func appendItem(dst []byte, m *client.Message) []byte {
	object, at := wire.AppendMessage(nil, &wire.Fields{Topic: m.Topic, Payload: m.Payload, Properties: properties(m)})
	dst = wire.AppendString(append(dst, `{"topic":`...), m.Topic)
	dst = append(append(dst, `,"payload":`...), object[at.Payload:at.PayloadEnd]...)
	dst = append(append(dst, `,"encoding":"`...), at.Encoding...)
	dst = strconv.AppendBool(append(dst, `","retain":`...), m.Retain)
	dst = append(dst, object[at.Properties:at.Cut]...)
	return append(dst, "}\n"...)
}

// record is one line of a file that record or export has written: a message to
// be published, or a gap.
type record struct {
	wire.Message
	Reason  string `json:"reason"` // of a gap
	payload []byte
}

// parseRecord reads a line. The payload is byte for byte what it was.
func parseRecord(line []byte) (*record, error) {
	r := &record{}
	if err := json.Unmarshal(line, r); err != nil {
		return nil, failed("it is no JSON object of a message: %v", err)
	}
	if r.Type == wire.TypeGap {
		return r, nil
	}
	if r.Type != "" && r.Type != wire.TypeMessage {
		return nil, failed("it is no message, but has the type %q", r.Type)
	}
	if r.Topic == "" || r.Payload == nil || r.Encoding == "" {
		return nil, failed("it has no topic, payload or encoding")
	}
	var err error
	if r.payload, err = r.Bytes(); err != nil {
		return nil, failed("%v", err)
	}
	return r, nil
}

// options publish the message as it was.
func (r *record) options() []client.Option {
	var all []client.Option
	if r.Retain {
		all = append(all, client.Retain())
	}
	if r.ContentType != "" {
		all = append(all, client.ContentType(r.ContentType))
	}
	if d, err := time.ParseDuration(r.Expiry); err == nil && d > 0 {
		all = append(all, client.Expiry(d))
	}
	if r.ResponseTopic != "" {
		all = append(all, client.ResponseTopic(r.ResponseTopic))
	}
	if len(r.Correlation) > 0 {
		all = append(all, client.Correlation(r.Correlation))
	}
	for name, values := range r.UserProperties {
		for _, v := range values {
			all = append(all, client.UserProperty(name, v))
		}
	}
	return all
}

// shown is a payload as a terminal shows it: on one line, and without a
// character that the terminal would obey.
func shown(payload []byte) string {
	if !utf8.Valid(payload) {
		return plural(len(payload), "byte")
	}
	return printable(string(payload))
}

// OneLine is an error or a note as a terminal shows it: parts of it may be words
// of whoever has answered.
func OneLine(s string) string { return printable(strings.ReplaceAll(s, "\n", "; ")) }

// printable escapes what is not to be seen.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escapeJSON escapes in JSON what is not to be seen. ASCII is left: of that, JSON
// has line breaks between its lines, and white space.
func escapeJSON(b []byte) []byte {
	isHidden := func(r rune) bool { return r >= 0x7f && hidden(r) }
	if bytes.IndexFunc(b, isHidden) < 0 {
		return b
	}
	var escaped []byte
	for _, r := range string(b) {
		switch {
		case !isHidden(r):
			escaped = utf8.AppendRune(escaped, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
	}
	return escaped
}

func hidden(r rune) bool { return !unicode.IsPrint(r) && r != '\u200c' && r != '\u200d' }

// cut shortens s to so many columns, and says that it has.
func cut(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	runes := []rune(s)
	return string(runes[:max(0, columns-1)]) + "…"
}
