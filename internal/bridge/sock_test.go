package bridge

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair is a connected TCP pair, with a sock at one end.
func pair(t *testing.T, timing timing) (*sock, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return newSock(near, timing), far
}

func TestSilenceAsksForAPingBeforeItIsDeath(t *testing.T) {
	s, far := pair(t, timing{keepAlive: 30 * time.Millisecond, ping: 500 * time.Millisecond, write: time.Second})
	asked := 0
	ping := func() bool {
		if asked++; asked == 1 {
			go far.Write([]byte("pong"))
		}
		return true
	}
	s.onIdle.Store(&ping)
	buf := make([]byte, 10)
	if n, err := s.Read(buf); string(buf[:n]) != "pong" || err != nil || asked != 1 {
		t.Errorf("answered: got %q, %v, %d pings", buf[:n], err, asked)
	}
	start := time.Now()
	n, err := s.Read(buf)
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || asked != 2 {
		t.Errorf("not answered: got %d bytes, %v, %d pings", n, err, asked)
	}
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("given up after %v", took)
	}
}

func TestStuckWriteEndsAndSlowWriteDoesNot(t *testing.T) {
	s, far := pair(t, timing{keepAlive: time.Minute, ping: time.Minute, write: 150 * time.Millisecond})
	payload := make([]byte, 32<<20) // more than the kernel's buffers take
	n, err := s.Write(payload)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(payload) {
		t.Fatalf("a peer that does not read: got %d bytes, %v", n, err)
	}
	drained := make(chan struct{})
	go func() { // for longer than a deadline it reads too little for all to be written, but goes on
		defer close(drained)
		buf := make([]byte, 1<<20)
		for start := time.Now(); time.Since(start) < 300*time.Millisecond; time.Sleep(20 * time.Millisecond) {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
		go io.Copy(io.Discard, far)
	}()
	start := time.Now()
	if n, err := s.Write(payload); n != len(payload) || err != nil {
		t.Errorf("a slow peer: got %d bytes, %v", n, err)
	}
	if took := time.Since(start); took < 150*time.Millisecond {
		t.Errorf("the peer was not slow: %v", took)
	}
	<-drained
}

func TestNoProxyIsAsked(t *testing.T) {
	if tr := (dialer{url: mustParse(t, "ws://broker")}).transport(nil); tr.Proxy != nil {
		t.Error("WebSocket connections go through a proxy of the environment")
	}
}
