package hub

import (
	"context"
	"hash/maphash"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// Want says which message a Waiter waits for.
type Want struct {
	Payload []byte  // exactly these bytes; nil: any
	Except  string  // not on this topic; empty: on any
	Rights  *Rights // and only what they grant
	Holder  any     // who waits: see Request
}

// Waiter hears the live messages that match one filter, without being a
// client. C gives the first one that is wanted; Stop must be called once.
type Waiter struct {
	C <-chan *message.Message

	hub      *Hub
	found    chan *message.Message
	key      payloadKey
	except   exception
	interest *interest // nil: satisfied or stopped. Guarded by hub.mu.
	filter   string
}

// exception is what does not count: a topic, and what rights do not grant.
type exception struct {
	topic string
	class *class
}

// waiters of the same payload and exception.
type waiters map[*Waiter]struct{}

// payloadKey stands for a payload, so that comparing costs the same for all:
// its length and two keyed hashes. The zero key is for any payload.
type payloadKey struct {
	set    bool
	length int
	a, b   uint64
}

// keyOf hashes a payload.
func (h *Hub) keyOf(payload []byte) payloadKey {
	return payloadKey{true, len(payload), maphash.Bytes(h.seeds[0], payload), maphash.Bytes(h.seeds[1], payload)}
}

// Wait begins to wait. When it returns, the filter is in force: whatever is
// published from then on is heard. An error says why it cannot be in force.
func (h *Hub) Wait(ctx context.Context, filter string, want Want) (*Waiter, error) {
	if err := h.hold(ctx, filter, want.Holder); err != nil {
		return nil, err
	}
	w := &Waiter{hub: h, filter: filter, found: make(chan *message.Message, 1)}
	w.C = w.found
	if want.Payload != nil {
		w.key = h.keyOf(want.Payload)
		h.expecting.Add(1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w.except = exception{want.Except, h.enter(want.Rights)}
	w.interest = h.interested(filter)
	w.interest.wait(w)
	return w, nil
}

// Stop ends the waiting.
func (w *Waiter) Stop() {
	h := w.hub
	h.mu.Lock()
	if in := w.interest; in != nil {
		in.forget(w)
		h.dropped(in)
	}
	h.quit(w.except.class)
	h.mu.Unlock()
	if w.key.set {
		h.expecting.Add(-1)
	}
	h.unwatch([]string{w.filter})
}

func (in *interest) wait(w *Waiter) {
	if in.waiting == nil {
		in.waiting = map[payloadKey]map[exception]waiters{}
	}
	if in.waiting[w.key] == nil {
		in.waiting[w.key] = map[exception]waiters{}
	}
	if in.waiting[w.key][w.except] == nil {
		in.waiting[w.key][w.except] = waiters{}
	}
	in.waiting[w.key][w.except][w] = struct{}{}
}

func (in *interest) forget(w *Waiter) {
	w.interest = nil
	delete(in.waiting[w.key][w.except], w)
	if len(in.waiting[w.key][w.except]) == 0 {
		delete(in.waiting[w.key], w.except)
	}
	if len(in.waiting[w.key]) == 0 {
		delete(in.waiting, w.key)
	}
	if len(in.waiting) == 0 {
		in.waiting = nil
	}
}

// offer gives m to those who wait for it, and to each once: two look-ups,
// however many wait, and a step for each who gets it, and for each class of
// rights. An interest that has lost
// waiters is added to changed. Called under hub.mu.
func (in *interest) offer(m *message.Message, payload payloadKey, changed []*interest) []*interest {
	before := len(changed)
	for _, key := range [...]payloadKey{{}, payload} {
		for except, all := range in.waiting[key] {
			// One topic of the map's keys at the most, and the classes that must
			// not have it: each is of a request that waits, and those are few.
			if except.topic == m.Topic || !except.class.may(m) {
				continue
			}
			for w := range all {
				in.forget(w)
				w.found <- m
			}
			if len(changed) == before {
				changed = append(changed, in)
			}
		}
		if !payload.set {
			break
		}
	}
	return changed
}
