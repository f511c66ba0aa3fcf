package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 2 * time.Minute

// slowReader is a file descriptor whose reader takes a line when the test says
// so, or breaks.
type slowReader struct {
	mu     sync.Mutex // guards all below
	free   *sync.Cond
	hangs  bool
	broken error
	got    bytes.Buffer
	writes int // begun
}

func newSlowReader(hangs bool) *slowReader {
	r := &slowReader{hangs: hangs}
	r.free = sync.NewCond(&r.mu)
	return r
}

func (r *slowReader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	r.free.Broadcast()
	for r.hangs {
		r.free.Wait()
	}
	if r.broken != nil {
		return 0, r.broken
	}
	return r.got.Write(p)
}

// set changes what the reader does.
func (r *slowReader) set(hangs bool, broken error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hangs, r.broken = hangs, broken
	r.free.Broadcast()
}

// writing returns when a write waits for the reader.
func (r *slowReader) writing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.writes == 0 {
		r.free.Wait()
	}
}

func (r *slowReader) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Split(strings.TrimSuffix(r.got.String(), "\n"), "\n")
}

func TestLogWritesEachLineInOrder(t *testing.T) {
	r := newSlowReader(false)
	log := NewLog("json", "info", r)
	const lines = 10_000
	for n := range lines {
		log.Info("line", "n", n)
		log.Debug("not this one")
	}
	log.Close()
	got := r.lines()
	if len(got) != lines || log.Dropped() != 0 {
		t.Fatalf("got %d lines and %d dropped, want %d and none", len(got), log.Dropped(), lines)
	}
	for n, line := range got {
		if !strings.HasSuffix(line, fmt.Sprintf(`"msg":"line","n":%d}`, n)) {
			t.Fatalf("line %d: got %s", n, line)
		}
	}
}

// While nobody reads, a bounded number of bytes is kept, the newest lines are
// dropped, and nobody who logs waits. When the reader is back, one line says
// how many are missing.
func TestLogThatIsNotReadDropsAndCounts(t *testing.T) {
	r := newSlowReader(true)
	log := NewLog("text", "info", r)
	log.Info("first")
	r.writing()
	const lines = 3000
	text := strings.Repeat("x", 1000)
	for range lines {
		log.Info(text)
	}
	dropped := log.Dropped()
	log.lines.mu.Lock()
	held := len(log.lines.waiting) + log.lines.writing
	log.lines.mu.Unlock()
	if held > logQueue || held < logQueue-2000 {
		t.Errorf("got %d bytes held, want nearly %d", held, logQueue)
	}
	log.Flush(time.Millisecond) // returns though nobody reads
	r.set(false, nil)
	log.Flush(patience)
	log.Info("last")
	log.Close()
	var whole, notices int
	for _, line := range r.lines() {
		if strings.Contains(line, text) {
			whole++
		}
		if strings.Contains(line, "log lines were dropped") {
			notices++
			if want := fmt.Sprintf("level=WARN msg=\"log lines were dropped, because the log is not read fast enough\" lines=%d", dropped); !strings.HasSuffix(line, want) {
				t.Errorf("got %s, want it to end with %s", line, want)
			}
		}
	}
	if dropped == 0 || whole+int(dropped) != lines || notices != 1 {
		t.Errorf("got %d lines, %d dropped and %d notices, want %d in all and one notice", whole, dropped, notices, lines)
	}
	if got := r.lines(); !strings.HasSuffix(got[len(got)-1], "msg=last") {
		t.Errorf("got %s last, want what was logged last", got[len(got)-1])
	}
}

// A reader that is gone costs the lines and nothing else; one that comes back
// is told.
func TestLogGoesOnWithoutAReader(t *testing.T) {
	r := newSlowReader(false)
	log := NewLog("text", "info", r)
	r.set(false, errors.New("broken pipe"))
	for range 5 {
		log.Info("lost")
		log.Flush(patience)
	}
	if got := log.Dropped(); got != 5 {
		t.Errorf("got %d dropped lines, want 5", got)
	}
	r.set(false, nil)
	log.Info("back")
	log.Close()
	got := r.lines()
	if len(got) != 2 || !strings.Contains(got[0], "msg=back") || !strings.HasSuffix(got[1], "lines=5") {
		t.Errorf("got %q, want the line and how many were lost before", got)
	}
}

// The end does not wait for a reader that hangs.
func TestLogClosesThoughNobodyReads(t *testing.T) {
	r := newSlowReader(true)
	log := NewLog("text", "info", r)
	log.Info("line")
	r.writing()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		log.Close()
		log.Info("too late")
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close waits for the reader")
	}
	r.set(false, nil)
	if got := log.Dropped(); got != 1 {
		t.Errorf("got %d dropped lines, want the one behind Close", got)
	}
}
