package hub

import (
	"container/heap"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
)

// archive is what the hub remembers: for each topic a window of its messages
// (the history) and the newest one. All of it is guarded by hub.mu.
//
// The history is bounded in bytes and age. When it is full, the topic that
// holds the most gives up its oldest message, so a busy topic never pushes out
// a quiet one. Each topic knows up to where it was evicted: that is how a
// resume finds out that it would have a hole.
type archive struct {
	limit  int64         // bytes of history
	age    time.Duration // of history
	values int64         // bytes of newest messages

	bytes      int64
	valueBytes int64
	lines      topic.Names[*line]
	hot        lineHeap // the topic that holds the most first
	log        seqlog
	evicted    uint64 // highest sequence number that was evicted
	forgotten  uint64 // the same, among topics that are not remembered any more
	oldest     *line  // newest messages by the time of their update, a ring
	marks      *line  // gaps, which concern every topic
	sweep      int
}

// line is one topic.
type line struct {
	name    string
	msgs    []*Message // history, oldest first
	bytes   int64
	evicted uint64
	at      int // in the heap

	newest     *Message
	prev, next *line // by update, while newest is set
}

// overhead of a message and of a topic in memory, roughly, besides their bytes.
const (
	messageOverhead = 208
	lineOverhead    = 256
)

func (m *Message) size() int64 { return int64(len(m.JSON)+len(m.Topic)) + messageOverhead }

// add remembers a live message; one that clears leaves its topic without a
// value.
func (a *archive) add(m *Message, now time.Time, clears bool) {
	l := a.line(m.Topic)
	a.keep(l, m, now)
	if clears {
		m = nil
	}
	a.setNewest(l, m)
	a.trim()
}

func (a *archive) keep(l *line, m *Message, now time.Time) {
	m.at = now
	l.msgs = append(l.msgs, m)
	l.bytes += m.size()
	a.bytes += m.size()
	heap.Fix(&a.hot, l.at)
	a.log.append(m)
}

// trim brings everything back inside its limits.
func (a *archive) trim() {
	for a.bytes > a.limit {
		a.evict(a.hot[0])
	}
	for a.valueBytes > a.values {
		a.setNewest(a.oldest, nil)
	}
}

// addRetained remembers a retained copy as the newest message, unless the
// topic has one that was seen live after the place downAt.
func (a *archive) addRetained(m *Message, downAt uint64) {
	m.at = time.Now()
	l := a.line(m.Topic)
	if l.newest == nil || l.newest.Seq <= downAt {
		a.setNewest(l, m)
		a.trim()
	}
}

// mark remembers a gap: it has a place in the log like a message.
func (a *archive) mark(m *Message, now time.Time) {
	if a.marks == nil {
		a.marks = &line{}
		heap.Push(&a.hot, a.marks)
	}
	a.keep(a.marks, m, now)
	a.trim()
}

func (a *archive) line(name string) *line {
	if l, ok := a.lines.Get(name); ok {
		return l
	}
	l := &line{name: name}
	a.lines.Set(name, l)
	heap.Push(&a.hot, l)
	return l
}

// evict takes the oldest message of a topic out of the history.
func (a *archive) evict(l *line) {
	m := l.msgs[0]
	l.msgs[0] = nil
	if l.msgs = l.msgs[1:]; len(l.msgs) == 0 {
		l.msgs = nil
	}
	l.bytes -= m.size()
	a.bytes -= m.size()
	l.evicted = m.Seq
	a.evicted = max(a.evicted, m.Seq)
	heap.Fix(&a.hot, l.at)
	a.log.remove(m)
	a.forget(l)
}

// forget drops a topic that holds nothing any more; what it knew of evictions
// counts for all topics then.
func (a *archive) forget(l *line) {
	if len(l.msgs) > 0 || l.newest != nil {
		return
	}
	a.forgotten = max(a.forgotten, l.evicted)
	heap.Remove(&a.hot, l.at)
	if l == a.marks {
		a.marks = nil
	} else {
		a.lines.Delete(l.name)
	}
}

// sweepLines is how many topics one call of expire looks at.
const sweepLines = 20_000

// expire evicts what is older than the window. It goes round all topics in
// steps, so a message may stay a little longer.
func (a *archive) expire(now time.Time) {
	limit := now.Add(-a.age)
	for range min(sweepLines, len(a.hot)) {
		if len(a.hot) == 0 {
			return
		}
		if a.sweep >= len(a.hot) {
			a.sweep = 0
		}
		l := a.hot[a.sweep]
		a.sweep++
		for len(l.msgs) > 0 && l.msgs[0].at.Before(limit) {
			a.evict(l)
		}
	}
}

// hole tells up to where messages behind seq that match filter are gone; seq
// or less if none are. It is certain unless what was evicted may have been
// another topic's.
func (a *archive) hole(filter string, seq uint64) (end uint64, certain bool) {
	if seq >= a.evicted {
		return 0, false
	}
	if filter == "#" {
		return a.evicted, true
	}
	end = a.forgotten
	if a.marks != nil {
		end = max(end, a.marks.evicted)
	}
	a.lines.Walk(filter, func(_ string, l *line) bool {
		end, certain = max(end, l.evicted), certain || l.evicted > seq
		return true
	})
	return end, certain
}

// setNewest replaces the topic's newest message; nil for none. The caller
// trims: the topic that was updated longest ago goes first.
func (a *archive) setNewest(l *line, m *Message) {
	if l.newest != nil {
		a.valueBytes -= l.newest.size() + lineOverhead
		a.unlink(l)
	}
	if l.newest = m; m == nil {
		a.forget(l)
		return
	}
	a.valueBytes += m.size() + lineOverhead
	a.link(l)
}

func (a *archive) link(l *line) {
	if a.oldest == nil {
		l.prev, l.next = l, l
		a.oldest = l
		return
	}
	l.next, l.prev = a.oldest, a.oldest.prev
	l.prev.next, l.next.prev = l, l
}

func (a *archive) unlink(l *line) {
	if l.next == l {
		a.oldest = nil
	} else {
		l.prev.next, l.next.prev = l.next, l.prev
		if a.oldest == l {
			a.oldest = l.next
		}
	}
	l.prev, l.next = nil, nil
}

// lineHeap orders topics by the bytes they hold, most first.
type lineHeap []*line

func (h lineHeap) Len() int           { return len(h) }
func (h lineHeap) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h lineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *lineHeap) Push(x any) {
	l := x.(*line)
	l.at = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *lineHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
