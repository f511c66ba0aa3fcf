package hub

import "sort"

// segmentSize is how many messages a fresh segment holds.
const segmentSize = 1024

// seqlog holds the history of all topics in the order of the sequence, in
// segments, so that what is evicted anywhere is given back soon.
type seqlog struct {
	segments []*segment
}

type segment struct {
	msgs []*Message // ascending; evicted ones are marked gone
	live int
}

func (s *segment) last() uint64 { return s.msgs[len(s.msgs)-1].Seq }

func (l *seqlog) append(m *Message) {
	n := len(l.segments)
	if n == 0 || len(l.segments[n-1].msgs) == segmentSize {
		l.segments = append(l.segments, &segment{msgs: make([]*Message, 0, segmentSize)})
		n++
	}
	s := l.segments[n-1]
	s.msgs = append(s.msgs, m)
	s.live++
}

// find gives the first segment that ends at or behind seq.
func (l *seqlog) find(seq uint64) int {
	return sort.Search(len(l.segments), func(i int) bool { return l.segments[i].last() >= seq })
}

// remove takes m out. A segment that is half gone is written anew.
func (l *seqlog) remove(m *Message) {
	m.gone = true
	i := l.find(m.Seq)
	s := l.segments[i]
	s.live--
	open := i == len(l.segments)-1 && len(s.msgs) < segmentSize
	switch {
	case s.live == 0 && !open:
		l.segments = append(l.segments[:i], l.segments[i+1:]...)
	case s.live < len(s.msgs)/2 && !open:
		kept := make([]*Message, 0, s.live)
		for _, m := range s.msgs {
			if !m.gone {
				kept = append(kept, m)
			}
		}
		s.msgs = kept
	}
}

// after calls fn for each message behind seq, in order, until it says no.
func (l *seqlog) after(seq uint64, fn func(*Message) bool) {
	for i := l.find(seq + 1); i < len(l.segments); i++ {
		msgs := l.segments[i].msgs
		from := sort.Search(len(msgs), func(j int) bool { return msgs[j].Seq > seq })
		for _, m := range msgs[from:] {
			if !m.gone && !fn(m) {
				return
			}
		}
	}
}
