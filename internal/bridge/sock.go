package bridge

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// sock is the TCP connection at the bottom of a link, below TLS and WebSocket. Dead peers are found here, because only
// here a timeout can be told from progress: a read that stays silent asks for a ping before it gives up, and a write
// fails only if not one byte moved. Above, a TLS connection would be broken by its first timeout.
type sock struct {
	net.Conn
	raw      syscall.RawConn // nil: no socket options
	quickAck func(fd uintptr)

	write, idle, ping time.Duration
	onIdle            atomic.Pointer[func() bool] // sends a PINGREQ; false if it is too early for one
}

func newSock(c net.Conn, t timing) *sock {
	s := &sock{Conn: c, write: t.write, idle: t.keepAlive, ping: t.ping}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw, s.quickAck = raw, quickAck
			raw.Control(func(fd uintptr) { userTimeout(fd, t.write+t.ping) })
		}
	}
	return s
}

func (s *sock) Read(p []byte) (int, error) {
	s.Conn.SetReadDeadline(time.Now().Add(s.idle))
	n, err := s.Conn.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		if ping := s.onIdle.Load(); ping != nil && (*ping)() {
			s.Conn.SetReadDeadline(time.Now().Add(s.ping))
		} else {
			s.Conn.SetReadDeadline(time.Now().Add(s.idle + s.ping))
		}
		n, err = s.Conn.Read(p)
	}
	if n > 0 && s.raw != nil {
		// A broker that leaves Nagle's algorithm on holds back its next small packet until the last one is
		// acknowledged; a delayed acknowledgement then costs 40 ms. The option does not last, so it is set again.
		s.raw.Control(s.quickAck)
	}
	return n, err
}

func (s *sock) Write(p []byte) (int, error) {
	done := 0
	for {
		s.Conn.SetWriteDeadline(time.Now().Add(s.write))
		n, err := s.Conn.Write(p[done:])
		done += n
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return done, err
		}
	}
}
