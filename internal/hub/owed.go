package hub

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// Retained messages that are owed to those who joined while the broker could
// not be asked: for each filter its clients. Guarded by hub.mu.
type owed map[string]map[*Client]struct{}

func (h *Hub) owe(c *Client, filter string) {
	if h.owed[filter] == nil {
		h.owed[filter] = map[*Client]struct{}{}
	}
	h.owed[filter][c] = struct{}{}
}

func (h *Hub) forgetOwed(c *Client, filters []string) {
	if len(h.owed) == 0 {
		return
	}
	for _, f := range filters {
		if delete(h.owed[f], c); len(h.owed[f]) == 0 {
			delete(h.owed, f)
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
		filter, found := "", false
		for filter = range h.owed {
			found = true
			break
		}
		connected := h.broker.Connected
		h.mu.Unlock()
		if !found {
			return true
		}
		if !connected || !h.pay(filter) {
			return !connected // BrokerUp wakes the worker
		}
	}
}

// pay sends the retained messages of a filter to all who wait for them.
func (h *Hub) pay(filter string) bool {
	fetches, err := h.fetch(h.ctx, []string{filter})
	if err != nil {
		return false
	}
	h.readers <- struct{}{}
	cp := h.collect(fetches, nil, false, true)
	defer cp.release()
	lost := cp.lock()
	<-h.readers
	paid := fetches[0].err == nil && !lost
	for steps := 0; paid && len(h.owed[filter]) > 0; {
		for c := range h.owed[filter] {
			h.forgetOwed(c, []string{filter})
			if c.subs[filter] != nil {
				c.out.PushRun(cp.run, message.Form{})
				c.out.Kick()
			}
			if steps++; steps%clientSteps == 0 {
				break
			}
		}
		h.mu.Unlock()
		h.mu.Lock()
	}
	h.leave(fetches)
	h.mu.Unlock()
	return paid
}
