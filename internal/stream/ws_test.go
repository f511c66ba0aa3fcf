package stream

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBusyReaderIsNotSilent(t *testing.T) {
	w := newWebSocket(nil, nil, Timing{})
	late := time.Now().Add(time.Hour)
	w.While(func() {
		if w.Silent(late) {
			t.Error("got silent while an op is carried out")
		}
	})
	if !w.Silent(late) {
		t.Error("got not silent, want silent: nothing was read for long")
	}
}

// A client that only listens answers a ping every twenty seconds, and its own
// pings come on top. However long it stays, that is no flood.
func TestMonthsOfKeepAlivesAreNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		l := &library{Conn: server, ws: newWebSocket(server, nil, Timing{})}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		defer wg.Wait()
		defer client.Close()
		defer close(stop)
		wg.Go(func() {
			tick := time.NewTicker(20 * time.Second) // of the bubble's clock
			defer tick.Stop()
			pong, ping := []byte{0x8a, 0x80, 0, 0, 0, 0}, []byte{0x89, 0x84, 0, 0, 0, 0, '1', '2', '3', '4'} // masked
			for {
				select {
				case <-tick.C:
					_, _ = client.Write(append(pong, ping...))
				case <-stop:
					return
				}
			}
		})
		start := time.Now()
		buf := make([]byte, 512)
		for time.Since(start) < 60*24*time.Hour {
			if _, err := l.Read(buf); err != nil {
				t.Fatalf("cut off after %v: %v", time.Since(start), err)
			}
		}
	})
}
