package memory

import "github.com/vulturepi/gateway/internal/hub/message"

// setNewest replaces the topic's newest message; nil for none.
func (m *Memory) setNewest(t *Topic, msg *message.Message, asOf uint64) {
	if t.newest != nil {
		m.valueBytes -= t.newest.Size()
		m.unlink(t)
	}
	t.newest, t.asOf = msg, asOf
	if msg == nil {
		m.forget(t)
		return
	}
	m.valueBytes += msg.Size()
	m.link(t)
}

// link puts t at the end of the ring, as the one that was updated last.
func (m *Memory) link(t *Topic) {
	if m.oldest == nil {
		t.prev, t.next = t, t
		m.oldest = t
		return
	}
	t.next, t.prev = m.oldest, m.oldest.prev
	t.prev.next, t.next.prev = t, t
}

func (m *Memory) unlink(t *Topic) {
	if t.next == t {
		m.oldest = nil
	} else {
		t.prev.next, t.next.prev = t.next, t.prev
		if m.oldest == t {
			m.oldest = t.next
		}
	}
	t.prev, t.next = nil, nil
}
