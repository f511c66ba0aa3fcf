package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// A lane has at most so many publications without an outcome, and so many bytes in them. Mosquitto, as it is configured
// unless told otherwise, keeps 20 messages above QoS 0 under way and 1000 waiting, and throws away at QoS 2 what exceeds
// that although it answers; only MQTT 5 tells how many it takes.
const (
	laneMessages = 1000
	laneBytes    = 32 << 20
	trialBytes   = 4 << 20 // where one is under way at a time
)

// InFlightLimit is how many bytes publications without an outcome may hold, with so many lanes and payloads so large.
func InFlightLimit(pool, maxPayload int) int64 {
	return int64(pool)*laneRoom(laneBytes, maxPayload) + laneRoom(trialBytes, maxPayload)
}

// laneRoom lets a lane have four messages of the largest kind at least.
func laneRoom(bytes int64, maxPayload int) int64 { return max(bytes, 4*int64(maxPayload)) }

// A lane is one publisher role: the queue of its current link, and the books over what has no outcome yet. Nothing in
// a queue outlives its link; it is handed back as not sent.
type lane struct {
	n        int
	maxBytes int64
	stats    *counters
	open     atomic.Int64
	emptied  chan struct{} // holds one token when open has become 0
	bytes    atomic.Int64
	senders  sync.WaitGroup
	flight   inFlight

	mu  sync.Mutex // guards the rest, and keeps the order of submit
	out *outlet    // nil: no link
	seq uint64
}

// An outlet is a lane's link, and what waits while it has no room.
type outlet struct {
	link    *mqtt.Conn
	queue   chan *Publication
	waiting int // in queue, or in the sender's hands: whatever comes next goes behind them
}

func newLane(n int, maxBytes int64, stats *counters) *lane {
	return &lane{n: n, maxBytes: maxBytes, stats: stats, emptied: make(chan struct{}, 1)}
}

func (l *lane) submit(m Message) (*Publication, error) {
	p := newPublication(m, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil, ErrNoConnection
	}
	if err := p.speak(l.out.link); err != nil {
		return nil, err
	}
	if !l.reserve(p) {
		return nil, ErrOverloaded
	}
	if !l.put(p) {
		l.release(p)
		return nil, ErrOverloaded
	}
	return p, nil
}

// put hands p, which is in the books, to the link, or puts it behind what waits for that. It is false when there is no
// room. It is called with the lock held, while there is a link.
func (l *lane) put(p *Publication) bool {
	l.seq++
	p.seq = l.seq
	if l.out.waiting == 0 {
		p.taken.Store(true)
		if l.out.link.TryPublish(&p.sent) {
			return true
		}
	}
	p.taken.Store(false)
	select {
	case l.out.queue <- p:
		l.out.waiting++
		return true
	default: // full of publications that were given up while they waited
		return false
	}
}

// adopt takes over a publication that the trial link has taken out of its queue, and not sent.
func (l *lane) adopt(p *Publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := ErrNotSent
	if l.out != nil {
		if err = p.speak(l.out.link); err == nil && !l.reserve(p) {
			err = ErrNotSent
		}
	}
	if err != nil {
		p.complete(0, err)
		return
	}
	p.lane.release(p)
	p.lane = l
	if !l.put(p) && p.taken.CompareAndSwap(false, true) {
		p.complete(0, ErrNotSent)
	}
}

// reserve enters p into the books, if there is room. Callers take turns.
func (l *lane) reserve(p *Publication) bool {
	if l.open.Load() >= laneMessages || l.bytes.Load()+int64(p.size) > l.maxBytes {
		return false
	}
	l.open.Add(1)
	l.bytes.Add(int64(p.size))
	l.stats.inFlight.Add(1)
	return true
}

func (l *lane) release(p *Publication) {
	if l.open.Add(-1) == 0 {
		select {
		case l.emptied <- struct{}{}:
		default: // there is one already
		}
	}
	l.bytes.Add(-int64(p.size))
	l.stats.inFlight.Add(-1)
}

// serve sends over k until k dies or ctx is done. Ready is called when it takes publications.
func (l *lane) serve(ctx context.Context, k *mqtt.Conn, drain time.Duration, ready func()) {
	out := &outlet{link: k, queue: make(chan *Publication, laneMessages)}
	l.mu.Lock()
	l.out = out
	l.mu.Unlock()
	ready()
	l.senders.Go(func() { l.send(out) })
	select {
	case <-k.Done():
		l.detach(out)
	case <-ctx.Done():
		l.detach(out)
		l.drain(k, drain)
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
				out.link.Publish(&p.sent)
			}
			l.mu.Lock()
			out.waiting--
			l.mu.Unlock()
		case <-out.link.Done():
			l.detach(out)
			for {
				select {
				case p := <-out.queue:
					if p.taken.CompareAndSwap(false, true) {
						p.complete(0, ErrNotSent)
					}
				default:
					return
				}
			}
		}
	}
}

// drain gives the broker a moment for the answers that are still due.
func (l *lane) drain(k *mqtt.Conn, most time.Duration) {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	for l.open.Load() > 0 {
		select {
		case <-l.emptied:
		case <-k.Done():
			return
		case <-deadline.C:
			return
		}
	}
}
