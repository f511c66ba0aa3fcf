package stream

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
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

// stepped is t as time.Now would give it if the wall clock had been set in the
// meantime: the monotonic reading is the same.
func stepped(t time.Time, by time.Duration) time.Time {
	*(*int64)(unsafe.Pointer(&t)) += int64(by/time.Second) << 30
	return t
}

// Machines without a clock of their own set it by hours once they find the time:
// that ends no connection, and keeps none.
func TestSetClockMakesNobodySilent(t *testing.T) {
	w := newWebSocket(nil, nil, Timing{})
	now := time.Now()
	if got := stepped(now, time.Hour); got.Unix() != now.Unix()+3600 || got.Sub(now) != 0 {
		t.Fatalf("got %v of %v, want only the wall clock to differ", got, now)
	}
	if w.Silent(stepped(now, time.Hour)) {
		t.Error("set forwards: got silent, want not")
	}
	if !w.Silent(stepped(now.Add(time.Minute), -time.Hour)) {
		t.Error("set backwards, and a minute without a word: got not silent, want silent")
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
