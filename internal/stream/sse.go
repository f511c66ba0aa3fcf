package stream

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// sse is server-sent events: an id line with the cursor, and the object as
// data.
type sse struct {
	chunked
	every time.Duration
	shown time.Time // when it last showed life; the shard's
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

// AppendFrame frames a control object as a named event. A cursor alone sets
// the browser's last event id, without an event.
func (s *sse) AppendFrame(dst []byte, f outbox.Frame) []byte {
	dst, start := s.begin(dst)
	if f.Kind != "" {
		dst = appendLine(dst, "event: ", f.Kind)
	}
	if f.Cursor != "" {
		dst = appendLine(dst, "id: ", f.Cursor)
	}
	if f.Kind != "" {
		dst = appendLine(dst, "data: ", f.Body)
	}
	return s.end(append(dst, '\n'), start)
}

func appendLine[T ~string | ~[]byte](dst []byte, field string, value T) []byte {
	return append(append(append(dst, field...), value...), '\n')
}

// KeepAlive is a comment.
func (s *sse) KeepAlive(now time.Time) []byte {
	if now.Sub(s.shown) < s.every {
		return nil
	}
	s.shown = now
	dst, start := s.begin(nil)
	return s.end(append(dst, ":\n\n"...), start)
}

// AppendClose ends the response in order, and says so when it is because of who
// reads it.
func (s *sse) AppendClose(dst []byte, why outbox.CloseReason) []byte {
	if ofReader(why) {
		dst = s.AppendFrame(dst, expired)
	}
	return s.last(dst)
}
