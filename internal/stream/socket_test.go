package stream

import (
	"net"
	"testing"
	"time"
)

// Who was slow once and has caught up must be served as before: the deadline
// of the slow time must not outlive it.
func TestDeadlineOfASlowTimeDoesNotOutliveIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const slow = 10 * time.Millisecond
	s := NewSocket(c, Timing{Write: slow})
	if _, err := s.WriteAll([]byte("slow")); err != nil {
		t.Fatal(err)
	}
	<-time.After(5 * slow) // the deadline has passed
	if n, err := s.TryWrite([]byte("again")); n != 5 || err != nil {
		t.Errorf("got %d, %v, want all 5 bytes written", n, err)
	}
}
