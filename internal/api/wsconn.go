package api

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// closeNone: no close frame was sent or received yet.
const closeNone wire.CloseCode = 0

// errFlood: the client sends frames without end and no message.
var errFlood = errors.New("too many bytes without a message")

// wsConn is the socket of a WebSocket, shared by two writers: the hub, which
// writes data frames that were encoded once for everybody, and
// coder/websocket, which reads and answers control frames. Whatever the
// library writes is one whole frame (its buffer holds any control frame), and
// goes through the hub's queue like all else, so frames never mix.
//
// It is the hub's Transport and the library's net.Conn.
type wsConn struct {
	*socket
	early    []byte // read before this connection was ours
	client   atomic.Pointer[hub.Client]
	lastRead atomic.Int64 // Unix time in nanoseconds
	busy     atomic.Bool  // the reader is carrying out an op, so nobody reads
	lastPing time.Time    // the shard's
	code     atomic.Int32 // the first close code that went either way
	unread   int          // bytes since the last whole message, in this window
	window   time.Time    // when counting them began
}

func newWSConn(c net.Conn, early []byte) *wsConn {
	w := &wsConn{socket: newSocket(c), early: early, lastPing: time.Now()}
	w.lastRead.Store(time.Now().UnixNano())
	return w
}

// Read is called by the library.
func (w *wsConn) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(p, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	// A message of the largest size in tiny fragments is bigger than that, and
	// so are pings without end; a pong now and then is not.
	now := time.Now()
	if now.Sub(w.window) > floodWindow {
		w.unread, w.window = 0, now
	}
	if w.unread > 2*maxFrame {
		return 0, errFlood
	}
	n, err := w.Conn.Read(p)
	w.unread += n
	if err != nil {
		w.failed.Store(true)
		return n, err
	}
	w.lastRead.Store(time.Now().UnixNano())
	return n, nil
}

// floodWindow is the time in which a client may send so much without a message.
const floodWindow = 30 * time.Second

func (w *wsConn) messageRead() { w.unread = 0 }

func (w *wsConn) closeCode() wire.CloseCode {
	if code := wire.CloseCode(w.code.Load()); code != closeNone {
		return code
	}
	if w.failed.Load() {
		return wire.CloseAbnormal
	}
	return closeNone
}

// Write is called by the library with one control frame.
func (w *wsConn) Write(p []byte) (int, error) {
	client := w.client.Load()
	if client == nil {
		return 0, net.ErrClosed
	}
	frame := slices.Clone(p)
	if len(p) >= 2 && p[0] == 0x88 {
		code := wire.CloseNoCode
		if len(p) >= 4 {
			code = wire.CloseCode(binary.BigEndian.Uint16(p[2:]))
		}
		if len(p) > 4 && !utf8.Valid(p[4:]) { // the other side's reason, echoed
			code = wire.CloseInvalidUTF8
			frame = closeFrame(nil, code, "reason is not UTF-8")
		}
		w.ended(code)
		client.CloseRaw(frame)
	} else {
		client.SendRaw(frame)
	}
	return len(p), nil
}

// Close is called by the library when it is done; the session closes the
// socket after the last frame has gone out.
func (w *wsConn) Close() error { return nil }

// ended notes the first close code that goes either way.
func (w *wsConn) ended(code wire.CloseCode) {
	w.code.CompareAndSwap(int32(closeNone), int32(code))
}

// last is a close frame, noted as what ended the connection.
func (w *wsConn) last(code wire.CloseCode, reason string) []byte {
	w.ended(code)
	return closeFrame(nil, code, reason)
}

// Name implements hub.Transport, as do the methods below.
func (w *wsConn) Name() string { return transportWS }

// Times of keep-alive: a ping after pingEvery, and the end of who has not sent
// anything, not even a pong, for deadAfter.
const (
	pingEvery = 20 * time.Second
	deadAfter = 32 * time.Second
)

// Silent reports whether nothing was read for too long.
func (w *wsConn) Silent(now time.Time) bool {
	return !w.busy.Load() && now.UnixNano()-w.lastRead.Load() > int64(deadAfter)
}

// while runs f, which may take long, on the reading goroutine: pongs are not
// read meanwhile, and their absence proves nothing. Who takes no bytes is
// still found by the write deadline.
func (w *wsConn) while(f func()) {
	w.busy.Store(true)
	f()
	w.lastRead.Store(time.Now().UnixNano())
	w.busy.Store(false)
}

// KeepAlive is a ping (RFC 6455 section 5.5.2); the pong counts as life.
func (w *wsConn) KeepAlive(now time.Time) []byte {
	if now.Sub(w.lastPing) < pingEvery {
		return nil
	}
	w.lastPing = now
	return []byte{0x89, 0}
}

// Framing is the same for all WebSockets: server frames are not masked.
func (w *wsConn) Framing() string { return transportWS }

// AppendMessage frames a message.
func (w *wsConn) AppendMessage(dst []byte, _ *hub.Message, body []byte) []byte {
	return append(appendHeader(dst, 0x81, len(body)), body...)
}

// AppendFrame frames a control object of the protocol: a text frame too.
func (w *wsConn) AppendFrame(dst []byte, f hub.Frame) []byte {
	if f.Kind == "" {
		return dst
	}
	return append(appendHeader(dst, 0x81, len(f.Body)), f.Body...)
}

// AppendClose appends a close frame.
func (w *wsConn) AppendClose(dst []byte, why hub.CloseReason) []byte {
	switch why {
	case hub.CloseSlow:
		w.ended(wire.CloseSlow)
		return closeFrame(dst, wire.CloseSlow, "too slow: reconnect and resume")
	default:
		w.ended(wire.CloseGoingAway)
		return closeFrame(dst, wire.CloseGoingAway, "the gateway is going down")
	}
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
	dst = appendHeader(dst, 0x88, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}
