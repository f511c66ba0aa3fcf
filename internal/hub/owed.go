package hub

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/topic"
)

// Retained messages that are owed to those who joined while the broker could
// not be asked: for each filter its clients, by their rights. Guarded by hub.mu.
type owed map[debt]map[*Client]struct{}

type debt struct {
	filter string
	class  *class
}

func (h *Hub) owe(c *Client, filter string) {
	d := debt{filter, c.class}
	if h.owed[d] == nil {
		h.owed[d] = map[*Client]struct{}{}
	}
	h.owed[d][c] = struct{}{}
}

// forgetOwed is for filters that the client does not hold any more. What it
// holds inside of them is owed by itself from then on.
func (h *Hub) forgetOwed(c *Client, filters []string) {
	if len(h.owed) == 0 {
		return
	}
	for _, f := range filters {
		if !h.settle(debt{f, c.class}, c) {
			continue
		}
		for g := range c.subs {
			if topic.Covers(f, g) {
				h.owe(c, g)
			}
		}
	}
}

// settle ends what is owed to a client, if it is.
func (h *Hub) settle(d debt, c *Client) (owing bool) {
	if _, owing = h.owed[d][c]; owing {
		if delete(h.owed[d], c); len(h.owed[d]) == 0 {
			delete(h.owed, d)
		}
	}
	return owing
}

// oweAnew moves what is owed to a client from its old class to its own.
func (h *Hub) oweAnew(c *Client, old *class) {
	if len(h.owed) == 0 || old == c.class {
		return
	}
	for f := range c.subs {
		if h.settle(debt{f, old}, c) {
			h.owe(c, f)
		}
	}
}

// wakeOwed lets the worker try again.
func (h *Hub) wakeOwed() {
	select {
	case h.owing <- struct{}{}:
	default:
	}
}

// serveOwed pays what is owed.
func (h *Hub) serveOwed() {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-h.done:
			return
		case <-h.owing:
		case <-retry.C:
		}
		if !h.payOwed() {
			retry.Reset(2 * time.Second)
		}
	}
}

// payOwed pays filter by filter until nothing is owed, or the broker cannot be
// asked: false, and BrokerUp or a moment later is the time to try again.
func (h *Hub) payOwed() bool {
	for {
		h.mu.Lock()
		var next debt
		found := false
		for next = range h.owed {
			found = true
			break
		}
		connected := h.broker.Connected
		h.mu.Unlock()
		if !found {
			return true
		}
		if !connected || !h.pay(next) {
			return !connected // BrokerUp wakes the worker
		}
	}
}

// pay sends the retained messages of a filter to all of a class who wait for
// them.
func (h *Hub) pay(d debt) bool {
	fetches, err := h.fetch(h.ctx, []string{d.filter})
	if err != nil {
		return false
	}
	cp := h.collect(fetches, nil, d.class.own(), false, true)
	defer func() { cp.release() }()
	for {
		lost := cp.lock()
		if lost || fetches[0].err != nil || len(h.owed[d]) == 0 {
			h.leave(fetches)
			h.mu.Unlock()
			return !lost && fetches[0].err == nil
		}
		h.paySome(d, cp.run)
		cp.shared = true
		h.mu.Unlock()
	}
}

// paySome sends a run to some of those who wait for it. Called under hub.mu.
func (h *Hub) paySome(d debt, run *outbox.Run) {
	steps := 0
	for c := range h.owed[d] {
		h.settle(d, c)
		if c.subs[d.filter] != nil {
			c.out.PushRun(run, message.Form{})
			c.out.Kick()
		}
		if steps++; steps == clientSteps {
			return
		}
	}
}
