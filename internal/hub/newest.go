package hub

import (
	"context"
	"slices"
	"strings"

	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/wire"
)

// Newest is the newest message on a topic: what the hub has received, or else
// what the broker keeps as retained. ErrNotSeen says that there is neither;
// other errors, why that cannot be told.
func (h *Hub) Newest(ctx context.Context, name string) (*message.Message, error) {
	if m := h.known(name); m != nil {
		return m, nil
	}
	copies, err := h.askFor(ctx, name)
	if err != nil {
		return nil, err
	}
	if m := h.known(name); m != nil {
		return m, nil
	}
	if !rememberable(name) {
		for _, m := range copies {
			if m.Topic == name && !m.Empty() {
				return m, nil
			}
		}
	}
	return nil, ErrNotSeen
}

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

// ask fetches what the broker keeps for filter into the table of values, and
// watches the filter for a moment: who asks again soon finds it there.
func (h *Hub) ask(ctx context.Context, filter string) error {
	_, err := h.askFor(ctx, filter)
	return err
}

// askFor is ask, with the copies that the broker has sent.
func (h *Hub) askFor(ctx context.Context, filter string) ([]*message.Message, error) {
	if err := h.hold(ctx, filter); err != nil {
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

// List is a page of the newest messages, as JSON, of the topics that match
// filter, in the order of their names: at most limit, behind the topic after.
// next is the topic to go on from, empty at the end. Topics whose newest
// message is empty are left out: that is how MQTT deletes; and those that
// rights do not grant.
func (h *Hub) List(ctx context.Context, filter, after string, limit int, rights *Rights) (objects [][]byte, next string, err error) {
	if after == "" { // the first page brings what the broker keeps for all of them
		err = h.ask(ctx, filter)
	}
	// While there is no broker, what was received of a filter that is watched
	// for good is all that can be known.
	if err != nil && !(h.disconnected(err) && h.opts.Upstream.Watched(filter)) {
		return nil, "", err
	}
	p := page{limit: limit}
	for done := false; !done && !p.full && ctx.Err() == nil; {
		h.reading(func() {
			after, done = h.memory.Walk(filter, after, walkSteps, func(name string, t *memory.Topic) bool {
				m := h.value(name, t)
				return m == nil || m.Empty() || !rights.may(name) || p.add(name, m)
			})
		})
	}
	if !p.full {
		return p.objects, "", nil
	}
	return p.objects, p.last, nil
}

// Kept is List for what the broker keeps as retained, and nothing else. It is
// asked anew for each page, and an error says that it cannot tell.
func (h *Hub) Kept(ctx context.Context, filter, after string, limit int, rights *Rights) (objects [][]byte, next string, err error) {
	copies, err := h.askFor(ctx, filter)
	if err != nil {
		return nil, "", err
	}
	copies = slices.Clone(copies) // which others read, too
	slices.SortStableFunc(copies, func(a, b *message.Message) int { return strings.Compare(a.Topic, b.Topic) })
	p := page{limit: limit}
	last := after
	for _, m := range copies {
		if m.Topic <= last || m.Empty() || !rights.may(m.Topic) {
			continue // of an earlier page, or sent twice
		}
		if last = m.Topic; !p.add(m.Topic, m) {
			return p.objects, p.last, nil
		}
	}
	return p.objects, "", nil
}

// disconnected reports whether err says only that there is no broker now.
func (h *Hub) disconnected(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return explained(err).Code == wire.CodeBrokerUnavailable && !h.broker.Connected
}

// page is a list under way.
type page struct {
	limit   int
	objects [][]byte
	bytes   int
	last    string // the name of the last one
	full    bool   // and there are more
}

func (p *page) add(name string, m *message.Message) bool {
	if p.full = len(p.objects) == p.limit || p.bytes > pageBytes; p.full {
		return false
	}
	p.objects, p.last = append(p.objects, m.JSON), name
	p.bytes += len(m.JSON)
	return true
}
