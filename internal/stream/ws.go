package stream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/wire"
)

// closeNone: no close frame was sent or received yet.
const closeNone wire.CloseCode = 0

var (
	errFlood  = errors.New("too many bytes without a message") // the client sends frames without end and no message
	errNoRoom = errors.New("too many bytes of unfinished messages")
)

// Queue is where frames go that must keep their place among the messages: the
// client's place in the hub.
type Queue interface {
	SendRaw(frame []byte)
	CloseRaw(last []byte) // and end the connection behind it
}

// Budget is where the bytes of unfinished messages are counted. Take reports
// whether there is room for n bytes more; Give gives them back.
type Budget interface {
	Take(n int) bool
	Give(n int)
}

// ownBytes is the part of a message's buffer that is not counted: the number
// of connections bounds it, and an idle one keeps no more.
const ownBytes = 4096

// WebSocket is a WebSocket's connection, shared by two writers: the hub, which
// writes data frames that were encoded once for everybody, and
// coder/websocket, which reads and answers control frames. Whatever the
// library writes is one whole frame (its buffer holds any control frame), and
// goes through the hub's queue like all else, so frames never mix.
//
// One goroutine calls Start, Read, While and End, in that order.
type WebSocket struct {
	*Socket
	frames *websocket.Conn
	queue  Queue  // set by Start, as is budget
	budget Budget // has cap(buf) beyond ownBytes
	buf    []byte

	lastRead atomic.Int64 // the age in nanoseconds
	busy     atomic.Bool  // the reader is carrying out an op, so nobody reads
	code     atomic.Int32 // the first close code that went either way

	early  []byte    // read before this connection was ours
	unread int       // bytes since the last whole message, in this window
	window time.Time // when counting them began
}

// AcceptWebSocket answers an upgrade request that the caller has found to be
// one, and to come from where it may. On an error it has answered that.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request, t Timing) (*WebSocket, error) {
	h := &hijacker{ResponseWriter: w, timing: t}
	frames, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{wire.Subprotocol},
		InsecureSkipVerify: true, // the caller has checked the Origin, against Host too
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	frames.SetReadLimit(MaxFrame)
	h.ws.frames = frames
	return h.ws, nil
}

// wsBuffer holds any control frame (RFC 6455 section 5.5), and no more: whole
// frames are read past it, and written past it.
const wsBuffer = 128

// hijacker gives coder/websocket our own connection and small buffers.
type hijacker struct {
	http.ResponseWriter
	timing Timing
	ws     *WebSocket
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var early []byte // frames that the client sent along with its request
	if n := rw.Reader.Buffered(); n > 0 {
		peeked, _ := rw.Reader.Peek(n)
		early = slices.Clone(peeked)
	}
	h.ws = newWebSocket(c, early, h.timing)
	l := &library{Conn: c, ws: h.ws}
	return l, bufio.NewReadWriter(bufio.NewReaderSize(l, wsBuffer), bufio.NewWriterSize(l, wsBuffer)), nil
}

func newWebSocket(c net.Conn, early []byte, t Timing) *WebSocket {
	return &WebSocket{Socket: NewSocket(c, t), early: early}
}

// Start says where control frames go, and where messages are counted. Nothing
// is read before.
func (w *WebSocket) Start(q Queue, b Budget) { w.queue, w.budget = q, b }

// Refuse sends a close frame instead of a stream, and closes the connection.
func (w *WebSocket) Refuse(code wire.CloseCode, reason string) {
	w.Socket.Refuse(closeFrame(nil, code, reason))
	_ = w.frames.CloseNow()
}

// Read gives the next text message, which is valid until the next call. When
// the connection ends there is none; a code, unless it is 0, is what End is to
// close it with.
func (w *WebSocket) Read() (message []byte, code wire.CloseCode, reason string) {
	if cap(w.buf) > ownBytes {
		w.drop()
	}
	kind, r, err := w.frames.Reader(context.Background())
	if err == nil && kind == websocket.MessageBinary {
		return nil, wire.CloseBinary, "text frames only"
	}
	if err == nil {
		err = w.readAll(r)
	}
	switch {
	case err == nil:
	case errors.Is(err, errNoRoom):
		return nil, wire.CloseOverloaded, "overloaded: connect again a little later"
	case errors.Is(err, errFlood):
		return nil, wire.ClosePolicy, "too many frames without a message"
	case w.failed.Load() || w.CloseCode() != closeNone:
		return nil, closeNone, "" // the socket ended, or the library has sent a close frame
	default:
		return nil, wire.CloseProtocolError, "malformed frame"
	}
	w.unread = 0
	if !utf8.Valid(w.buf) {
		return nil, wire.CloseInvalidUTF8, "text is not UTF-8"
	}
	return w.buf, closeNone, ""
}

