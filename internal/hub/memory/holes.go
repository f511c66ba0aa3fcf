package memory

import "github.com/vulturepi/gateway/internal/topic"

// Search looks for a hole: messages behind a place that match some filters and
// have left the history. First it asks all topics that match; from then on it
// reads what is evicted meanwhile, so a reader that goes on in the history asks
// again at little cost. The zero Search with filters set is ready.
type Search struct {
	Filters []string
	// End is up to where messages are missing; the place searched from or less:
	// none are. Certain is false where they may have been of other topics.
	End     uint64
	Certain bool

	begun   bool
	asking  bool   // the topics
	filter  int    // which one of Filters
	at      string // where the walk goes on
	read    uint64 // evictions that were read
	scratch [][]bool
	match   topic.Trie[bool]
}

func (s *Search) begin() {
	s.begun = true
	for _, f := range s.Filters {
		s.match.Add(f, true)
	}
}

// Search goes on with s for holes behind seq, in so many steps. When it is done
// s.End counts.
func (m *Memory) Search(s *Search, seq uint64, steps int) (done bool) {
	if !s.begun {
		s.begin()
		s.ask(m)
	}
	if s.End <= seq {
		s.Certain = false // that was another hole
	}
	if max(m.evicted, m.passed) <= seq { // nothing behind it has gone
		s.asking, s.read = false, m.evictions.count
		return true
	}
	for s.asking {
		if steps <= 0 {
			return false
		}
		steps -= s.askSome(m, seq, steps)
	}
	for s.read < m.evictions.count {
		e, kept := m.evictions.at(s.read)
		if !kept { // too many at once
			s.ask(m)
			return false
		}
		if steps--; steps < 0 {
			return false
		}
		s.read++
		switch {
		case e.seq <= seq:
		case e.every:
			s.End = max(s.End, e.seq)
		case s.matches(e.topic):
			s.End, s.Certain = max(s.End, e.seq), true
		}
	}
	return true
}

// ask begins with the topics.
func (s *Search) ask(m *Memory) {
	s.asking, s.filter, s.at = true, 0, ""
	s.read = m.evictions.count
}

// askSome asks a part of the topics and returns the steps that it took.
func (s *Search) askSome(m *Memory, seq uint64, steps int) int {
	if s.filter == len(s.Filters) {
		s.End = max(s.End, m.forgotten, m.passed)
		if m.gaps != nil {
			s.End = max(s.End, m.gaps.evicted)
		}
		s.asking = false
		return 1
	}
	filter := s.Filters[s.filter]
	if filter == "#" {
		s.End, s.Certain = max(s.End, m.evicted), s.Certain || m.evicted > seq
		s.filter++
		return 1
	}
	at, done := m.topics.WalkSome(filter, s.at, steps, func(_ string, t *Topic) bool {
		s.End, s.Certain = max(s.End, t.evicted), s.Certain || t.evicted > seq
		return true
	})
	if s.at = at; done {
		s.filter, s.at = s.filter+1, ""
	}
	return steps
}

func (s *Search) matches(name string) bool {
	s.scratch = s.match.Match(s.scratch[:0], name)
	return len(s.scratch) > 0
}

// evictions are the last ones, in the order in which they happened.
type evictions struct {
	ring  []eviction
	count uint64 // of all that ever were
}

// eviction is one message that has left the history.
type eviction struct {
	seq   uint64
	topic string
	every bool // it concerns every topic, or may
}

// evictionsKept is how many are there to be read.
const evictionsKept = 4096

func (e *evictions) add(x eviction) {
	if len(e.ring) < evictionsKept {
		e.ring = append(e.ring, x)
	} else {
		e.ring[e.count%evictionsKept] = x
	}
	e.count++
}

// at gives the eviction with that number, if it is still kept.
func (e *evictions) at(n uint64) (x eviction, kept bool) {
	if e.count-n > evictionsKept {
		return eviction{}, false
	}
	return e.ring[n%evictionsKept], true
}
