package hub

import (
	"sync/atomic"

	"github.com/vulturepi/gateway/wire"
)

// counters are guarded by hub.mu, except the atomic ones.
type counters struct {
	received    uint64
	subscribers map[string]int
	delivered   map[string]uint64 // of clients that have gone

	gaps          map[string]*atomic.Uint64 // by reason; the map does not change
	droppedSlow   atomic.Uint64
	droppedClosed atomic.Uint64
	conflated     atomic.Uint64 // superseded under OverflowLatest
	shed          atomic.Uint64 // clients cut off because all together held too much
}

func (c *counters) init() {
	c.gaps = map[string]*atomic.Uint64{}
	for _, reason := range []string{
		wire.GapHistoryExpired, wire.GapGatewayRestarted, wire.GapBrokerConnectionLost, wire.GapSlowConsumer, wire.GapBrokerOverflow,
	} {
		c.gaps[reason] = new(atomic.Uint64)
	}
	c.subscribers = map[string]int{}
	c.delivered = map[string]uint64{}
}

func (c *counters) attach(transport string) { c.subscribers[transport]++ }

func (c *counters) detach(transport string, delivered uint64) {
	c.subscribers[transport]--
	c.delivered[transport] += delivered
}

// Stats is a reading of the hub's counters.
type Stats struct {
	Received    uint64            // messages from the broker, retained copies included
	Delivered   map[string]uint64 // messages framed for clients, by transport
	Dropped     map[string]uint64 // messages not delivered, by reason: slow_consumer, connection_closed
	Gaps        map[string]uint64 // gap frames sent, by reason
	Subscribers map[string]int    // connections, by transport
	Connected   bool              // the broker connection
	Filters     int               // filters that clients hold
	Shed        uint64            // clients cut off because all together held too much
	Queued      int64             // bytes that wait for all clients
	History     int64             // bytes of history
	Values      int64             // bytes of newest messages
	Topics      int               // topics remembered
}

// Stats reads the counters.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{
		Received:  h.stats.received,
		Delivered: map[string]uint64{},
		Dropped: map[string]uint64{
			"slow_consumer":     h.stats.droppedSlow.Load(),
			"connection_closed": h.stats.droppedClosed.Load(),
			"superseded":        h.stats.conflated.Load(),
		},
		Gaps:        map[string]uint64{},
		Subscribers: map[string]int{},
		Connected:   h.broker.Connected,
		Shed:        h.stats.shed.Load(),
		Queued:      h.queued.Load(),
		History:     h.archive.bytes,
		Values:      h.archive.valueBytes,
		Topics:      h.archive.lines.Len(),
	}
	for t, n := range h.stats.delivered {
		s.Delivered[t] = n
	}
	for t, n := range h.stats.subscribers {
		s.Subscribers[t] = n
	}
	for r, n := range h.stats.gaps {
		s.Gaps[r] = n.Load()
	}
	for c := range h.clients {
		s.Delivered[c.out.transport.Name()] += c.out.delivered.Load()
		s.Filters += len(c.subs)
	}
	return s
}
