package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/wire"
)

// List is a page of the newest messages, as JSON, of the topics that match
// filter, in the order of their names: at most limit, behind the topic after.
// next is what to go on from, empty at the end. Topics whose newest
// message is empty are left out: that is how MQTT deletes; and those that
// rights do not grant.
func (h *Hub) List(ctx context.Context, filter, after string, limit int, rights *Rights) (objects [][]byte, next string, err error) {
	var copies []*message.Message
	if after == "" || h.forgets() { // the first page brings what the broker keeps for all of them
		copies, err = h.ask(ctx, filter)
	}
	// While there is no broker, what was received of a filter that is watched
	// for good is all that can be known.
	if err != nil && !(h.disconnected(err) && h.opts.Upstream.Watched(filter)) {
		return nil, "", err
	}
	p := page{limit: limit}
	from := after
	for done := false; !done && !p.full && ctx.Err() == nil; {
		h.reading(func() {
			from, done = h.memory.Walk(filter, from, walkSteps, func(name string, t *memory.Topic) bool {
				m := h.value(name, t)
				return m == nil || m.Empty() || !rights.may(name) || p.add(m)
			})
		})
	}
	if h.forgets() {
		if p.full {
			copies = slices.DeleteFunc(slices.Clone(copies), func(m *message.Message) bool { return rank(m.Topic) > p.last() })
		}
		p = p.with(h.forgotten(copies, after, limit, rights))
	}
	objects, next = p.end()
	return objects, next, nil
}

// forgets reports whether the broker may keep messages that the memory has no
// room for.
func (h *Hub) forgets() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keepsSuch || h.memory.Dropped()
}

// forgotten are those of the broker's copies behind after of which the memory
// knows nothing, in the order of their names; one more than limit at most.
func (h *Hub) forgotten(copies []*message.Message, after string, limit int, rights *Rights) (more []*message.Message) {
	last := after
	for _, m := range byTopic(copies) {
		at := rank(m.Topic)
		if at <= last || m.Empty() || !rights.may(m.Topic) || h.knows(m.Topic) {
			continue
		}
		if last = at; len(more) > limit {
			break
		}
		more = append(more, m)
	}
	return more
}

// knows reports whether the memory says what the topic's value is, or that it
// has none.
func (h *Hub) knows(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.memory.Topic(name)
	if t == nil {
		return false
	}
	last := t.Last()
	return h.value(name, t) != nil || last != nil && last.Empty() && h.covered(name) <= last.Seq
}

// byTopic sorts copies, which others read, too, by the rank of their topics.
func byTopic(copies []*message.Message) []*message.Message {
	copies = slices.Clone(copies)
	slices.SortStableFunc(copies, func(a, b *message.Message) int { return strings.Compare(rank(a.Topic), rank(b.Topic)) })
	return copies
}

// rank is where a topic stands in a list: its name, or, where that has no room
// in a link, the beginning of it and a digest. No name holds U+0000.
func rank(name string) string {
	if len(name) <= maxTopicBytes {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.ToValidUTF8(name[:maxTopicBytes], "") + "\x00" + hex.EncodeToString(sum[:8])
}

// Kept is List for what the broker keeps as retained, and nothing else. It is
// asked anew for each page, and an error says that it cannot tell.
func (h *Hub) Kept(ctx context.Context, filter, after string, limit int, rights *Rights) (objects [][]byte, next string, err error) {
	copies, err := h.ask(ctx, filter)
	if err != nil {
		return nil, "", err
	}
	p := page{limit: limit}
	last := after
	for _, m := range byTopic(copies) {
		at := rank(m.Topic)
		if at <= last || m.Empty() || !rights.may(m.Topic) {
			continue // of an earlier page, or sent twice
		}
		if last = at; !p.add(m) {
			break
		}
	}
	objects, next = p.end()
	return objects, next, nil
}

// disconnected reports whether err says only that there is no broker now.
func (h *Hub) disconnected(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return explained(err).Code == wire.CodeBrokerUnavailable && !h.broker.Connected
}

// page is a list under way.
type page struct {
	limit    int
	messages []*message.Message
	bytes    int
	full     bool // and there are more
}

func (p *page) add(m *message.Message) bool {
	if p.full = len(p.messages) == p.limit || p.bytes > pageBytes; p.full {
		return false
	}
	p.messages = append(p.messages, m)
	p.bytes += len(m.JSON)
	return true
}

// last is the rank of the topic that a full page ends with.
func (p *page) last() string { return rank(p.messages[len(p.messages)-1].Topic) }

// with is p and more, which are in the order of their topics, too.
func (p *page) with(more []*message.Message) page {
	all := page{limit: p.limit}
	for _, m := range byTopic(append(more, p.messages...)) {
		if !all.add(m) {
			return all
		}
	}
	all.full = p.full
	return all
}

func (p *page) end() (objects [][]byte, next string) {
	for _, m := range p.messages {
		objects = append(objects, m.JSON)
	}
	if p.full {
		next = p.last()
	}
	return objects, next
}
