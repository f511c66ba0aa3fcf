package hub

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// hole is what is missing, or may be, behind a place.
type hole struct {
	reason  string // empty: nothing
	end     uint64 // up to where
	certain bool
}

// searchSteps is how many steps a search for holes takes under one lock.
const searchSteps = 512

// hole looks for what is missing behind a place in what the search's filters
// match. It takes the lock in parts.
func (h *Hub) hole(at place, s *memory.Search) hole {
	for {
		h.mu.Lock()
		if at.lost != "" {
			defer h.mu.Unlock()
			return hole{reason: at.lost, end: h.seq}
		}
		if h.memory.Search(s, at.seq, searchSteps) {
			defer h.mu.Unlock()
			return h.missing(at.seq, s)
		}
		h.mu.Unlock()
	}
}

// missing is what a search that is done says of the place seq, and what passed
// while nobody watched. Called under hub.mu.
func (h *Hub) missing(seq uint64, s *memory.Search) (m hole) {
	if s.End > seq {
		m.end, m.certain = s.End, s.Certain
	}
	for _, f := range s.Filters {
		if since := h.covered(f.Filter); since > max(seq, f.From) {
			m.end = max(m.end, min(since, h.seq))
		}
	}
	if m.end > seq {
		m.reason = wire.GapHistoryExpired
	}
	return m
}

// gap gives a hole a place of its own in the sequence, tells everybody, and
// keeps it for those who come back later. It is called without the lock, by
// the caller of Accept, so no message comes in between.
func (h *Hub) gap(after func() uint64, reason string, certain bool) {
	h.mu.Lock()
	from := after()
	h.seq++
	place := h.cursor(h.seq)
	gap := message.NewGap(&wire.Gap{Type: "gap", After: h.cursor(from), Before: place, Reason: reason, Certain: certain}, h.seq, time.Now())
	h.memory.AddGap(gap)
	h.unlockTrimmed()
	h.eachClient(func(c *Client) (steps int) {
		// Who reads the history finds it there, in its place.
		if c.replaying != 0 || c.out.Behind() != 0 || c.told >= gap.Seq {
			return 1
		}
		steps = 1 + c.releaseHeld()
		if c.out.PushPlaced(c.out.Codec().AppendFrame(nil, outbox.Frame{Kind: "gap", Cursor: place, Body: gap.JSON}), gap.Seq) {
			c.told = gap.Seq
			h.gapCounts[reason].Add(1)
		}
		return steps
	})
	h.writers.Kick()
}

// broadcast sends a frame without a place to everybody.
func (h *Hub) broadcast(f outbox.Frame) {
	h.eachClient(func(c *Client) int { c.send(f); return 1 })
	h.writers.Kick()
}

// sendGap tells this client alone of a hole. seq and early: see sendAck. Called
// under hub.mu.
func (c *Client) sendGap(after string, m hole, seq uint64, early bool) {
	h := c.hub
	h.gapCounts[m.reason].Add(1)
	body := wire.Encode(&wire.Gap{Type: "gap", After: after, Before: h.cursor(m.end), Reason: m.reason, Certain: m.certain})
	c.sendAt(seq, func(cursor string) outbox.Frame {
		if early {
			cursor = ""
		}
		return outbox.Frame{Kind: "gap", Cursor: cursor, Body: body}
	})
}
