package test

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for something that should be quick. It is
// long, because a machine may be busy with something else: only what hangs
// takes so long.
const patience = 3 * time.Minute

// sized is how often a test repeats itself that shows nothing new by it: less
// often under the race detector. `make test` runs it without as well.
func sized(full, race int) int {
	if raceDetector {
		return race
	}
	return full
}

// eventually waits for a condition that nothing signals.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// output is what a program writes, for a test to read while it grows.
type output struct {
	mu     sync.Mutex // guards all below
	b      bytes.Buffer
	change chan struct{} // closed by the next Write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.change != nil {
		close(o.change)
		o.change = nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// next is the text so far, and a channel that is closed when there is more.
func (o *output) next() (text string, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.change == nil {
		o.change = make(chan struct{})
	}
	return o.b.String(), o.change
}

// until waits until the text satisfies done, and reports whether it does: not
// if ended is closed before, or after patience.
func (o *output) until(ended <-chan struct{}, done func(text string) bool) bool {
	timeout := time.After(patience)
	for {
		text, more := o.next()
		if done(text) {
			return true
		}
		select {
		case <-more:
		case <-ended:
			return done(o.String())
		case <-timeout:
			return false
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
