package api

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/hub"
)

// writeDeadline is how long a client may take nothing before it is cut off.
const writeDeadline = 10 * time.Second

// lingerTime is how long the gateway waits for the other side after its last
// words, so that a reset does not overtake them.
const lingerTime = 2 * time.Second

// closeNone: no close frame was sent or received yet.
const closeNone = 0

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
	net.Conn
	early    []byte          // read before this connection was ours
	raw      syscall.RawConn // nil: not a plain socket
	client   atomic.Pointer[hub.Client]
	lastRead atomic.Int64 // Unix time in nanoseconds
	code     atomic.Int32 // the first close code that went either way
	unread   int          // bytes since the last whole message
	failed   atomic.Bool  // the socket ended

	// State of one TryWrite, so that it needs no closure.
	tryBuf []byte
	tryN   int
	tryErr error
	try    func(fd uintptr) bool
}

func newWSConn(c net.Conn, early []byte) *wsConn {
	w := &wsConn{Conn: c, early: early}
	w.lastRead.Store(time.Now().UnixNano())
	if sc, ok := c.(syscall.Conn); ok {
		w.raw, _ = sc.SyscallConn()
	}
	w.try = func(fd uintptr) bool {
		w.tryN, w.tryErr = syscall.Write(int(fd), w.tryBuf)
		return true
	}
	return w
}

// Read is called by the library.
func (w *wsConn) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(p, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	// A message of the largest size in tiny fragments is bigger than that.
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

func (w *wsConn) messageRead() { w.unread = 0 }
func (w *wsConn) broken() bool { return w.failed.Load() }

func (w *wsConn) closeCode() int {
	if code := int(w.code.Load()); code != closeNone {
		return code
	}
	if w.broken() {
		return 1006
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
		code := 1005
		if len(p) >= 4 {
			code = int(binary.BigEndian.Uint16(p[2:]))
		}
		w.code.CompareAndSwap(closeNone, int32(code))
		client.CloseRaw(frame)
	} else {
		client.SendRaw(frame)
	}
	return len(p), nil
}

// Close is called by the library when it is done; the session closes the
// socket after the last frame has gone out.
func (w *wsConn) Close() error { return nil }

// last is a close frame, noted as what ended the connection.
func (w *wsConn) last(code int, reason string) []byte {
	w.code.CompareAndSwap(closeNone, int32(code))
	return closeFrame(nil, code, reason)
}

// linger waits until the other side has seen our last words and closed, then
// closes the socket.
func (w *wsConn) linger() {
	if !w.broken() {
		_ = w.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, w.Conn, 4*maxFrame)
	}
	_ = w.Conn.Close()
}

// Name implements hub.Transport, as do the methods below.
func (w *wsConn) Name() string { return transportWS }

// TryWrite writes without waiting, around net's poller.
func (w *wsConn) TryWrite(p []byte) (int, error) {
	if w.raw == nil {
		return 0, nil
	}
	w.tryBuf = p
	err := w.raw.Write(w.try)
	w.tryBuf = nil
	if err != nil {
		return 0, err
	}
	if w.tryErr == syscall.EAGAIN || w.tryErr == syscall.EINTR {
		return 0, nil
	}
	return max(w.tryN, 0), w.tryErr
}

// WriteAll writes, waiting for the socket; whoever takes nothing for
// writeDeadline is cut off.
func (w *wsConn) WriteAll(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		_ = w.Conn.SetWriteDeadline(time.Now().Add(writeDeadline))
		n, err := w.Conn.Write(p[done:min(done+16<<10, len(p))])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Finish says that nothing follows; the reader then sees the other side's end.
func (w *wsConn) Finish() {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = w.Conn.SetReadDeadline(time.Now().Add(lingerTime))
}

// Abort ends the connection at once.
func (w *wsConn) Abort() { _ = w.Conn.Close() }

// Silent reports whether nothing was read since then.
func (w *wsConn) Silent(since time.Time) bool { return w.lastRead.Load() < since.UnixNano() }

// AppendMessage frames a message.
func (w *wsConn) AppendMessage(dst []byte, m *hub.Message) []byte {
	return append(appendHeader(dst, 0x81, len(m.JSON)), m.JSON...)
}

// AppendFrame frames a control object of the protocol: a text frame too.
func (w *wsConn) AppendFrame(dst []byte, _ string, body []byte) []byte {
	return append(appendHeader(dst, 0x81, len(body)), body...)
}

// AppendKeepAlive appends a ping (RFC 6455 section 5.5.2); the pong counts as life.
func (w *wsConn) AppendKeepAlive(dst []byte) []byte { return append(dst, 0x89, 0) }

// AppendClose appends a close frame.
func (w *wsConn) AppendClose(dst []byte, why hub.CloseReason) []byte {
	switch why {
	case hub.CloseSlow:
		w.code.CompareAndSwap(closeNone, closeSlow)
		return closeFrame(dst, closeSlow, "too slow: reconnect and resume")
	default:
		w.code.CompareAndSwap(closeNone, closeGoingAway)
		return closeFrame(dst, closeGoingAway, "the gateway is going down")
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
func closeFrame(dst []byte, code int, reason string) []byte {
	dst = appendHeader(dst, 0x88, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// newValueReader reads raw JSON.
func newValueReader(v jsontext.Value) io.Reader { return bytes.NewReader(v) }
