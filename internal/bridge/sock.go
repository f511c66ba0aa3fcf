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
	receive func(p []byte) (int, error)

	write, idle, ping time.Duration
	onIdle            atomic.Pointer[func() bool] // sends a PINGREQ; false if it is too early for one
}

func newSock(c net.Conn, t timing) *sock {
	s := &sock{Conn: c, receive: c.Read, write: t.write, idle: t.keepAlive, ping: t.ping}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			userTimeout(raw, t.write+t.ping)
			s.receive = receiver(c, raw)
		}
	}
	return s
}

func (s *sock) Read(p []byte) (int, error) {
	s.Conn.SetReadDeadline(time.Now().Add(s.idle))
	n, err := s.receive(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		if ping := s.onIdle.Load(); ping != nil && (*ping)() {
			s.Conn.SetReadDeadline(time.Now().Add(s.ping))
		} else {
			s.Conn.SetReadDeadline(time.Now().Add(s.idle + s.ping))
		}
		n, err = s.receive(p)
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