// readAll reads r to its end into buf, which is made for the first message:
// most clients send none.
func (w *WebSocket) readAll(r io.Reader) error {
	w.buf = w.buf[:0]
	for {
		if len(w.buf) == cap(w.buf) {
			if !w.grow(max(512, min(2*cap(w.buf), MaxFrame+512))) {
				return errNoRoom
			}
		}
		n, err := r.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grow gives buf that capacity, if there is room.
func (w *WebSocket) grow(capacity int) bool {
	if !w.budget.Take(counted(capacity)) {
		return false
	}
	larger := append(make([]byte, 0, capacity), w.buf...)
	w.drop()
	w.buf = larger
	return true
}

func (w *WebSocket) drop() {
	w.budget.Give(counted(cap(w.buf)))
	w.buf = nil
}

func counted(capacity int) int { return max(0, capacity-ownBytes) }

// While runs f, which may take long, on the reading goroutine: pongs are not
// read meanwhile, and their absence proves nothing. Who takes no bytes is
// still found by the write deadline.
func (w *WebSocket) While(f func()) {
	w.busy.Store(true)
	f()
	w.lastRead.Store(w.age())
	w.busy.Store(false)
}

// End closes the connection with a code, unless that is 0, and returns when
// the other side has seen it, or had the time.
func (w *WebSocket) End(code wire.CloseCode, reason string) {
	if code != closeNone {
		w.ended(code)
		w.queue.CloseRaw(closeFrame(nil, code, reason))
	}
	w.drop()
	w.linger()
	_ = w.frames.CloseNow() // without it the library's finalizer keeps the connection for ever
}

// CloseCode is the first close code that went either way, 0 while there is
// none.
func (w *WebSocket) CloseCode() wire.CloseCode {
	if code := wire.CloseCode(w.code.Load()); code != closeNone {
		return code
	}
	if w.failed.Load() {
		return wire.CloseAbnormal
	}
	return closeNone
}

// ended notes the first close code that goes either way.
func (w *WebSocket) ended(code wire.CloseCode) {
	w.code.CompareAndSwap(int32(closeNone), int32(code))
}

// Silent reports whether the client has shown no life for too long: neither
// sent anything, nor taken anything that it was in arrears with. The pongs of
// who reads slowly wait behind all that it has not read yet.
func (w *WebSocket) Silent(now time.Time) bool {
	seen := max(w.lastRead.Load(), w.took.Load())
	return !w.busy.Load() && now.Sub(w.born)-time.Duration(seen) > w.timing.Dead
}

// library is the connection as coder/websocket sees it.
type library struct {
	net.Conn
	ws *WebSocket
}

// Read implements net.Conn.
func (l *library) Read(p []byte) (int, error) {
	w := l.ws
	if len(w.early) > 0 {
		n := copy(p, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	// A message of the largest size in tiny fragments is bigger than that, and
	// so are pings without end; a pong now and then is not.
	now := time.Now()
	if now.Sub(w.window) > w.timing.Flood {
		w.unread, w.window = 0, now
	}
	if w.unread > 2*MaxFrame {
		return 0, errFlood
	}
	n, err := l.Conn.Read(p)
	w.unread += n
	if err != nil {
		w.failed.Store(true)
		return n, err
	}
	w.lastRead.Store(w.age())
	return n, nil
}

// Write gets one control frame.
func (l *library) Write(p []byte) (int, error) {
	w := l.ws
	if len(p) < 2 || p[0] != firstClose {
		w.queue.SendRaw(slices.Clone(p))
		return len(p), nil
	}
	frame, code := slices.Clone(p), wire.CloseNoCode
	if len(p) >= 4 {
		code = wire.CloseCode(binary.BigEndian.Uint16(p[2:]))
	}
	if len(p) > 4 && !utf8.Valid(p[4:]) { // the other side's reason, echoed
		code = wire.CloseInvalidUTF8
		frame = closeFrame(nil, code, "reason is not UTF-8")
	}
	w.ended(code)
	w.queue.CloseRaw(frame)
	return len(p), nil
}

// Close does nothing: End closes the socket after the last frame has gone out.
func (l *library) Close() error { return nil }
