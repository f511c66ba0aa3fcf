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
	glance  func(p []byte) (int, error) // receive without waiting: 0 bytes and no error where there is nothing; or nil
	offer   func(p []byte) int          // Write without waiting; or nil
	write   time.Duration
	born    time.Time
	heard   atomic.Int64 // when a read brought something last, in nanoseconds after born

	// Owned by the goroutine that reads.
	ahead  ahead
	failed error // what glance said; due when what it had read is used up
}

func newSock(c net.Conn, cfg *Config) *sock {
	s := &sock{Conn: c, receive: c.Read, write: cfg.WriteTime, born: time.Now(), ahead: ahead{most: cfg.ReadAhead}}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			userTimeout(raw, cfg.WriteTime+cfg.PingTime)
			s.receive, s.glance = receiver(c, raw)
			s.offer = offerer(raw)
		}
	}
	return s
}

func (s *sock) Read(p []byte) (int, error) {
	if n := s.ahead.read(p); n > 0 {
		return n, nil
	}
	if s.failed != nil {
		return 0, s.failed
	}
	n, err := s.receive(p)
	if n > 0 {
		s.heard.Store(int64(time.Since(s.born)))
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

// drain takes what has arrived out of the kernel without waiting, so that a broker need not wait for us, or drop what is
// meant for us, while messages are being handed over.
func (s *sock) drain() {
	if s.glance == nil {
		return
	}
	for s.failed == nil && !s.ahead.full() {
		n, err := s.glance(s.ahead.space())
		if s.failed = err; n <= 0 {
			return
		}
		s.ahead.filled(n)
		s.heard.Store(int64(time.Since(s.born)))
	}
}

// aheadChunk is how much ahead takes at once.
const aheadChunk = 256 << 10

// ahead is what was read before it was asked for.
type ahead struct {
	most   int // bytes
	size   int
	chunks [][]byte // in order; all but the first are filled from their start
	tail   []byte   // the free part of the last chunk
	last   []byte   // the last chunk, whole
}

func (a *ahead) full() bool { return a.size >= a.most }

// space is where the next bytes are to be put.
func (a *ahead) space() []byte {
	if len(a.tail) == 0 {
		if len(a.chunks) > 0 || a.last == nil {
			a.last = make([]byte, aheadChunk)
		}
		a.tail = a.last
		a.chunks = append(a.chunks, a.tail[:0])
	}
	return a.tail
}

func (a *ahead) filled(n int) {
	last := &a.chunks[len(a.chunks)-1]
	*last = (*last)[:len(*last)+n]
	a.tail = a.tail[n:]
	a.size += n
}

// read takes the oldest bytes.
func (a *ahead) read(p []byte) int {
	if a.size == 0 {
		return 0
	}
	n := copy(p, a.chunks[0])
	a.chunks[0] = a.chunks[0][n:]
	if a.size -= n; len(a.chunks[0]) > 0 {
		return n
	}
	if len(a.chunks) > 1 {
		a.chunks = a.chunks[1:]
	} else { // all is used up; the chunk stays for the next
		a.chunks, a.tail = a.chunks[:0], nil
	}
	return n
}
