package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// batchStream publishes one object a line and answers with one line each,
// while the body is still being read.
func (s *Server) batchStream(w http.ResponseWriter, r *http.Request, key string) {
	if bad := s.admit(); bad != nil {
		writeProblem(w, bad)
		return
	}
	s.joined()
	defer s.release()
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/1.1; HTTP/2 always is
	openEnded(w, s.opts.Timing.Line)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a stop of the gateway must not wait for the client's next line
		select {
		case <-s.closing:
			_ = control.SetReadDeadline(time.Now())
		case <-stop:
		}
	}()

	lines := &lineReader{
		buf:   bufio.NewReaderSize(&patientReader{body: r.Body, control: control, idle: s.opts.Timing.Line, closing: s.closing}, 64<<10),
		limit: int(s.maxObject()), requestID: requestID(w),
	}
	if r.Header.Get("Expect") != "" {
		_, _ = lines.buf.Peek(1) // reading is what answers 100 Continue
	}
	h := w.Header()
	h.Set("Content-Type", typeNDJSON)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()

	out := make([]byte, 0, 32<<10)
	send := func() bool {
		if len(out) == 0 {
			return true
		}
		_, err := w.Write(out)
		if err == nil {
			err = control.Flush()
		}
		out = out[:0]
		return err == nil
	}
	s.pipeline(func() (batchItem, bool) { return s.nextLine(lines, r, key) }, func(line []byte, _ *batchResult, more bool) bool {
		if line != nil {
			out = append(append(out, line...), '\n')
		}
		if more && len(out) < 32<<10 {
			return true
		}
		return send()
	})
	if lines.failed != nil { // says at which line it ended, and why
		out = append(appendResult(out, lines.count, &batchResult{problem: s.streamProblem(lines.failed)}), '\n')
	}
	_ = send()
}

// nextLine gets the next line ready to be published.
func (s *Server) nextLine(lines *lineReader, r *http.Request, key string) (batchItem, bool) {
	line, tooLong, ok := lines.next()
	if !ok {
		return batchItem{}, false
	}
	index := lines.count
	lines.count++
	if tooLong {
		return batchItem{problem: problem(wire.CodeBodyTooLarge, "The line is larger than any allowed message.")}, true
	}
	if key != "" && index == maxBatch {
		lines.count, lines.failed = index, errKeyedTooLong
		return batchItem{}, false
	}
	item := s.batchItem(line, lines.requestID)
	if key == "" || item.publication == nil {
		return item, true
	}
	item.claim, item.first, item.problem = s.idempotency.begin(onceKey{key: key, line: index}, sha256.Sum256(line))
	if item.claim == nil {
		item.publication = nil
	}
	if item.problem != nil && item.problem.Code == wire.CodeIdempotencyFull {
		// What is behind must not be published where this is not.
		lines.count, lines.failed = index, errNoKeys
		return batchItem{}, false
	}
	return item, true
}

// Reasons to end a stream with an Idempotency-Key.
var (
	errKeyedTooLong = errors.New("too many lines for one key")
	errNoKeys       = errors.New("no room for keys")
)

// streamProblem says why a stream ended before its end.
func (s *Server) streamProblem(err error) *wire.Problem {
	switch {
	case errors.Is(err, errKeyedTooLong):
		return problem(wire.CodeBatchTooLarge, "With an Idempotency-Key a stream may have 10000 lines; this line and all behind it were not sent. Send them as another stream, with another key.")
	case errors.Is(err, errNoKeys):
		return problem(wire.CodeIdempotencyFull, "There is no room for more Idempotency-Keys; this line and all behind it were not sent.")
	case s.draining.Load():
		return problem(wire.CodeShuttingDown, "The gateway is going down; this line and all behind it were not sent.")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem(wire.CodeRequestTimeout, "Nothing came for too long; this line and all behind it were not sent.")
	}
	return problem(wire.CodeInvalidBody, "The body broke off; this line and all behind it were not sent.")
}

// patientReader gives the body a fresh deadline with every read.
type patientReader struct {
	body    io.Reader
	control *http.ResponseController
	idle    time.Duration
	closing <-chan struct{}
}

// Read implements io.Reader.
func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(p.idle))
	select {
	case <-p.closing:
		_ = p.control.SetReadDeadline(time.Now())
	default:
	}
	return p.body.Read(b)
}

// lineReader reads lines that are not blank. What it returns is valid until
// the next call.
type lineReader struct {
	buf       *bufio.Reader
	limit     int
	long      []byte
	count     int
	requestID string
	failed    error // why the body ended, if not by its end
}

// next gives a line without its end. One that is longer than the limit is
// passed over. The body's last line needs no line break; but when the body
// broke off, what there is of a line is none.
func (l *lineReader) next() (line []byte, tooLong, ok bool) {
	for {
		line, tooLong, err := l.read()
		if err != nil && !errors.Is(err, io.EOF) {
			l.failed = err
			return nil, false, false
		}
		if line = bytes.Trim(line, " \t\r\n"); len(line) > 0 || tooLong {
			return line, tooLong, true
		}
		if err != nil {
			return nil, false, false
		}
	}
}

func (l *lineReader) read() (line []byte, tooLong bool, err error) {
	l.long = l.long[:0]
	for {
		part, err := l.buf.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) && len(l.long) == 0 && !tooLong {
			return part, false, err // the usual case: a line within the buffer
		}
		if tooLong = tooLong || len(l.long)+len(part) > l.limit; !tooLong {
			l.long = append(l.long, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return l.long, tooLong, err
		}
	}
}
