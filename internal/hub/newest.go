package hub

import (
	"context"

	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
)

// Newest is the newest message on a topic: what the hub has received, or else
// what the broker keeps as retained. ErrNotSeen and ErrNotRemembered say that
// there is neither; other errors, why that cannot be told.
func (h *Hub) Newest(ctx context.Context, name string) (*message.Message, error) {
	if m := h.known(name); m != nil {
		return m, nil
	}
	copies, err := h.ask(ctx, name)
	if err != nil {
		return nil, err
	}
	if rememberable(name) {
		if m := h.known(name); m != nil {
			return m, nil
		}
		return nil, ErrNotSeen
	}
	for _, m := range copies {
		if m.Topic == name && !m.Empty() {
			return m, nil
		}
	}
	return nil, ErrNotRemembered
}

// Remembered is the newest message on a topic that the hub has received; nil:
// there is none. The broker is not asked.
func (h *Hub) Remembered(name string) *message.Message { return h.known(name) }

func (h *Hub) known(name string) *message.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.memory.Topic(name)
	if t == nil {
		return nil
	}
	return h.value(name, t)
}

// value is the newest message of a topic, as long as the hub has not looked
// away since. Where it has left the table of values the history may still have
// it. A retained copy of before the broker connection was lost proves nothing:
// it may have been deleted meanwhile. Called under hub.mu.
func (h *Hub) value(name string, t *memory.Topic) *message.Message {
	if m, asOf := t.Newest(); m != nil {
		if m.Seq == 0 && asOf < h.upAt || h.covered(name) > asOf {
			return nil
		}
		return m
	}
	last := t.Last()
	if last == nil || last.Empty() || h.covered(name) > last.Seq {
		return nil
	}
	return last
}

// ask fetches what the broker keeps for filter into the table of values, watches
// the filter for a moment, so that who asks again soon finds it there, and gives
// the copies that the broker has sent.
func (h *Hub) ask(ctx context.Context, filter string) ([]*message.Message, error) {
	if err := h.hold(ctx, filter, nil); err != nil {
		return nil, err
	}
	defer h.unwatch([]string{filter})
	fetches, err := h.fetch(ctx, []string{filter})
	if err != nil {
		return nil, ErrNoAnswer
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(fetches)
	switch {
	case fetches[0].err == nil:
		return fetches[0].copies, nil
	case h.broker.Connected:
		return nil, ErrNoAnswer
	}
	return nil, ErrNoBroker
}
