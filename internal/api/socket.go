package api

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// writeDeadline is how long a client may take nothing before it is cut off;
// lastDeadline is how long it has for the last bytes before the end.
const (
	writeDeadline = 10 * time.Second
	lastDeadline  = 5 * time.Second
)

// lingerTime is how long the gateway waits for the other side after its last
// words, so that a reset does not overtake them.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20 // and how much of its talk is thrown away meanwhile
)

// socket is a hijacked connection with the writing half of hub.Transport.
type socket struct {
	net.Conn
	raw    syscall.RawConn // nil: not a plain socket
	failed atomic.Bool     // reading has ended
	last   atomic.Int64    // Unix nanoseconds by which all must be written, 0: not yet
	within time.Duration   // writeDeadline

	// State of one TryWrite, so that it needs no closure.
	tryBuf []byte
	tryN   int
	tryErr error
	try    func(fd uintptr) bool
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c, within: writeDeadline}
	if sc, ok := c.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
	}
	s.try = func(fd uintptr) bool {
		s.tryN, s.tryErr = writeNow(fd, s.tryBuf)
		return true // never wait
	}
	return s
}

// TryWrite implements hub.Transport, as do the methods below.
func (s *socket) TryWrite(p []byte) (int, error) {
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

// WriteAll writes, waiting for the socket; whoever takes nothing for
// writeDeadline is cut off.
func (s *socket) WriteAll(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		_ = s.Conn.SetWriteDeadline(s.deadline())
		n, err := s.Conn.Write(p[done:min(done+16<<10, len(p))])
		done += n
		if err != nil {
			return done, err
		}
	}
	// TryWrite comes next, and an old deadline would end it.
	_ = s.Conn.SetWriteDeadline(time.Time{})
	if s.last.Load() != 0 {
		_ = s.Conn.SetWriteDeadline(s.deadline())
	}
	return done, nil
}

func (s *socket) deadline() time.Time {
	if last := s.last.Load(); last != 0 {
		return time.Unix(0, last)
	}
	return time.Now().Add(s.within)
}

// Hurry sets a deadline for all that is still to be written.
func (s *socket) Hurry() {
	last := time.Now().Add(lastDeadline)
	if s.last.CompareAndSwap(0, last.UnixNano()) {
		_ = s.Conn.SetWriteDeadline(last)
	}
}

// Finish says that nothing follows; the reader then sees the other side's end.
func (s *socket) Finish() {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = s.Conn.SetReadDeadline(time.Now().Add(lingerTime))
}

// Abort ends the connection at once.
func (s *socket) Abort() { _ = s.Conn.Close() }

// linger waits until the other side has seen our last words and closed, then
// closes the socket.
func (s *socket) linger() {
	if !s.failed.Load() {
		_ = s.Conn.SetReadDeadline(time.Now().Add(lastDeadline))
		_, _ = io.CopyN(io.Discard, s.Conn, lingerBytes)
	}
	_ = s.Conn.Close()
}
