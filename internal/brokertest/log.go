package brokertest

import (
	"strings"
	"sync"
	"time"
)

// logBuffer collects a process's output and wakes those who wait for a line.
type logBuffer struct {
	mu      sync.Mutex
	text    []byte        // guarded by mu
	changed chan struct{} // guarded by mu; made by a waiter, closed by Write
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// read returns the text and a channel that is closed when more arrives.
func (b *logBuffer) read() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return string(b.text), b.changed
}

// wait reports whether the text from offset on held substr n times before
// timeout, and before dead was closed.
func (b *logBuffer) wait(substr string, offset, n int, timeout time.Duration, dead <-chan struct{}) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		text, changed := b.read()
		if strings.Count(text[min(offset, len(text)):], substr) >= n {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-dead:
			// The last lines come before the end of the process is seen.
			return strings.Count(b.String()[offset:], substr) >= n
		}
	}
}
