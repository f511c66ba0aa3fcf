package devicecom

import (
	"context"
	"sync"
)

// entry is a message as it came. It is decoded for each who takes it: so the
// connection's reader does not wait for that, what waits takes no more memory
// than its bytes, and no two callers hold the same map.
type entry struct {
	topic    string
	payload  []byte
	retained bool
}

func (e *entry) message() Message {
	return Message{Topic: e.topic, Value: decode(e.payload), Payload: e.payload, Retained: e.retained}
}

// overhead is what an entry takes besides its topic and payload, in bytes.
const overhead = 128

func (e *entry) size() int { return len(e.topic) + len(e.payload) + overhead }

// queue holds the newest entries until somebody takes them, oldest first. It is
// bounded in entries and bytes; the newest one is always held.
type queue struct {
	maxEntries, maxBytes int
	ready                chan struct{} // holds a token when there may be entries

	mu      sync.Mutex
	entries []*entry // guarded by mu
	bytes   int      // guarded by mu
	dropped uint64   // guarded by mu
}

func newQueue(maxEntries, maxBytes int) *queue {
	return &queue{maxEntries: maxEntries, maxBytes: maxBytes, ready: make(chan struct{}, 1)}
}

// push never waits.
func (q *queue) push(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries = append(q.entries, e)
	q.bytes += e.size()
	for len(q.entries) > 1 && (len(q.entries) > q.maxEntries || q.bytes > q.maxBytes) {
		q.shift()
		q.dropped++
	}
	q.signal()
}

// shift takes the oldest entry. mu is held.
func (q *queue) shift() *entry {
	e := q.entries[0]
	q.entries[0] = nil
	q.entries = q.entries[1:]
	q.bytes -= e.size()
	return e
}

// signal wakes one of those who wait. mu is held.
func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop waits for an entry until the context ends or closed is.
func (q *queue) pop(ctx context.Context, closed <-chan struct{}) (*entry, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if e := q.take(); e != nil {
			return e, nil
		}
		select {
		case <-q.ready:
		case <-closed:
			return nil, ErrClosed
		case <-ctx.Done():
		}
	}
}

// take returns the oldest entry, or nil.
func (q *queue) take() *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) == 0 {
		return nil
	}
	e := q.shift()
	if len(q.entries) > 0 {
		q.signal()
	}
	return e
}

func (q *queue) droppedSoFar() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}
