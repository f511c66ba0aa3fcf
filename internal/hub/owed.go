package hub

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
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
	cp := h.collect(fetches, nil, false, true)
	defer func() { cp.release() }()
	for {
		lost := cp.lock()
		if lost || fetches[0].err != nil || len(h.owed[filter]) == 0 {
			h.leave(fetches)
			h.mu.Unlock()
			return !lost && fetches[0].err == nil
		}
		h.paySome(filter, cp.run)
		cp.shared = true
		h.mu.Unlock()
	}
}

// paySome sends a run to some of those who wait for a filter's. Called under
// hub.mu.
func (h *Hub) paySome(filter string, run *outbox.Run) {
	steps := 0
	for c := range h.owed[filter] {
		h.forgetOwed(c, []string{filter})
		if c.subs[filter] != nil {
			c.out.PushRun(run, message.Form{})
			c.out.Kick()
		}
		if steps++; steps == clientSteps {
			return
		}
	}
}
