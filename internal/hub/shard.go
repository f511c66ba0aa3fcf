package hub

import (
	"sync"
	"time"
)

// shard is one writer: it flushes the outboxes of its clients, each with one
// system call, and sends their keep-alives.
type shard struct {
	hub  *Hub
	wake chan struct{}

	mu    sync.Mutex
	dirty []*Client // outboxes with something to write
	wheel [wheelSlots]map[*Client]struct{}
}

// wheelSlots spreads the keep-alives of one period.
const wheelSlots = 20

func newShard(h *Hub) *shard {
	s := &shard{hub: h, wake: make(chan struct{}, 1)}
	for i := range s.wheel {
		s.wheel[i] = map[*Client]struct{}{}
	}
	return s
}

func (s *shard) slot(c *Client) map[*Client]struct{} {
	return s.wheel[c.id/uint64(len(s.hub.shards))%wheelSlots]
}

func (s *shard) track(c *Client) {
	s.mu.Lock()
	s.slot(c)[c] = struct{}{}
	s.mu.Unlock()
}

func (s *shard) untrack(c *Client) {
	s.mu.Lock()
	delete(s.slot(c), c)
	s.mu.Unlock()
}

// add queues c for the next flush; its outbox is marked scheduled. The caller
// kicks when it has added all.
func (s *shard) add(c *Client) {
	s.mu.Lock()
	s.dirty = append(s.dirty, c)
	s.mu.Unlock()
}

// takeFew gives the clients that want to be flushed if they are few, and
// reports whether none are left.
func (s *shard) takeFew(into []*Client) ([]*Client, bool) {
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

func (s *shard) run() {
	tick := time.NewTicker(s.hub.opts.KeepAlive / wheelSlots)
	defer tick.Stop()
	var batch []*Client
	var press press
	turn := 0
	for {
		select {
		case <-s.hub.done:
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
			for i, c := range batch {
				if c.out.flush(&press) {
					s.add(c)
				}
				batch[i] = nil
			}
		}
		press.reset()
	}
}

// keepAlive serves one slot of the wheel: who is silent for too long is cut
// off, the others are pinged when it is time.
func (s *shard) keepAlive(turn int) {
	s.mu.Lock()
	clients := make([]*Client, 0, len(s.wheel[turn]))
	for c := range s.wheel[turn] {
		clients = append(clients, c)
	}
	s.mu.Unlock()
	now := time.Now()
	for _, c := range clients {
		if c.out.transport.Silent(now) {
			c.out.fail()
			continue
		}
		if p := c.out.transport.KeepAlive(now); len(p) > 0 {
			c.out.pushRaw(p)
		}
	}
}
