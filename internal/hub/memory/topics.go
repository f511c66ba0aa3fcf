package memory

import (
	"container/heap"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// Topic is what is remembered of one topic.
type Topic struct {
	name    string
	msgs    []*message.Message // history, oldest first
	bytes   int64
	evicted uint64 // the last one that left the history
	at      int    // in byBytes

	newest     *message.Message
	asOf       uint64
	prev, next *Topic // by update, while newest is set
}

// topicBytes is what a Topic takes in memory besides its name in the index and
// its messages, roughly.
const topicBytes = 144

func (m *Memory) indexBytes() int64 {
	return m.topics.Bytes() + int64(m.topics.Len())*topicBytes
}

// Newest is the newest message, nil for none, and where the sequence stood when
// that was so: the message's own place, or, for a retained copy, that of its
// fetch.
func (t *Topic) Newest() (m *message.Message, asOf uint64) { return t.newest, t.asOf }

// Last is the last message in the history, nil for none.
func (t *Topic) Last() *message.Message {
	if len(t.msgs) == 0 {
		return nil
	}
	return t.msgs[len(t.msgs)-1]
}

// Topic gives what is remembered of a topic, nil for nothing.
func (m *Memory) Topic(name string) *Topic {
	t, _ := m.topics.Get(name)
	return t
}

// Walk is a part of a walk over the topics that match filter, sorted by name:
// see [topic.Names.WalkSome].
func (m *Memory) Walk(filter, after string, looks int, fn func(name string, t *Topic) bool) (at string, done bool) {
	return m.topics.WalkSome(filter, after, looks, fn)
}

func (m *Memory) topic(name string) *Topic {
	if t, ok := m.topics.Get(name); ok {
		return t
	}
	t := &Topic{name: name}
	m.topics.Set(name, t)
	heap.Push(&m.byBytes, t)
	return t
}

// forget drops a topic that holds nothing any more; what it knew of evictions
// counts for all topics then.
func (m *Memory) forget(t *Topic) {
	if len(t.msgs) > 0 || t.newest != nil {
		return
	}
	m.forgotten = max(m.forgotten, t.evicted)
	heap.Remove(&m.byBytes, t.at)
	if t == m.gaps {
		m.gaps = nil
	} else {
		m.topics.Delete(t.name)
	}
}

// topicHeap orders topics by the bytes of their history, most first.
type topicHeap []*Topic

func (h topicHeap) Len() int           { return len(h) }
func (h topicHeap) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h topicHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *topicHeap) Push(x any) {
	t := x.(*Topic)
	t.at = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *topicHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}
