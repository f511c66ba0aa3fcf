package stream

import (
	"encoding/binary"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// NameWebSocket is the WebSocket's name in metrics.
const NameWebSocket = "websocket"

// First bytes of whole, unmasked frames (RFC 6455 section 5.2).
const (
	firstText  = 0x81
	firstClose = 0x88
	firstPing  = 0x89
)

// webSocketCodec frames for one WebSocket: a text frame for each object.
type webSocketCodec struct {
	conn     *WebSocket
	lastPing time.Time // the shard's
}

// Codec frames what is written to w.
func (w *WebSocket) Codec() outbox.Codec { return &webSocketCodec{conn: w, lastPing: time.Now()} }

// Name implements Codec, as do the methods below.
func (*webSocketCodec) Name() string { return NameWebSocket }

// Framing is the same for all WebSockets: server frames are not masked.
func (*webSocketCodec) Framing() string { return NameWebSocket }

// AppendMessage frames a message.
func (*webSocketCodec) AppendMessage(dst []byte, _ *message.Message, body []byte) []byte {
	return append(appendHeader(dst, firstText, len(body)), body...)
}

// AppendFrame frames a control object: a text frame too. A cursor cannot stand
// alone.
func (*webSocketCodec) AppendFrame(dst []byte, f outbox.Frame) []byte {
	if f.Kind == "" {
		return dst
	}
	return append(appendHeader(dst, firstText, len(f.Body)), f.Body...)
}

// KeepAlive is a ping (RFC 6455 section 5.5.2); the pong counts as life.
func (c *webSocketCodec) KeepAlive(now time.Time) []byte {
	if now.Sub(c.lastPing) < c.conn.timing.Ping {
		return nil
	}
	c.lastPing = now
	return []byte{firstPing, 0}
}

// AppendClose appends a close frame.
func (c *webSocketCodec) AppendClose(dst []byte, why outbox.CloseReason) []byte {
	code, reason := wire.CloseGoingAway, "the gateway is going down"
	switch why {
	case outbox.CloseShutdown:
	case outbox.CloseSlow:
		code, reason = wire.CloseSlow, "too slow: reconnect and resume"
	case outbox.CloseExpired:
		code, reason = wire.CloseExpired, "expired: reconnect with credentials that are good, and resume"
	case outbox.CloseRights:
		code, reason = wire.CloseRights, "the rights are gone"
	case outbox.CloseUnknown:
		code, reason = wire.CloseUnknown, "no credentials in time"
	}
	c.conn.ended(code)
	return closeFrame(dst, code, reason)
}

// appendHeader appends an unmasked frame header (RFC 6455 section 5.2) for n
// bytes.
func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, first, byte(n))
	case n <= 0xffff:
		return append(dst, first, 126, byte(n>>8), byte(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
	}
}

// closeFrame appends a close frame; reason is ours and under 124 bytes.
func closeFrame(dst []byte, code wire.CloseCode, reason string) []byte {
	dst = appendHeader(dst, firstClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}
