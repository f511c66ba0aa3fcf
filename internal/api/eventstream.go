package api

import (
	"bytes"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// commentEvery is how often an idle SSE stream shows life.
const commentEvery = 15 * time.Second

// eventStream is one /events response: the hub's Transport.
type eventStream struct {
	*socket
	format  streamFormat
	chunked bool

	lastComment time.Time // the shard's
}

// Name implements hub.Transport, as do the methods below.
func (e *eventStream) Name() string { return e.format.String() }

// Silent: a stream's client never speaks. TCP keep-alive and the write
// deadline find the dead.
func (e *eventStream) Silent(time.Time) bool { return false }

// KeepAlive is a comment, in SSE.
func (e *eventStream) KeepAlive(now time.Time) []byte {
	if e.format != formatSSE || now.Sub(e.lastComment) < commentEvery {
		return nil
	}
	e.lastComment = now
	return e.appendChunk(nil, func(dst []byte) []byte { return append(dst, ":\n\n"...) })
}

// Framing is the format, with chunks around it or without.
func (e *eventStream) Framing() string {
	if e.chunked {
		return e.format.String() + " in chunks"
	}
	return e.format.String()
}

// AppendMessage frames a message.
func (e *eventStream) AppendMessage(dst []byte, m *hub.Message, body []byte) []byte {
	return e.appendChunk(dst, func(dst []byte) []byte {
		switch e.format {
		case formatSSE:
			if cursor := cursorOf(body); len(cursor) > 0 {
				dst = append(append(append(dst, "id: "...), cursor...), '\n')
			}
			return append(append(append(dst, "data: "...), body...), "\n\n"...)
		case formatText:
			return append(appendText(dst, m), '\n')
		default:
			return append(append(dst, body...), '\n')
		}
	})
}

// AppendFrame frames a control object: a named event, or a line. Plain text
// has no room for them.
func (e *eventStream) AppendFrame(dst []byte, f hub.Frame) []byte {
	return e.appendChunk(dst, func(dst []byte) []byte {
		switch e.format {
		case formatSSE:
			if f.Kind == "" { // sets the browser's last event id, without an event
				return append(append(append(dst, "id: "...), f.Cursor...), "\n\n"...)
			}
			dst = append(append(append(dst, "event: "...), f.Kind...), '\n')
			if f.Cursor != "" {
				dst = append(append(append(dst, "id: "...), f.Cursor...), '\n')
			}
			return append(append(append(dst, "data: "...), f.Body...), "\n\n"...)
		default:
			if f.Kind == "" || e.format == formatText {
				return dst
			}
			return append(append(dst, f.Body...), '\n')
		}
	})
}

// AppendClose ends the response in order.
func (e *eventStream) AppendClose(dst []byte, _ hub.CloseReason) []byte {
	if e.chunked {
		return append(dst, "0\r\n\r\n"...)
	}
	return dst
}

// cursorOf cuts the cursor, the last field, out of a message object; nil if it
// has none.
func cursorOf(body []byte) []byte {
	end := len(body) - len(`"}`)
	if end < 0 || body[end] != '"' {
		return nil
	}
	start := bytes.LastIndexByte(body[:end], '"') + 1
	if !bytes.HasSuffix(body[:start], []byte(`,"cursor":"`)) {
		return nil
	}
	return body[start:end]
}

// appendText appends the payload as one line: as it is, or as its JSON string
// when it has a line break or is not UTF-8.
func appendText(dst []byte, m *hub.Message) []byte {
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
