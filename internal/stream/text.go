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

// text is one payload a line. With notes all other frames are lines that begin
// with noteMark.
type text struct {
	chunked
	life
	notes bool
}

const noteMark = "# "

// Name implements Codec, as do the methods below.
func (*text) Name() string { return string(FormatText) }

// marked reports whether there may be lines that are notes, of any kind.
func (t *text) marked() bool { return t.notes || t.every > 0 }

// Framing: the same bytes for everybody who reads chunks, or who does not.
func (t *text) Framing() string {
	if t.marked() {
		return t.framing(FormatText) + " with notes"
	}
	return t.framing(FormatText)
}

// AppendMessage frames a message.
func (t *text) AppendMessage(dst []byte, m *message.Message, _ []byte) []byte {
	dst, start := t.begin(dst)
	return t.end(append(t.appendText(dst, m), '\n'), start)
}

// AppendFrame: without notes there is no room for control objects.
func (t *text) AppendFrame(dst []byte, f outbox.Frame) []byte {
	if !t.notes || f.Kind == "" {
		return dst
	}
	return t.note(dst, f.Body)
}

func (t *text) note(dst, body []byte) []byte {
	dst, start := t.begin(dst)
	return t.end(appendLine(dst, noteMark, body), start)
}

// KeepAlive is a note, for a client that has asked for it.
func (t *text) KeepAlive(now time.Time) []byte {
	if !t.due(now) {
		return nil
	}
	return t.note(nil, []byte(eventKeepAlive))
}

// AppendClose ends the response in order. With notes it says so when it is
// because of who reads it.
func (t *text) AppendClose(dst []byte, why outbox.CloseReason) []byte {
	if ofReader(why) {
		dst = t.AppendFrame(dst, expired)
	}
	return t.last(dst)
}

// appendText appends the payload as one line: as it is, or as its JSON string
// when it has a line break, is not UTF-8, or would be taken for a note.
func (t *text) appendText(dst []byte, m *message.Message) []byte {
	value, encoding := m.Payload()
	if encoding != wire.EncodingText {
		return append(dst, value...)
	}
	if t.marked() && bytes.HasPrefix(value[1:], []byte(noteMark)) {
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
