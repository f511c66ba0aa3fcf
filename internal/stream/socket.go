package stream

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxTalk     = 64 << 10 // bytes that a client may send on a response's stream for nothing
	lingerBytes = 64 << 20 // and that are thrown away while its end is awaited
)

// Socket is a connection that was taken over from net/http. The hub writes to
// it, one call of TryWrite and WriteAll at a time; everything else may be
// called concurrently.
type Socket struct {
	conn   net.Conn
	raw    syscall.RawConn // nil: not a plain socket
	timing Timing
	born   time.Time    // what follows counts from it, and so ignores steps of the wall clock
	failed atomic.Bool  // reading has ended
	last   atomic.Int64 // nanoseconds by which all must be written, 0: not yet
	took   atomic.Int64 // nanoseconds when a full socket took something last

	// State of one TryWrite, so that it needs no closure.
	tryBuf []byte
	tryN   int
	tryErr error
	try    func(fd uintptr) bool
}

// NewSocket makes a socket of c.
func NewSocket(c net.Conn, t Timing) *Socket {
	s := &Socket{conn: c, timing: t.withDefaults(), born: time.Now()}
	if sc, ok := c.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
	}
	s.try = func(fd uintptr) bool {
		s.tryN, s.tryErr = writeNow(fd, s.tryBuf)
		return true // never wait
	}
	return s
}

// TryWrite writes what the socket takes at once; less than all of p without an
// error means that it is full.
func (s *Socket) TryWrite(p []byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	s.tryBuf = p
	err := s.raw.Write(s.try)
	s.tryBuf = nil
	switch {
	case err != nil:
		return 0, err
	case s.tryErr == syscall.EAGAIN || s.tryErr == syscall.EINTR:
		return 0, nil
	}
	return max(s.tryN, 0), s.tryErr
}

// WriteAll writes, waiting for the socket. When it takes nothing for
// Timing.Write that is os.ErrDeadlineExceeded; however little it takes, the wait
// begins anew.
func (s *Socket) WriteAll(p []byte) (int, error) {
	done, piece := 0, 16<<10
	if s.raw == nil {
		piece = 4 << 10 // over TLS, a write that has begun and is not taken in time ends the connection
	}
	for done < len(p) {
		_ = s.conn.SetWriteDeadline(s.deadline())
		n, err := s.conn.Write(p[done:min(done+piece, len(p))])
		if done += n; n > 0 {
			s.took.Store(s.age())
		}
		if slow := n > 0 && s.last.Load() == 0 && errors.Is(err, os.ErrDeadlineExceeded); err != nil && !slow {
			return done, err
		}
	}
	// TryWrite comes next, and an old deadline would end it.
	_ = s.conn.SetWriteDeadline(time.Time{})
	if s.last.Load() != 0 {
		_ = s.conn.SetWriteDeadline(s.deadline())
	}
	return done, nil
}

func (s *Socket) deadline() time.Time {
	if last := s.last.Load(); last != 0 {
		return s.born.Add(time.Duration(last))
	}
	return time.Now().Add(s.timing.Write)
}

// Hurry sets a deadline for all that is still to be written.
func (s *Socket) Hurry() {
	if s.last.CompareAndSwap(0, s.age()+int64(s.timing.Last)) {
		_ = s.conn.SetWriteDeadline(s.deadline())
	}
}

// age is how many nanoseconds ago the socket was made.
func (s *Socket) age() int64 { return int64(time.Since(s.born)) }

// Finish says that nothing follows; the reader then sees the other side's end.
func (s *Socket) Finish() {
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(s.timing.Linger))
}

// Abort ends the connection at once.
func (s *Socket) Abort() { _ = s.conn.Close() }

// Silent is false: the client of a response never speaks. TCP's keep-alive and
// the write deadline find the dead.
func (s *Socket) Silent(time.Time) bool { return false }

// Watch returns when the client is gone or the stream has ended, and closes
// the socket. A client has nothing to say on a response's stream; what it
// sends is thrown away.
func (s *Socket) Watch() {
	_, _ = io.CopyN(io.Discard, s.conn, maxTalk)
	s.failed.Store(true)
	_ = s.conn.Close()
}

// linger waits until the other side has seen our last bytes and closed, then
// closes the socket.
func (s *Socket) linger() {
	if !s.failed.Load() {
		_ = s.conn.SetReadDeadline(time.Now().Add(s.timing.Last))
		_, _ = io.CopyN(io.Discard, s.conn, lingerBytes)
	}
	_ = s.conn.Close()
}

// Refuse answers with raw bytes instead of a stream, and closes the socket.
func (s *Socket) Refuse(answer []byte) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.timing.Last))
	_, _ = s.conn.Write(answer)
	_ = s.conn.Close()
}
