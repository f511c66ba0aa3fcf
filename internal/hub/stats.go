package hub

import (
	"sync/atomic"

	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/wire"
)

// newGapCounts has a counter for each reason, from zero.
func newGapCounts() map[string]*atomic.Uint64 {
	counts := map[string]*atomic.Uint64{}
	for _, reason := range []string{
		wire.GapHistoryExpired, wire.GapGatewayRestarted, wire.GapBrokerConnectionLost, wire.GapSlowConsumer, wire.GapBrokerOverflow, wire.GapTooLarge,
	} {
		counts[reason] = new(atomic.Uint64)
	}
	return counts
}

// deliveredBy is the counter of a transport. Called under hub.mu.
func (h *Hub) deliveredBy(transport string) *atomic.Uint64 {
	if h.delivered[transport] == nil {
		h.delivered[transport] = new(atomic.Uint64)
	}
	return h.delivered[transport]
}

// Stats is a reading of the hub's counters.
type Stats struct {
	Received     uint64            // messages from the broker, retained copies included
	Unremembered uint64            // of them, those on topics too long or too deep to be remembered
	Delivered    map[string]uint64 // messages framed for clients, by transport
	Dropped      map[string]uint64 // messages not delivered, by reason: slow_consumer, connection_closed, superseded
	Gaps         map[string]uint64 // gap frames sent, by reason
	Subscribers  map[string]int    // connections, by transport
	Connected    bool              // the broker connection
	Filters      int               // filters that clients hold
	Shed         uint64            // times that a client was made to hold less, or ended, because all together held too much
	Queued       int64             // bytes that wait for all clients
	QueuedLimit  int64
	Memory       memory.Sums   // bytes that are remembered
	MemoryLimits memory.Limits // and how many may be
	Topics       int           // topics remembered
}

// Stats reads the counters.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{
		Received:     h.received,
		Unremembered: h.unremembered,
		Delivered:    map[string]uint64{},
		Dropped: map[string]uint64{
			"slow_consumer":     h.shared.DroppedSlow.Load(),
			"connection_closed": h.shared.DroppedClosed.Load(),
			"superseded":        h.shared.Superseded.Load(),
		},
		Gaps:         map[string]uint64{},
		Subscribers:  map[string]int{},
		Connected:    h.broker.Connected,
		Filters:      h.filters,
		Shed:         h.shared.Shed.Load(),
		Queued:       h.queued.Bytes(),
		QueuedLimit:  h.queued.Limit(),
		Memory:       h.memory.Sums(),
		MemoryLimits: h.memory.Limits(),
		Topics:       h.memory.Topics(),
	}
	for t, n := range h.delivered {
		s.Delivered[t] = n.Load()
	}
	for t, n := range h.subscribers {
		s.Subscribers[t] = n
	}
	for r, n := range h.gapCounts {
		s.Gaps[r] = n.Load()
	}
	return s
}
