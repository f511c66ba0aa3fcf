package api

import (
	"context"
	"sync"
)

// tally counts what is under way. Its methods may be called concurrently.
type tally struct {
	mu   sync.Mutex // guards the rest
	n    int
	none chan struct{} // closed when n becomes 0; nil: nobody waits for that
	less chan struct{} // closed when n becomes smaller; nil likewise
}

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < 0 && t.less != nil {
		close(t.less)
		t.less = nil
	}
	if t.n += n; t.n == 0 && t.none != nil {
		close(t.none)
		t.none = nil
	}
}

// fewer is closed when something has ended.
func (t *tally) fewer() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.less == nil {
		t.less = make(chan struct{})
	}
	return t.less
}

// wait returns when nothing is under way, or when ctx ends.
func (t *tally) wait(ctx context.Context) {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.none == nil {
		t.none = make(chan struct{})
	}
	none := t.none
	t.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}
