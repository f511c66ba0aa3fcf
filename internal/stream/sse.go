package stream

import (
	"strconv"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// sse is server-sent events: an id line with the cursor, and the object as
// data.
type sse struct {
	chunked
	life
	retry int // milliseconds until the client may come back, told with the ack
}

// Name implements Codec, as do the methods below.
func (*sse) Name() string { return string(FormatSSE) }

// Framing: the same bytes for everybody who reads chunks, or who does not.
func (s *sse) Framing() string { return s.framing(FormatSSE) }

// AppendMessage frames a message.
func (s *sse) AppendMessage(dst []byte, _ *message.Message, body []byte) []byte {
	dst, start := s.begin(dst)
	if cursor := wire.CursorOf(body); len(cursor) > 0 {
		dst = appendLine(dst, "id: ", cursor)
	}
	return s.end(append(appendLine(dst, "data: ", body), '\n'), start)
}

// AppendFrame frames a control object as a named event. Every block of lines
// has data: what the standard ignores without it, common readers take for an
// empty event. So a cursor alone is an event, too, and retry stands in the
// ack.
func (s *sse) AppendFrame(dst []byte, f outbox.Frame) []byte {
	dst, start := s.begin(dst)
	if f.Kind == wire.TypeAck {
		dst = appendLine(dst, "retry: ", strconv.Itoa(s.retry))
	}
	kind, body := f.Kind, f.Body
	if kind == "" {
		kind, body = eventCursor, empty
	}
	dst = appendLine(dst, "event: ", kind)
	if f.Cursor != "" {
		dst = appendLine(dst, "id: ", f.Cursor)
	}
	return s.end(append(appendLine(dst, "data: ", body), '\n'), start)
}

// Names of events that have no object.
const (
	eventCursor    = "cursor"    // its id is the place to resume from
	eventKeepAlive = "keepalive" // the stream lives
)

var empty = []byte("{}") // nobody changes it

func appendLine[T ~string | ~[]byte](dst []byte, field string, value T) []byte {
	return append(append(append(dst, field...), value...), '\n')
}

// KeepAlive is an event without an id, so that a page can tell a dead stream
// from a quiet one.
func (s *sse) KeepAlive(now time.Time) []byte {
	if !s.due(now) {
		return nil
	}
	dst, start := s.begin(nil)
	return s.end(append(dst, "event: "+eventKeepAlive+"\ndata: {}\n\n"...), start)
}

// AppendClose ends the response in order, and says so when it is because of who
// reads it.
func (s *sse) AppendClose(dst []byte, why outbox.CloseReason) []byte {
	if ofReader(why) {
		dst = s.AppendFrame(dst, expired)
	}
	return s.last(dst)
}
