package stream

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
)

// ndjson is one JSON object a line.
type ndjson struct {
	chunked
	life
}

// Name implements Codec, as do the methods below.
func (*ndjson) Name() string { return string(FormatNDJSON) }

// Framing: the same bytes for everybody who reads chunks, or who does not.
func (n *ndjson) Framing() string { return n.framing(FormatNDJSON) }

// AppendMessage frames a message.
func (n *ndjson) AppendMessage(dst []byte, _ *message.Message, body []byte) []byte {
	return n.line(dst, body)
}

// AppendFrame frames a control object: a line like any other. A cursor cannot
// stand alone.
func (n *ndjson) AppendFrame(dst []byte, f outbox.Frame) []byte {
	if f.Kind == "" {
		return dst
	}
	return n.line(dst, f.Body)
}

func (n *ndjson) line(dst, object []byte) []byte {
	dst, start := n.begin(dst)
	return n.end(append(append(dst, object...), '\n'), start)
}

// KeepAlive is an object, for a client that has asked for it.
func (n *ndjson) KeepAlive(now time.Time) []byte {
	if !n.due(now) {
		return nil
	}
	return n.line(nil, []byte(`{"type":"`+eventKeepAlive+`"}`))
}

// AppendClose ends the response in order, and says so when it is because of who
// reads it.
func (n *ndjson) AppendClose(dst []byte, why outbox.CloseReason) []byte {
	if ofReader(why) {
		dst = n.AppendFrame(dst, expired)
	}
	return n.last(dst)
}
