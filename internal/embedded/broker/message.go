package broker

import (
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// message is a message that is held for subscribers, or retained. It is shared by all that hold it and never changes.
type message struct {
	packet.Message
	expires time.Time // zero: never
	refs    int       // how many hold it
}

// overhead is about what a message takes beside its bytes, a level of a topic in a tree, a place in
// a queue, and a packet identifier that is remembered.
const (
	messageOverhead  = 200
	levelOverhead    = 100
	deliveryOverhead = 100
	receivedOverhead = 50
)

func newMessage(m packet.Message, now time.Time) *message {
	h := &message{Message: m}
	if m.Expires {
		h.expires = now.Add(time.Duration(m.Expiry) * time.Second)
	}
	return h
}

func (m *message) cost() int64 {
	return int64(len(m.Topic) + len(m.Properties) + len(m.Payload) + messageOverhead)
}

func (m *message) expired(now time.Time) bool { return !m.expires.IsZero() && now.After(m.expires) }

// left is the expiry interval that remains, in seconds. It is never 0: what is on its way has not expired.
func (m *message) left(now time.Time) uint32 {
	return uint32(max(1, (m.expires.Sub(now)+time.Second-1)/time.Second))
}

// hold counts a message that is kept for one reason more. It is false, and nothing is counted, if there is no room.
func (b *Broker) hold(m *message, extra int64) bool {
	cost := extra
	if m.refs == 0 {
		cost += m.cost()
	}
	if b.held+cost > b.limits.Held {
		return false
	}
	b.held += cost
	m.refs++
	return true
}

// release undoes hold.
func (b *Broker) release(m *message, extra int64) {
	b.held -= extra
	if m.refs--; m.refs == 0 {
		b.held -= m.cost()
	}
}

// fifo is a queue. The zero value is empty and ready.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int    { return len(q.items) - q.head }
func (q *fifo[T]) push(v T)    { q.items = append(q.items, v) }
func (q *fifo[T]) front() *T   { return &q.items[q.head] }
func (q *fifo[T]) all() []T    { return q.items[q.head:] }
func (q *fifo[T]) set(all []T) { *q = fifo[T]{items: all} }

func (q *fifo[T]) pop() T {
	v := q.items[q.head]
	var zero T
	q.items[q.head] = zero // or it would keep alive what it points to
	q.head++
	switch {
	case q.head == len(q.items) && cap(q.items) <= 64:
		q.items, q.head = q.items[:0], 0
	case q.head == len(q.items):
		*q = fifo[T]{} // a queue that was long once does not stay large
	case q.head >= 1024 && q.head >= len(q.items)/2:
		q.items = append([]T(nil), q.items[q.head:]...)
		q.head = 0
	}
	return v
}
