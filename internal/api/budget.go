package api

import (
	"context"
	"sync"
	"time"
)

// budget bounds the bytes that all requests together hold: one counts what has
// come of bodies and frames that are not finished, another what is being
// written of answers. Its methods may be called concurrently.
type budget struct {
	limit int64

	mu    sync.Mutex // guards the rest
	held  int64
	freed chan struct{} // closed when something is given back; nil: nobody waits
}

// smallHold is what a holder may have from the last quarter of a budget, so
// that a few large ones cannot keep out everybody else.
const smallHold = 64 << 10

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// take takes n bytes for a holder that has had bytes so far, if there is room.
func (b *budget) take(had, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := b.limit
	if had+n > smallHold {
		limit = limit / 4 * 3
	}
	if b.held+n > limit {
		return false
	}
	b.held += n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if n > 0 && b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}

// bytes is the sum of what is held.
func (b *budget) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

func (b *budget) sum() Sum { return Sum{b.bytes(), b.limit} }

// change is closed when something is given back.
func (b *budget) change() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed
}

// hold is what one request, or one connection, has of a budget. It is used by
// one goroutine at a time, and release must be called in the end.
type hold struct {
	budget *budget
	had    int64
}

// Take takes n bytes more, if there is room.
func (h *hold) Take(n int) bool {
	if !h.budget.take(h.had, int64(n)) {
		return false
	}
	h.had += int64(n)
	return true
}

// add counts n bytes that are there already, whether or not there is room.
func (h *hold) add(n int) {
	h.had += int64(n)
	h.budget.give(int64(-n))
}

// wait is Take that waits for room, for no longer than limit.
func (h *hold) wait(ctx context.Context, n int, limit time.Duration) bool {
	if h.Take(n) {
		return true
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		freed := h.budget.change()
		if h.Take(n) {
			return true
		}
		select {
		case <-freed:
		case <-timeout.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Give gives n bytes back.
func (h *hold) Give(n int) {
	h.had -= int64(n)
	h.budget.give(int64(n))
}

// release gives everything back.
func (h *hold) release() { h.Give(int(h.had)) }
