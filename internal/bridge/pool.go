package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A lane has at most so many publications without an outcome, and so many bytes in them.
const (
	laneMessages = 1024
	laneBytes    = 32 << 20
)

// A lane is one publisher slot: the queue of its current link, and the books over what has no outcome yet. Nothing in
// a queue outlives its link; it is handed back as not sent.
type lane struct {
	n        int
	maxBytes int64
	stats    *counters
	open     atomic.Int64
	bytes    atomic.Int64
	senders  sync.WaitGroup

	mu  sync.Mutex // guards out, and keeps the order of submit
	out *outlet    // nil: no link
}

// An outlet is a lane's link, and what waits while it has no room.
type outlet struct {
	link    *link
	queue   chan *Publication
	waiting int // in queue, or in the sender's hands: whatever comes next goes behind them
}

func newLane(n, maxPayload int, stats *counters) *lane {
	return &lane{n: n, maxBytes: max(laneBytes, 4*int64(maxPayload)), stats: stats}
}

func (l *lane) submit(m Message) (*Publication, error) {
	p := &Publication{msg: m, lane: l, size: len(m.Topic) + len(m.Payload), done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil, ErrNoConnection
	}
	if l.open.Load() >= laneMessages || l.bytes.Load()+int64(p.size) > l.maxBytes {
		return nil, ErrOverloaded
	}
	l.open.Add(1)
	l.bytes.Add(int64(p.size))
	l.stats.inFlight.Add(1)
	if l.out.waiting == 0 {
		p.taken.Store(true)
		if l.out.link.wire.offer(p) {
			return p, nil
		}
		p.taken.Store(false)
	}
	select {
	case l.out.queue <- p:
		l.out.waiting++
		return p, nil
	default: // full of publications that were given up while they waited
		l.release(p)
		return nil, ErrOverloaded
	}
}

func (l *lane) release(p *Publication) {
	l.open.Add(-1)
	l.bytes.Add(-int64(p.size))
	l.stats.inFlight.Add(-1)
}

// serve sends over k until k dies or ctx is done. Ready is called when it takes publications.
func (l *lane) serve(ctx context.Context, k *link, ready func()) {
	out := &outlet{link: k, queue: make(chan *Publication, laneMessages)}
	l.mu.Lock()
	l.out = out
	l.mu.Unlock()
	ready()
	l.senders.Go(func() { l.send(out) })
	select {
	case <-k.down():
		l.detach(out)
	case <-ctx.Done():
		l.detach(out)
		l.drain(k)
	}
}

// detach makes sure that nothing more is put into out; a later link may already have its own.
func (l *lane) detach(out *outlet) {
	l.mu.Lock()
	if l.out == out {
		l.out = nil
	}
	l.mu.Unlock()
}

// send feeds a link with what has found no room. When the link dies, what is left in the queue was not sent.
func (l *lane) send(out *outlet) {
	for {
		select {
		case p := <-out.queue:
			if p.taken.CompareAndSwap(false, true) {
				out.link.publish(p)
			}
			l.mu.Lock()
			out.waiting--
			l.mu.Unlock()
		case <-out.link.down():
			l.detach(out)
			for {
				select {
				case p := <-out.queue:
					if p.taken.CompareAndSwap(false, true) {
						p.complete(ErrNotSent)
					}
				default:
					return
				}
			}
		}
	}
}

// drain gives the broker a moment for the answers that are still due.
func (l *lane) drain(k *link) {
	deadline := time.NewTimer(k.timing.drain)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.open.Load() > 0 {
		select {
		case <-tick.C:
		case <-k.down():
			return
		case <-deadline.C:
			return
		}
	}
}
