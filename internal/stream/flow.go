package stream

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// Flow is a response that cannot be taken over from net/http, because it shares
// its connection with others: a stream of HTTP/2. The hub writes to it, one call
// of TryWrite and WriteAll at a time; everything else may be called
// concurrently.
type Flow struct {
	w      http.ResponseWriter
	timing Timing
	ended  chan struct{} // closed by Finish and Abort
	once   sync.Once

	mu   sync.Mutex // held while w is written to; guards over
	over bool       // w is not ours any more
}

var errOver = errors.New("the response is over")

// Open begins the response and makes a flow of it.
func (r Response) Open(w http.ResponseWriter) *Flow {
	r.describe(w.Header())
	w.WriteHeader(http.StatusOK)
	return &Flow{w: w, timing: r.Timing.withDefaults(), ended: make(chan struct{})}
}

// TryWrite takes nothing: a stream of HTTP/2 cannot say how much it would take
// at once, so its client's own writer waits for it.
func (f *Flow) TryWrite([]byte) (int, error) { return 0, nil }

// WriteAll writes, waiting for the client.
func (f *Flow) WriteAll(p []byte) (done int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return 0, errOver
	}
	control := http.NewResponseController(f.w)
	for done < len(p) && err == nil {
		_ = control.SetWriteDeadline(time.Now().Add(f.timing.Write))
		n := 0
		n, err = f.w.Write(p[done:min(done+16<<10, len(p))])
		if done += n; err == nil {
			err = control.Flush()
		}
	}
	return done, err
}

// Hurry implements outbox.Conn, as do the methods below: the deadline of a write
// is near enough.
func (f *Flow) Hurry() {}

// Finish ends the response in order.
func (f *Flow) Finish() { f.once.Do(func() { close(f.ended) }) }

// Abort ends the response.
func (f *Flow) Abort() { f.Finish() }

// Silent is false: the connection has its own pings.
func (f *Flow) Silent(time.Time) bool { return false }

// Watch returns when the client is gone, or the stream has ended. Nothing is
// written from then on. When closing is closed it calls end, which is to end the
// stream: net/http waits for that.
func (f *Flow) Watch(gone, closing <-chan struct{}, end func()) {
	for open := true; open; {
		select {
		case <-f.ended:
			open = false
		case <-gone:
			open = false
		case <-closing:
			closing = nil
			end()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}
