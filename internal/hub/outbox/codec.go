package outbox

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// CloseReason says why the hub ends a connection; the codec turns it into its
// own words.
type CloseReason int

// Reasons.
const (
	CloseShutdown CloseReason = iota // the gateway stops
	CloseSlow                        // the client does not keep up
	CloseExpired                     // the time of its credentials is over, or it has to show them again
	CloseRights                      // it has lost its rights
	CloseUnknown                     // it has not said in time who it is
)

// Frame is a control frame on its way to a client.
type Frame struct {
	Kind   string // its type: ack, gap, broker, ...; empty: only a cursor, for codecs that can say it alone
	Cursor string // the place to resume from after it, if it has one
	Body   []byte // its JSON object
}

// Codec says how one client is written to. Its methods are called by one
// goroutine at a time for a client, but for different clients at once; the
// Append methods keep nothing of their arguments.
type Codec interface {
	// Name is the transport's label in metrics: websocket.
	Name() string
	// Framing names the way in which AppendMessage frames: where it is the
	// same, so are the bytes, and clients share them. It does not change.
	Framing() string
	// AppendMessage frames a message onto dst; body is its JSON object as this
	// client sees it. AppendFrame does so for a control frame.
	AppendMessage(dst []byte, m *message.Message, body []byte) []byte
	AppendFrame(dst []byte, f Frame) []byte
	// KeepAlive gives what provokes or shows life, when it is time for it.
	KeepAlive(now time.Time) []byte
	// AppendClose appends the transport's last words.
	AppendClose(dst []byte, why CloseReason) []byte
}

// Conn is one client's connection. TryWrite and WriteAll are called from one
// goroutine at a time; the others may be called at any time and must not block.
type Conn interface {
	// TryWrite writes what the socket takes at once; less than all of p
	// without an error means that it is full.
	TryWrite(p []byte) (int, error)
	// WriteAll writes all of p, waiting for the socket. When the client takes
	// nothing for the write deadline it fails with os.ErrDeadlineExceeded.
	WriteAll(p []byte) (int, error)
	// Hurry is called when the end is near: from now on the client has to
	// take what is left quickly.
	Hurry()
	// Finish is called after the last byte was written: end the connection
	// softly. Abort ends it at once. Either may be called more than once.
	Finish()
	Abort()
	// Silent reports whether the client has shown no life for too long.
	Silent(now time.Time) bool
}
