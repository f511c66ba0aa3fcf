package hub

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
)

// interest is a filter that clients hold or are about to, and who does. Guarded by hub.mu.
// What deliver looks at stands together, one cache line.
type interest struct {
	subs      []*subscription
	first     [1]*subscription // where subs begin: most filters are one client's
	recorders []*recorder
	waiting   map[payloadKey]map[exception]waiters // by the payload that is wanted, and by what does not count
	filter    string
	held      int // by those who watch it: a place is kept for it
	holder    any // who was the first of them
	levels    int // that the holder bears: see charge
}

// subscription is one filter of one client.
type subscription struct {
	client   *Client
	interest *interest
	at       int // in interest.subs
	overflow outbox.Overflow
	joined   uint64    // messages up to there are not delivered by it
	throttle *throttle // nil without min_interval
}

// interested gives the interest in a filter, and makes it if there is none.
func (h *Hub) interested(filter string) *interest {
	in := h.byFilter[filter]
	if in == nil {
		in = &interest{filter: filter}
		in.subs = in.first[:0]
		h.byFilter[filter] = in
		h.interests.Add(filter, in)
	}
	return in
}

// dropped forgets an interest that nobody has any more.
func (h *Hub) dropped(in *interest) {
	if in.held == 0 && len(in.subs) == 0 && len(in.recorders) == 0 && len(in.waiting) == 0 {
		h.discharge(in)
		delete(h.byFilter, in.filter)
		h.interests.Remove(in.filter, in)
	}
}

// begin puts s in force.
func (s *subscription) begin(in *interest) {
	s.interest, s.at = in, len(in.subs)
	in.subs = append(in.subs, s)
	s.client.hub.filters++
}

// end takes s out of force.
func (s *subscription) end() {
	in, last := s.interest, len(s.interest.subs)-1
	in.subs[s.at] = in.subs[last]
	in.subs[s.at].at = s.at
	in.subs[last] = nil
	if in.subs = in.subs[:last]; cap(in.subs) > 64 && last < cap(in.subs)/4 {
		in.subs = append(make([]*subscription, 0, 2*last), in.subs...)
	}
	h := s.client.hub
	h.filters--
	h.dropped(in)
	if s.throttle != nil {
		s.throttle.leave()
	}
}

// deliver hands m to everybody whose filter matches. The steps are as many as
// there are matching subscriptions: that is what delivering is. Called under
// hub.mu.
func (h *Hub) deliver(m *message.Message, payload payloadKey, now time.Time) {
	h.matched = h.interests.Match(h.matched[:0], m.Topic)
	for _, values := range h.matched {
		for _, in := range values {
			for _, s := range in.subs {
				s.take(m)
			}
			for _, r := range in.recorders {
				r.record(m)
			}
			if in.waiting != nil {
				h.satisfied = in.offer(m, payload, h.satisfied)
			}
		}
	}
	clear(h.matched) // scratch must not keep anything alive
	for _, s := range h.throttled {
		s.throttle.take(m, now)
	}
	clear(h.throttled)
	h.throttled = h.throttled[:0]
	for _, in := range h.satisfied {
		h.dropped(in)
	}
	clear(h.satisfied)
	h.satisfied = h.satisfied[:0]
}

// take hands m to the client, or to what holds messages back for it.
func (s *subscription) take(m *message.Message) {
	c := s.client
	switch {
	case c.last == m.Seq: // another of its filters matched already
	case c.class != nil && !c.class.may(m):
	case s.throttle != nil: // only if no other filter matches
		c.hub.throttled = append(c.hub.throttled, s)
	default:
		c.last = m.Seq
		c.out.Push(m, c.form(m), s.overflow)
	}
}
