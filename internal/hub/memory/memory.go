// Package memory is what the hub remembers: for each topic a window of its
// messages (the history) and the newest one (the values). It has no lock and no
// goroutine; calls come one at a time.
//
// The history is bounded in bytes and age, the values and the index of topics
// in bytes. When the history is full, the topic that holds the most gives up
// its oldest message, so a busy topic never pushes out a quiet one. Each topic
// knows up to where it was evicted: that is how a reader finds out that it
// would have a hole.
//
// Nothing here takes a time that grows with what is remembered, except by the
// logarithm: Add leaves what is too much to Trim, and Trim, Expire, Walk,
// Search and After do so many steps and say whether there are more.
package memory

import (
	"container/heap"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/topic"
)

// Limits of a Memory.
type Limits struct {
	History int64         // bytes of history; 0: none
	Age     time.Duration // of history
	Values  int64         // bytes of newest messages
	Index   int64         // bytes of topics, without their messages
}

// Sums are the bytes that a Memory holds.
type Sums struct{ History, Values, Index int64 }

// Memory remembers. Use New.
type Memory struct {
	limits       Limits
	historyBytes int64
	valueBytes   int64

	topics   topic.Names[*Topic]
	byBytes  topicHeap // the topic that holds the most history first
	log      log
	timeline timeline
	oldest   *Topic // newest messages by the time of their update, a ring
	gaps     *Topic // gaps, which concern every topic
	sweep    int    // where Expire goes on in byBytes

	evicted   uint64 // highest sequence number that was evicted
	forgotten uint64 // the same, among topics that are not remembered any more
	passes    passes
	dropped   bool // a newest message was given up for want of room
	evictions evictions
}

// New makes an empty memory.
func New(l Limits) *Memory {
	return &Memory{limits: l, timeline: newTimeline(l.Age)}
}

// Sums are what is held now.
func (m *Memory) Sums() Sums {
	return Sums{History: m.historyBytes, Values: m.valueBytes, Index: m.indexBytes()}
}

// Limits are those that New was given.
func (m *Memory) Limits() Limits { return m.limits }

// Topics is the number of topics that are remembered.
func (m *Memory) Topics() int { return m.topics.Len() }

// Add remembers a live message; one that clears leaves its topic without a
// value. Trim follows.
func (m *Memory) Add(msg *message.Message, clears bool) {
	t := m.topic(msg.Topic)
	m.keep(t, msg)
	if clears {
		m.setNewest(t, nil, msg.Seq)
	} else {
		m.setNewest(t, msg, msg.Seq)
	}
}

// Pass notes a live message that is not remembered, so that readers who look
// for it later find a hole.
func (m *Memory) Pass(topic string, seq uint64) { m.passes.add(topic, seq) }

// AddRetained remembers a retained copy, taken when the sequence stood at asOf,
// as the newest message, unless the topic has one that was seen live behind
// downAt.
func (m *Memory) AddRetained(copied *message.Message, downAt, asOf uint64) {
	t := m.topic(copied.Topic)
	known := t.newest
	if last := t.Last(); known == nil && last != nil && !last.Empty() { // it has left the values, not the history
		known = last
	}
	if known == nil || known.Seq <= downAt {
		m.setNewest(t, copied, asOf)
	}
}

// AddGap remembers a gap: it has a place in the log like a message.
func (m *Memory) AddGap(gap *message.Message) {
	if m.gaps == nil {
		m.gaps = &Topic{}
		heap.Push(&m.byBytes, m.gaps)
	}
	m.keep(m.gaps, gap)
}

func (m *Memory) keep(t *Topic, msg *message.Message) {
	t.msgs = append(t.msgs, msg)
	t.bytes += msg.Size()
	m.historyBytes += msg.Size()
	heap.Fix(&m.byBytes, t.at)
	m.log.append(msg)
}

// Trim brings everything back inside its limits, in so many steps. More: they
// were not enough.
func (m *Memory) Trim(steps int) (more bool) {
	for ; ; steps-- {
		var step func()
		switch {
		case m.historyBytes > m.limits.History:
			step = func() { m.evict(m.byBytes[0]) }
		case m.valueBytes > m.limits.Values:
			step = func() { m.drop(m.oldest) }
		case m.indexBytes() > m.limits.Index && m.topics.Len() > 0:
			step = m.shrinkIndex
		default:
			return false
		}
		if steps <= 0 {
			return true
		}
		step()
	}
}

// shrinkIndex takes a step to forget a topic: the one that was updated longest
// ago.
func (m *Memory) shrinkIndex() {
	t := m.oldest
	if t == nil {
		t = m.byBytes[0]
	}
	if len(t.msgs) > 0 {
		m.evict(t)
	} else {
		m.drop(t)
	}
}

// drop gives up the newest message of a topic.
func (m *Memory) drop(t *Topic) {
	m.dropped = true
	m.setNewest(t, nil, 0)
}

// Dropped reports whether newest messages were ever given up for want of room.
func (m *Memory) Dropped() bool { return m.dropped }

// evict takes the oldest message of a topic out of the history.
func (m *Memory) evict(t *Topic) {
	msg := t.msgs[0]
	t.msgs[0] = nil
	if t.msgs = t.msgs[1:]; len(t.msgs) == 0 {
		t.msgs = nil
	}
	t.bytes -= msg.Size()
	m.historyBytes -= msg.Size()
	t.evicted = msg.Seq
	m.evicted = max(m.evicted, msg.Seq)
	m.evictions.add(eviction{seq: msg.Seq, topic: t.name, every: t == m.gaps})
	heap.Fix(&m.byBytes, t.at)
	m.log.remove(msg.Seq)
	m.forget(t)
}

// Expire evicts what is older than the window, in so many steps. It goes round
// all topics, so a message may stay a little longer. More: go on soon.
func (m *Memory) Expire(now time.Time, steps int) (more bool) {
	limit := now.Add(-m.limits.Age)
	for looked := 0; looked < len(m.byBytes) || looked == 0; looked++ {
		for {
			if len(m.byBytes) == 0 {
				return false
			}
			if m.sweep >= len(m.byBytes) {
				m.sweep = 0
			}
			if steps--; steps < 0 {
				return true
			}
			t := m.byBytes[m.sweep]
			if len(t.msgs) == 0 || !t.msgs[0].At.Before(limit) {
				break
			}
			m.evict(t) // another topic may stand there now
		}
		m.sweep++
	}
	return false
}

// Tick notes where the sequence stands.
func (m *Memory) Tick(now time.Time, seq uint64) { m.timeline.tick(now, seq) }

// At is a place in the sequence that was not later than t, as of the readings
// of Tick; 0 when t is older than all.
func (m *Memory) At(t time.Time) uint64 { return m.timeline.at(t) }

// Before is the last message in the history received before t, 0 if there is
// none.
func (m *Memory) Before(t time.Time) uint64 { return m.log.before(t) }

// After calls fn for each message in the history behind seq, in order, until it
// says no or so many were looked at. It returns the place up to which fn has
// seen everything, and whether that is the end.
func (m *Memory) After(seq uint64, looks int, fn func(*message.Message) bool) (at uint64, end bool) {
	return m.log.after(seq, looks, fn)
}
