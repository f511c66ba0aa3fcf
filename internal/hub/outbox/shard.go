package outbox

import (
	"sync"
	"time"
)

// Writers write all outboxes: a few goroutines, the shards, that serve many
// clients each. Flush is called by one goroutine at a time; all else may be
// called concurrently.
type Writers struct {
	shards []*shard
	wg     sync.WaitGroup
	done   chan struct{}

	// Of the caller of Flush.
	press press
	few   []*Outbox
}

// NewWriters starts n shards that look at each connection once in every
// keepAlive. Close ends them.
func NewWriters(n int, keepAlive time.Duration) *Writers {
	w := &Writers{done: make(chan struct{})}
	for range n {
		s := &shard{wg: &w.wg, shards: uint64(n), wake: make(chan struct{}, 1)}
		for i := range s.wheel {
			s.wheel[i] = map[*Outbox]struct{}{}
		}
		w.shards = append(w.shards, s)
		w.wg.Go(func() { s.run(keepAlive, w.done) })
	}
	return w
}

// Close ends the shards, and returns when nobody writes any more: every outbox
// must have been aborted.
func (w *Writers) Close() {
	close(w.done)
	w.wg.Wait()
}

func (w *Writers) shard(id uint64) *shard { return w.shards[id%uint64(len(w.shards))] }

// Kick wakes the shards that have something to do.
func (w *Writers) Kick() {
	for _, s := range w.shards {
		s.kick()
	}
}

// few is how many clients of a shard the caller of Flush writes to itself.
const few = 16

// Flush lets what was queued be written: to a few clients at once, which is
// quicker than to wake a shard for it, to many by the shards, side by side.
func (w *Writers) Flush() {
	for _, s := range w.shards {
		batch, all := s.takeFew(w.few[:0])
		for i, o := range batch {
			if o.flush(&w.press) {
				s.add(o)
				all = false
			}
			batch[i] = nil
		}
		w.few = batch
		if !all {
			s.kick()
		}
	}
	w.press.reset()
}

// shard is one writer: it flushes the outboxes of its clients, each with one
// system call, and sends their keep-alives.
type shard struct {
	wg     *sync.WaitGroup
	shards uint64
	wake   chan struct{}

	mu    sync.Mutex // guards all below
	dirty []*Outbox  // with something to write
	wheel [wheelSlots]map[*Outbox]struct{}
}

// wheelSlots spreads the keep-alives of one period.
const wheelSlots = 10

func (s *shard) spoke(o *Outbox) map[*Outbox]struct{} { return s.wheel[o.id/s.shards%wheelSlots] }

func (s *shard) track(o *Outbox) {
	s.mu.Lock()
	s.spoke(o)[o] = struct{}{}
	s.mu.Unlock()
}

func (s *shard) untrack(o *Outbox) {
	s.mu.Lock()
	delete(s.spoke(o), o)
	s.mu.Unlock()
}

// add queues o for the next flush; theShard is its writer. The caller kicks
// when it has added all.
func (s *shard) add(o *Outbox) {
	s.mu.Lock()
	s.dirty = append(s.dirty, o)
	s.mu.Unlock()
}

// takeFew gives the outboxes that want to be flushed if they are few, and
// reports whether none are left.
func (s *shard) takeFew(into []*Outbox) ([]*Outbox, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dirty) > few {
		return into, false
	}
	into = append(into, s.dirty...)
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	return into, true
}

// kick wakes the shard if there is something to flush.
func (s *shard) kick() {
	s.mu.Lock()
	n := len(s.dirty)
	s.mu.Unlock()
	if n == 0 {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *shard) run(keepAlive time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(keepAlive / wheelSlots)
	defer tick.Stop()
	var batch []*Outbox
	var press press
	turn := 0
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			s.keepAlive(turn)
			turn = (turn + 1) % wheelSlots
		case <-s.wake:
		}
		for {
			s.mu.Lock()
			batch, s.dirty = s.dirty, batch[:0]
			s.mu.Unlock()
			if len(batch) == 0 {
				break
			}
			for i, o := range batch {
				if o.flush(&press) {
					s.add(o)
				}
				batch[i] = nil
			}
		}
		press.reset()
	}
}

// keepAlive serves one spoke of the wheel: who is silent for too long is cut
// off, the others are pinged when it is time.
func (s *shard) keepAlive(turn int) {
	s.mu.Lock()
	clients := make([]*Outbox, 0, len(s.wheel[turn]))
	for o := range s.wheel[turn] {
		clients = append(clients, o)
	}
	s.mu.Unlock()
	now := time.Now()
	for _, o := range clients {
		if o.conn.Silent(now) {
			o.Abort()
			continue
		}
		if p := o.codec.KeepAlive(now); len(p) > 0 {
			o.PushRaw(p)
		}
	}
}
