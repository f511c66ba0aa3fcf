package memory

import (
	"slices"
	"sort"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// segmentSize is how many messages a fresh segment holds.
const segmentSize = 1024

// log holds the history of all topics in the order of the sequence, in
// segments, so that what is evicted anywhere is given back soon.
type log struct {
	segments []*segment
}

// segment is a part of the log. A message that was evicted leaves its sequence
// number behind until the segment is written anew.
type segment struct {
	seqs []uint64           // ascending
	msgs []*message.Message // nil: evicted
	live int
	till time.Time // when the last one was received
}

func (s *segment) last() uint64 { return s.seqs[len(s.seqs)-1] }

func (l *log) append(m *message.Message) {
	n := len(l.segments)
	if n == 0 || len(l.segments[n-1].seqs) >= segmentSize {
		l.segments = append(l.segments, &segment{seqs: make([]uint64, 0, segmentSize), msgs: make([]*message.Message, 0, segmentSize)})
		n++
	}
	s := l.segments[n-1]
	s.seqs, s.msgs, s.till = append(s.seqs, m.Seq), append(s.msgs, m), m.At
	s.live++
}

// find gives the first segment that ends at or behind seq.
func (l *log) find(seq uint64) int {
	return sort.Search(len(l.segments), func(i int) bool { return l.segments[i].last() >= seq })
}

// remove takes out the message with that number, which is there. A segment that
// is half gone is written anew.
func (l *log) remove(seq uint64) {
	i := l.find(seq)
	s := l.segments[i]
	at, _ := slices.BinarySearch(s.seqs, seq)
	s.msgs[at] = nil
	s.live--
	open := i == len(l.segments)-1 && len(s.seqs) < segmentSize
	switch {
	case open:
	case s.live == 0:
		l.segments = slices.Delete(l.segments, i, i+1)
	case s.live < len(s.msgs)/2:
		s.compact()
	}
}

func (s *segment) compact() {
	seqs, msgs := make([]uint64, 0, s.live), make([]*message.Message, 0, s.live)
	for i, m := range s.msgs {
		if m != nil {
			seqs, msgs = append(seqs, s.seqs[i]), append(msgs, m)
		}
	}
	s.seqs, s.msgs = seqs, msgs
}

// after is Memory.After.
func (l *log) after(seq uint64, looks int, fn func(*message.Message) bool) (at uint64, end bool) {
	at = seq
	for i := l.find(seq + 1); i < len(l.segments); i++ {
		s := l.segments[i]
		from, _ := slices.BinarySearch(s.seqs, seq+1)
		for j := from; j < len(s.seqs); j++ {
			if looks--; looks < 0 {
				return at, false
			}
			if m := s.msgs[j]; m != nil && !fn(m) {
				return at, false
			}
			at = s.seqs[j]
		}
	}
	return at, true
}

// before is Memory.Before.
func (l *log) before(t time.Time) uint64 {
	i := sort.Search(len(l.segments), func(i int) bool { return !l.segments[i].till.Before(t) })
	if i < len(l.segments) {
		s := l.segments[i]
		for j := len(s.msgs) - 1; j >= 0; j-- {
			if m := s.msgs[j]; m != nil && m.At.Before(t) {
				return s.seqs[j]
			}
		}
	}
	if i == 0 {
		return 0
	}
	return l.segments[i-1].last()
}
