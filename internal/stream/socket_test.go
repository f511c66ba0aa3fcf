package stream

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A client that takes a little now and then is slow, and not gone: neither the
// write deadline nor missing pongs, which wait behind what it has not read, end
// it. One that takes nothing is ended.
func TestSlowReaderIsNeitherStalledNorSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		w := newWebSocket(server, nil, Timing{})
		go func() {
			for range 20 {
				time.Sleep(9 * time.Second) // of the bubble's clock
				if _, err := client.Read(make([]byte, 1)); err != nil {
					return
				}
			}
		}()
		const n = 20
		if done, err := w.WriteAll(make([]byte, n)); done != n || err != nil {
			t.Errorf("wrote %d bytes, %v, want all %d", done, err, n)
		}
		if w.Silent(time.Now()) {
			t.Error("silent, want not: it takes what it is sent")
		}
		start := time.Now()
		if done, err := w.WriteAll(make([]byte, n)); done != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > 11*time.Second {
			t.Errorf("wrote %d bytes, %v after %v, want none and the deadline", done, err, time.Since(start))
		}
		time.Sleep(time.Minute)
		if !w.Silent(time.Now()) {
			t.Error("not silent, want silent: it takes nothing")
		}
	})
}

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

// lastDeadline is a connection that takes everything, and keeps the deadline.
type lastDeadline struct {
	net.Conn
	at time.Time
}

func (c *lastDeadline) Write(p []byte) (int, error) { return len(p), nil }

func (c *lastDeadline) SetWriteDeadline(t time.Time) error {
	c.at = t
	return nil
}

// Without a monotonic reading it would move when the wall clock is set.
func TestLastDeadlineIsMonotonic(t *testing.T) {
	c := &lastDeadline{}
	s := NewSocket(c, Timing{Last: time.Minute})
	s.Hurry()
	first := c.at
	if _, err := s.WriteAll([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]time.Time{"Hurry": first, "behind the last bytes": c.at} {
		if left := time.Until(at); !strings.Contains(at.String(), " m=") || left <= 0 || left > time.Minute {
			t.Errorf("%s: got %v, want a monotonic time within a minute", name, at)
		}
	}
}
