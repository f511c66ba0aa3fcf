package hub

import "context"

// Waiter hears the live messages that match one filter, without being a
// client. C gives the first one that is wanted; Stop must be called once.
type Waiter struct {
	C <-chan *Message

	hub    *Hub
	filter string
	sub    *subscription
	found  chan *Message
	want   func(*Message) bool
}

// Wait begins to wait. When it returns, the filter is in force: whatever is
// published from then on is heard. want chooses; it is called under the hub's
// lock, so it must be quick and must not call the hub. A code says why the
// filter cannot be in force.
func (h *Hub) Wait(ctx context.Context, filter string, want func(*Message) bool) (w *Waiter, code, detail string) {
	if code, detail = h.hold(ctx, filter); code != "" {
		return nil, code, detail
	}
	w = &Waiter{hub: h, filter: filter, found: make(chan *Message, 1), want: want}
	w.C = w.found
	w.sub = &subscription{waiter: w}
	h.mu.Lock()
	h.subs.Add(filter, w.sub)
	h.mu.Unlock()
	return w, "", ""
}

// Stop ends the waiting.
func (w *Waiter) Stop() {
	w.hub.mu.Lock()
	w.hub.subs.Remove(w.filter, w.sub)
	w.hub.mu.Unlock()
	w.hub.unwatch([]string{w.filter})
}

// offer is called under hub.mu.
func (w *Waiter) offer(m *Message) {
	if len(w.found) == 0 && w.want(m) {
		w.found <- m
	}
}
