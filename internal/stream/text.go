package stream

import (
	"bytes"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// text is one payload a line.
type text struct{ chunked }

// Name implements Codec, as do the methods below.
func (text) Name() string { return string(FormatText) }

// Framing: the same bytes for everybody who reads chunks, or who does not.
func (t text) Framing() string { return t.framing(FormatText) }

// AppendMessage frames a message.
func (t text) AppendMessage(dst []byte, m *message.Message, _ []byte) []byte {
	dst, start := t.begin(dst)
	return t.end(append(appendText(dst, m), '\n'), start)
}

// AppendFrame: plain text has no room for control objects.
func (text) AppendFrame(dst []byte, _ outbox.Frame) []byte { return dst }

// KeepAlive: a line is a payload, so nothing else can be sent.
func (text) KeepAlive(time.Time) []byte { return nil }

// AppendClose ends the response in order.
func (t text) AppendClose(dst []byte, _ outbox.CloseReason) []byte { return t.last(dst) }

// appendText appends the payload as one line: as it is, or as its JSON string
// when it has a line break or is not UTF-8.
func appendText(dst []byte, m *message.Message) []byte {
	value, encoding := m.Payload()
	if encoding != wire.EncodingText {
		return append(dst, value...)
	}
	if inner := value[1 : len(value)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return append(dst, inner...)
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil || strings.ContainsAny(string(text), "\r\n") {
		return append(dst, value...)
	}
	return append(dst, text...)
}
