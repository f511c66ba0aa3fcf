package api

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/list"
	"github.com/vulturepi/gateway/wire"
)

// response is what a handler answers with. It sees to it that every answer
// ends: a client that takes nothing of it for Timing.Stall, or not all of it in
// Timing.Answer, is cut off. The time counts from the first byte on: until then
// the gateway waits for the broker, not for the client.
type response struct {
	http.ResponseWriter
	code    wire.Code // of the problem that it is; empty: it is none
	root    string    // the way from the request's path to the gateway's root: ../../
	writing *writing
	timing  *Timing
	status  int // 0: nothing was written
	bytes   int
	caller  caller

	piece int           // bytes written since the deadline was set
	open  bool          // written bit by bit
	stall time.Duration // Timing.Stall, or what the handler has set
	begun time.Time     // the first byte; it does not follow steps of the wall clock
	end   atomic.Int64  // nanoseconds from then on by which all must be taken; 0: no such time

	place  list.Place[response] // in writing
	listed bool
}

// pieceBytes is how much is written within one Timing.Stall.
const pieceBytes = 32 << 10

// WriteHeader implements http.ResponseWriter.
func (r *response) WriteHeader(status int) {
	switch {
	case r.status != 0:
	case status == http.StatusSwitchingProtocols: // what follows is no answer any more
		r.status = status
	case status >= http.StatusOK:
		r.begin(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

// begin is called before the first byte.
func (r *response) begin(status int) {
	r.status, r.begun = status, time.Now()
	if !r.open {
		r.stall = r.timing.Stall
		r.end.Store(int64(r.timing.Answer))
	}
	r.writing.add(r)
	r.extend()
}

// Write implements http.ResponseWriter.
func (r *response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.begin(http.StatusOK)
	}
	done := 0
	for {
		piece := p[done:min(done+pieceBytes, len(p))]
		if r.piece += len(piece); r.piece > pieceBytes || r.open {
			r.piece = len(piece)
			r.extend()
		}
		n, err := r.ResponseWriter.Write(piece)
		done += n
		r.bytes += n
		if err != nil || done == len(p) {
			return done, err
		}
	}
}

// extend gives the client Timing.Stall for the next piece.
func (r *response) extend() {
	after := time.Since(r.begun) + r.stall
	if end := time.Duration(r.end.Load()); end != 0 {
		after = min(after, end)
	}
	r.deadline(after)
}

// hurry leaves the client no more than limit.
func (r *response) hurry(limit time.Duration) {
	end := time.Since(r.begun) + limit
	if old := time.Duration(r.end.Load()); old == 0 || end < old {
		r.end.Store(int64(end))
		r.deadline(end)
	}
}

// deadline lets writing end so long after the first byte.
func (r *response) deadline(after time.Duration) {
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(r.begun.Add(after))
}

// responseOf is what w writes to in the end; nil in tests that have none.
func responseOf(w http.ResponseWriter) *response {
	for {
		switch v := w.(type) {
		case *response:
			return v
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return nil
		}
	}
}

// Unwrap is for http.ResponseController.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// openEnded is for answers that are written bit by bit: each bit must be taken
// within stall, all together may take as long as they do.
func openEnded(w http.ResponseWriter, stall time.Duration) {
	if r := responseOf(w); r != nil {
		r.open, r.stall = true, stall
	}
}

// writing is the set of answers that are being written. Its methods may be
// called concurrently.
type writing struct {
	last time.Duration // what is left of them after hurry

	mu      sync.Mutex // guards the rest
	all     list.List[response]
	held    int // how many they are
	hurried bool
}

func (w *writing) add(r *response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Push(&r.place, r)
	r.listed = true
	w.held++
	if w.hurried {
		r.hurry(w.last)
	}
}

func (w *writing) remove(r *response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.listed { // something was written
		w.all.Remove(&r.place)
		r.listed = false
		w.held--
	}
}

// hurry leaves no answer more than last, from now on.
func (w *writing) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = true
	for r := range w.all.All() {
		r.hurry(w.last)
	}
}

func (w *writing) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held
}
