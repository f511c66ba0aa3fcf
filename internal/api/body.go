package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// errNoRoom: the budget of unfinished bodies is spent.
var errNoRoom = errors.New("too many bytes of unfinished bodies")

func noRoom() *wire.Problem {
	return problem(wire.CodeOverloaded, "The gateway holds as many bytes of unfinished requests as it may; nothing was sent.")
}

// readBody reads at most limit bytes, and counts them in h as they come.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit int64, h *hold) ([]byte, *wire.Problem) {
	if r.ContentLength > limit {
		return nil, problem(wire.CodeBodyTooLarge, "The body is larger than any allowed message.")
	}
	framed := r.ContentLength >= 0
	if r.ContentLength < 0 || r.ContentLength > steadyBytes { // the first deadline is enough for less
		r.Body = s.steady(w, r.Body)
	}
	if bad := decodeBody(w, r, h); bad != nil {
		return nil, bad
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength, h)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		if framed { // a chunked body's end is not beyond doubt for everybody on the way
			w.Header().Del("Connection")
		}
		return body, nil
	case errors.Is(err, errNoRoom):
		return nil, noRoom()
	case errors.As(err, &tooLarge):
		return nil, problem(wire.CodeBodyTooLarge, "The body is larger than any allowed message.")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem(wire.CodeRequestTimeout, "The body came too slowly: it must bring 1 KiB in any 10 seconds, and end within GATEWAY_BODY_TIMEOUT.")
	case errors.Is(err, errNotGzip):
		return nil, problem(wire.CodeInvalidJSON, "The body is not gzip, as its Content-Encoding says.")
	}
	return nil, problem(wire.CodeInvalidJSON, "The body broke off or its framing is malformed.")
}

// readAll reads the announced bytes, or, when that is negative, to the end.
// The announcement of a large body must first come true: memory is taken as
// the bytes come.
func readAll(body io.Reader, announced int64, h *hold) ([]byte, error) {
	const first, trusted = 512, 64 << 10
	size := first
	if announced >= 0 && announced <= trusted {
		size = int(announced)
	}
	b, err := grow(nil, size, h)
	for err == nil {
		if announced >= 0 && int64(len(b)) == announced {
			return b, nil
		}
		if len(b) == cap(b) {
			next := 2 * cap(b)
			if announced >= 0 {
				next = min(next, int(announced))
			}
			if b, err = grow(b, next, h); err != nil {
				break
			}
		}
		var n int
		n, err = body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
	}
	switch {
	case errors.Is(err, io.EOF) && (announced < 0 || int64(len(b)) == announced):
		return b, nil
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	}
	return nil, err
}

// grow is b with that capacity, which h counts. While it is copied, both are
// there.
func grow(b []byte, capacity int, h *hold) ([]byte, error) {
	if !h.Take(capacity) {
		return b, errNoRoom
	}
	larger := append(make([]byte, 0, capacity), b...)
	h.Give(cap(b))
	return larger, nil
}

// steadyBytes is what a body must bring in each Timing.Progress.
const steadyBytes = 1 << 10

// steady gives a body time as long as it makes progress, and Timing.Body for
// all of it. The first deadline is set already.
func (s *Server) steady(w http.ResponseWriter, body io.ReadCloser) io.ReadCloser {
	now := time.Now()
	return &steadyBody{ReadCloser: body, control: http.NewResponseController(w), progress: s.opts.Timing.Progress, set: now, end: now.Add(s.opts.Timing.Body)}
}

// slack is what is given for a wait of d: a deadline is not set anew with every
// few bytes.
func slack(d time.Duration) time.Duration { return d + d/8 }

type steadyBody struct {
	io.ReadCloser
	control  *http.ResponseController
	progress time.Duration
	end      time.Time // of all
	set      time.Time // when the deadline was set
	got      int       // since then
}

// Read implements io.Reader.
func (b *steadyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.got += n; b.got < steadyBytes || err != nil {
		return n, err
	}
	if now := time.Now(); now.Sub(b.set) >= b.progress/8 {
		deadline := now.Add(slack(b.progress))
		if deadline.After(b.end) {
			deadline = b.end
		}
		_ = b.control.SetReadDeadline(deadline)
		b.set, b.got = now, 0
	}
	return n, err
}
