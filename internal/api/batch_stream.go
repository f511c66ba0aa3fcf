package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Buffers of a batch stream.
const (
	readBytes  = 32 << 10
	writeBytes = 32 << 10
	maxLine    = 8 << 10 // no result is longer
)

// batchStream publishes one object a line and answers with one line each,
// while the body is still being read; with failures only with what did not go
// well, and a summary.
func (s *Server) batchStream(w http.ResponseWriter, r *http.Request, key string, failures bool) {
	held := hold{budget: s.bodies}
	defer held.release()
	if !held.Take(readBytes + writeBytes) {
		writeProblem(w, noRoom())
		return
	}
	bad := decodeBody(w, r, &held)
	if bad == nil {
		bad = s.admit()
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	s.joined()
	defer s.release()
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/1.1; HTTP/2 always is
	defer s.endReading(control)()

	body := &patientReader{body: r.Body, control: control, idle: s.opts.Timing.Line, closing: s.closing}
	lines := &lineReader{buf: bufio.NewReaderSize(body, readBytes), limit: int(s.maxObject()), held: &held, by: s.lasting(callerOf(w).quiet())}
	if r.Header.Get("Expect") != "" {
		_, _ = lines.buf.Peek(1) // reading is what answers 100 Continue
	}
	results := newResultWriter(w, control, s.opts.Timing.Line, failures)
	heard, summary := true, batchSummary{Type: "summary"}
	s.pipeline(func() (batchItem, bool) { return s.nextLine(lines, r, key) }, func(line []byte, res *batchResult, more bool) bool {
		if line != nil {
			summary.Total++
			if res.problem != nil {
				summary.Failed++
			} else if failures {
				line = nil
			}
		}
		heard = results.put(line, more)
		return heard
	})
	if lines.failed != nil { // says at which line it ended, and why
		heard = results.put(appendResult(nil, lines.count, &batchResult{problem: s.streamProblem(lines.failed)}), true) && heard
	}
	if failures {
		heard = results.put(marshal(&summary), true) && heard
	}
	if heard = results.flush() && heard; !heard {
		s.metrics.unheard.Inc()
		s.opts.Log.Warn("the results of a batch stream are not read; what was under way ended unheard",
			"request_id", requestID(w), "results", summary.Total, "hint", "read while you write, or ask for results=errors")
	}
}

// batchSummary is the last line of the results, where only failures were asked
// for.
type batchSummary struct {
	Type   string `json:"type"`   // summary
	Total  int    `json:"total"`  // messages taken
	Failed int    `json:"failed"` // of them, those that did not go well
}

// endReading ends the reading of a body when the gateway goes down, which must
// not wait for the client's next line. The function it gives ends that, and
// returns when the request is not touched any more: it is about to end.
func (s *Server) endReading(control *http.ResponseController) (stop func()) {
	stopped := make(chan struct{})
	var ending sync.WaitGroup
	ending.Go(func() {
		select {
		case <-s.closing:
			_ = control.SetReadDeadline(time.Now())
		case <-stopped:
		}
	})
	return func() {
		close(stopped)
		ending.Wait()
	}
}

// resultWriter writes results, many at a time.
type resultWriter struct {
	w       io.Writer
	control *http.ResponseController
	late    bool // nothing is written before the end, unless it is much
	out     []byte
}

// newResultWriter begins the answer. A late one begins when the body has been
// read: nginx sends no more of a body once it has the head of the answer.
func newResultWriter(w http.ResponseWriter, control *http.ResponseController, stall time.Duration, late bool) *resultWriter {
	openEnded(w, stall)
	h := w.Header()
	h.Set("Content-Type", typeNDJSON)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	if !late {
		w.WriteHeader(http.StatusOK)
		_ = control.Flush()
	}
	return &resultWriter{w: w, control: control, late: late, out: make([]byte, 0, writeBytes)}
}

// put adds a result; nil is none. What there is is written when there is no
// more, or much. False: the client takes nothing any more.
func (r *resultWriter) put(line []byte, more bool) bool {
	if line != nil {
		r.out = append(append(r.out, line...), '\n')
	}
	if (more || r.late) && len(r.out) < writeBytes-maxLine {
		return true
	}
	return r.flush()
}

func (r *resultWriter) flush() bool {
	if len(r.out) == 0 {
		return true
	}
	_, err := r.w.Write(r.out)
	if err == nil {
		err = r.control.Flush()
	}
	r.out = r.out[:0]
	return err == nil
}

// nextLine gets the next line ready to be published.
func (s *Server) nextLine(lines *lineReader, r *http.Request, key string) (batchItem, bool) {
	line, err := lines.next()
	if err != nil {
		return batchItem{}, false
	}
	index := lines.count
	lines.count++
	switch {
	case line.tooLong:
		return batchItem{problem: problem(wire.CodeBodyTooLarge, "The line is larger than any allowed message.")}, true
	case line.noRoom:
		return batchItem{problem: noRoom()}, true
	}
	if key != "" && index == maxBatch {
		lines.count, lines.failed = index, errKeyedTooLong
		return batchItem{}, false
	}
	item := s.batchItem(line.text, lines.by)
	if key == "" || item.publication == nil {
		return item, true
	}
	item.claim, item.first, item.problem = s.idempotency.begin(onceKey{principal: lines.by.caller.owner(), key: key, line: index}, sha256.Sum256(line.text), answerRoom)
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
	case errors.Is(err, errNotGzip):
		return problem(wire.CodeInvalidBody, "The body is not gzip, as its Content-Encoding says; this line and all behind it were not sent.")
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

// line is one that is not blank, without its end; or what it could not be read
// for.
type line struct {
	text    []byte // valid until the next one is read
	tooLong bool
	noRoom  bool
}

// lineReader reads lines that are not blank.
type lineReader struct {
	buf    *bufio.Reader
	limit  int
	held   *hold
	long   []byte // of a line that is longer than buf; held counts it
	count  int
	by     *lasting
	failed error // why the body ended, if not by its end
}

// next gives a line; one that cannot be read is passed over. The body's last
// line needs no line break; but when the body broke off, what there is of a
// line is none. The error is io.EOF at the end of the body.
func (l *lineReader) next() (line, error) {
	for {
		found, err := l.read()
		if err != nil && !errors.Is(err, io.EOF) {
			l.failed = err
			return line{}, err
		}
		if found.text = bytes.Trim(found.text, " \t\r\n"); len(found.text) > 0 || found.tooLong || found.noRoom {
			return found, nil
		}
		if err != nil {
			return line{}, err
		}
	}
}

func (l *lineReader) read() (found line, err error) {
	l.held.Give(cap(l.long)) // of the last line
	l.long = nil
	for {
		part, err := l.buf.ReadSlice('\n')
		full := errors.Is(err, bufio.ErrBufferFull)
		if !full && l.long == nil && !found.tooLong && !found.noRoom {
			found.text = part // the usual case: a line within the buffer
			return found, err
		}
		l.keep(part, &found)
		if !full {
			found.text = l.long
			return found, err
		}
	}
}

// keep appends a part of a long line, unless it is passed over.
func (l *lineReader) keep(part []byte, to *line) {
	need := len(l.long) + len(part)
	switch {
	case to.tooLong || to.noRoom:
		return
	case need > l.limit:
		to.tooLong = true
	case need > cap(l.long):
		larger, err := grow(l.long, min(max(2*cap(l.long), need), l.limit), l.held)
		to.noRoom = err != nil
		l.long = larger
	}
	if to.tooLong || to.noRoom {
		l.held.Give(cap(l.long))
		l.long = nil
		return
	}
	l.long = append(l.long, part...)
}
