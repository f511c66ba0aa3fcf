package gateway

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// logQueue is how many bytes of lines may wait to be written.
	logQueue = 1 << 20
	// logChunk is how much is written at once, so that a slow reader makes room
	// little by little.
	logChunk = 32 << 10
	// logFlush is how long Close waits for a reader.
	logFlush = time.Second
)

// Log writes lines to a file descriptor that may hang or be closed at the other
// end: a pipe to a program that is stopped, a journal on a full disk. A call to
// the logger puts its line into a bounded queue and returns; one goroutine
// writes. When the queue is full, lines are dropped and counted, and when it flows
// again, a line says how many. Any goroutine may use it.
type Log struct {
	*slog.Logger
	lines *lineQueue
}

// NewLog writes to w, which nobody else closes before Close. Format is text or
// json, level one of slog's; anything else means text and info.
func NewLog(format, level string, w io.Writer) *Log {
	var least slog.Level
	_ = least.UnmarshalText([]byte(level)) // it stays at info
	handler := func(w io.Writer) slog.Handler {
		options := &slog.HandlerOptions{Level: least}
		if format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	q := &lineQueue{out: w, wake: make(chan struct{}, 1), ended: make(chan struct{}), notice: func(lines uint64) []byte {
		var b bytes.Buffer
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped, because the log is not read fast enough", 0)
		r.AddAttrs(slog.Uint64("lines", lines))
		_ = handler(&b).Handle(context.Background(), r)
		return b.Bytes()
	}}
	go q.run()
	return &Log{Logger: slog.New(handler(q)), lines: q}
}

// Dropped counts the lines that were not written.
func (l *Log) Dropped() uint64 { return l.lines.dropped.Load() }

// Waiting is how many bytes of lines are not written yet, and how many may be.
func (l *Log) Waiting() (bytes, limit int64) { return l.lines.size(), logQueue }

// Flush waits until all lines so far are written, or for limit.
func (l *Log) Flush(limit time.Duration) { l.lines.flush(limit) }

// Close writes what waits, for a second at most, and ends. Lines that come
// later are dropped.
func (l *Log) Close() {
	l.Flush(logFlush)
	l.lines.close()
}

// lineQueue stands between slog and the file descriptor.
type lineQueue struct {
	out     io.Writer
	notice  func(lines uint64) []byte // the line that stands for dropped ones
	wake    chan struct{}             // holds one token when there is something to do
	ended   chan struct{}             // closed by close
	dropped atomic.Uint64

	mu      sync.Mutex // guards all below; nothing waits while it is held
	waiting []byte     // whole lines
	writing int        // bytes of those that are being written
	missing uint64     // lines dropped that no line has told of
	flushes []chan struct{}
	closed  bool
}

// Write takes one line, or drops it. It does not fail: the caller can do
// nothing about it.
func (q *lineQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting)+q.writing+len(line) > logQueue {
		q.drop(1)
		return len(line), nil
	}
	q.waiting = append(q.waiting, line...)
	q.signal()
	return len(line), nil
}

// drop counts lines that are not written. Called under mu.
func (q *lineQueue) drop(lines int) {
	q.missing += uint64(lines)
	q.dropped.Add(uint64(lines))
}

func (q *lineQueue) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(len(q.waiting) + q.writing)
}

func (q *lineQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // it is awake already
	}
}

// run writes until close.
func (q *lineQueue) run() {
	for {
		for chunk := q.next(); len(chunk) > 0; chunk = q.next() {
			n, err := q.out.Write(chunk)
			lines := q.written(chunk[max(0, min(n, len(chunk))):], err)
			if lines == 0 {
				continue
			}
			if _, err := q.out.Write(q.notice(lines)); err != nil {
				q.untold(lines)
			}
		}
		select {
		case <-q.wake:
		case <-q.ended:
			return
		}
	}
}

// next takes some lines off the queue, whole ones, to be written. When none
// are left, all that was flushed is written.
func (q *lineQueue) next() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	chunk := q.waiting
	if len(chunk) == 0 {
		q.waiting = nil // the memory of a burst
		for _, f := range q.flushes {
			close(f)
		}
		q.flushes = nil
		return nil
	}
	if len(chunk) > logChunk {
		end := bytes.LastIndexByte(chunk[:logChunk], '\n')
		if end < 0 { // one long line
			end = bytes.IndexByte(chunk, '\n')
		}
		chunk = chunk[:end+1]
	}
	q.waiting = q.waiting[len(chunk):]
	q.writing = len(chunk)
	return chunk
}

// written notes that a chunk has been written but for rest: nobody reads any
// more, or the disk is full, and later lines may have better luck. If lines
// were dropped before, and the log flows again, it says how many.
func (q *lineQueue) written(rest []byte, err error) (missing uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = 0
	if err != nil {
		q.drop(bytes.Count(rest, []byte{'\n'}))
		return 0
	}
	if len(q.waiting) > logQueue/2 { // it is not over
		return 0
	}
	missing, q.missing = q.missing, 0
	return missing
}

// untold takes back that a line has told of dropped ones.
func (q *lineQueue) untold(lines uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.missing += lines
}

func (q *lineQueue) flush(limit time.Duration) {
	done := make(chan struct{})
	q.mu.Lock()
	q.flushes = append(q.flushes, done)
	q.signal()
	q.mu.Unlock()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

func (q *lineQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.ended)
	}
}
