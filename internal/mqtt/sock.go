package mqtt

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// sock is the TCP connection at the bottom, below TLS and WebSocket. Only here can a peer that takes nothing be told from
// one that takes little: a write fails if not one byte moved in its time. Above, a TLS connection would be broken by its
// first timeout.
type sock struct {
	net.Conn
	receive func(p []byte) (int, error)
	write   time.Duration
	heard   atomic.Uint64 // counts the reads that brought something
}

func newSock(c net.Conn, cfg *Config) *sock {
	s := &sock{Conn: c, receive: c.Read, write: cfg.WriteTime}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			userTimeout(raw, cfg.WriteTime+cfg.PingTime)
			s.receive = receiver(c, raw, cfg.Nodelay)
		}
	}
	return s
}

func (s *sock) Read(p []byte) (int, error) {
	n, err := s.receive(p)
	if n > 0 {
		s.heard.Add(1)
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
