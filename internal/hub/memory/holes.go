package memory

import "github.com/vulturepi/gateway/internal/topic"

// Search looks for a hole: messages behind a place that match some filters and
// have left the history. First it asks all topics that match; from then on it
// reads what is evicted meanwhile, so a reader that goes on in the history asks
// again at little cost. NewSearch makes one; so is the zero Search with Filters.
type Search struct {
	Filters []Sought
	// End is up to where messages are missing; the place searched from or less:
	// none are. Certain is false where they may have been of other topics.
	End     uint64
	Certain bool

	begun    bool
	asking   bool   // the topics
	overtook bool   // while it asked, more was evicted than is kept to be read
	filter   int    // which one of Filters
	at       string // where the walk goes on
	read     uint64 // evictions that were read
	passed   uint64 // up to where those that passed were looked at
	scratch  [][]uint64
	match    topic.Trie[uint64]
	least    uint64 // of all From
}

// Sought is a filter, and the place behind which what matches it is sought.
type Sought struct {
	Filter string
	From   uint64
}

// NewSearch searches what matches the filters from the beginning.
func NewSearch(filters ...string) Search {
	var s Search
	for _, f := range filters {
		s.Filters = append(s.Filters, Sought{Filter: f})
	}
	return s
}

func (s *Search) begin() {
	s.begun, s.least = true, s.Filters[0].From
	for _, f := range s.Filters {
		s.match.Add(f.Filter, f.From)
		s.least = min(s.least, f.From)
	}
}

// Search goes on with s for holes behind seq, in so many steps. When it is done
// s.End counts.
func (m *Memory) Search(s *Search, seq uint64, steps int) (done bool) {
	if len(s.Filters) == 0 {
		return true
	}
	if !s.begun {
		s.begin()
		s.ask(m)
	}
	if s.End <= seq {
		s.Certain = false // that was another hole
	}
	if s.passed < m.passes.last {
		s.askPassed(m, seq)
	}
	if m.evicted <= seq { // nothing behind it has gone
		s.asking, s.overtook, s.read = false, false, m.evictions.count
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
		if !kept {
			return s.overtaken(m)
		}
		if steps--; steps < 0 {
			return false
		}
		s.read++
		if from, wanted := s.wants(e); wanted {
			s.found(e.seq, max(seq, from), !e.every)
		}
	}
	s.overtook = false
	return true
}

// overtaken: more was evicted than is kept to be read. It asks the topics
// again, and when that happens again meanwhile, all that was evicted may be what
// is sought: there must be an end to it.
func (s *Search) overtaken(m *Memory) (done bool) {
	if !s.overtook {
		s.overtook = true
		s.ask(m)
		return false
	}
	s.overtook, s.read = false, m.evictions.count
	s.End = max(s.End, m.evicted)
	return true
}

// askPassed asks the topics whose messages were not remembered; they are few.
func (s *Search) askPassed(m *Memory, seq uint64) {
	s.passed = m.passes.last
	s.found(m.passes.nameless, max(seq, s.least), false)
	for _, p := range m.passes.kept {
		if p.seq <= seq {
			continue
		}
		if from, wanted := s.wants(eviction{topic: p.topic}); wanted {
			s.found(p.seq, max(seq, from), true)
		}
	}
}

// found notes a hole up to end, if that is behind from.
func (s *Search) found(end, from uint64, certain bool) {
	if end > from {
		s.End, s.Certain = max(s.End, end), s.Certain || certain
	}
}

// ask begins with the topics.
func (s *Search) ask(m *Memory) {
	s.asking, s.filter, s.at = true, 0, ""
	s.read = m.evictions.count
}

// askSome asks a part of the topics and returns the steps that it took.
func (s *Search) askSome(m *Memory, seq uint64, steps int) int {
	if s.filter == len(s.Filters) {
		from := max(seq, s.least)
		s.found(m.forgotten, from, false)
		if m.gaps != nil {
			s.found(m.gaps.evicted, from, false)
		}
		s.asking = false
		return 1
	}
	f := s.Filters[s.filter]
	from := max(seq, f.From)
	if f.Filter == "#" {
		s.found(m.evicted, from, true)
		s.filter++
		return 1
	}
	at, done := m.topics.WalkSome(f.Filter, s.at, steps, func(_ string, t *Topic) bool {
		s.found(t.evicted, from, true)
		return true
	})
	if s.at = at; done {
		s.filter, s.at = s.filter+1, ""
	}
	return steps
}

// wants reports whether an eviction is of what is sought, and from where on.
func (s *Search) wants(e eviction) (from uint64, wanted bool) {
	if e.every {
		return s.least, true
	}
	s.scratch = s.match.Match(s.scratch[:0], e.topic)
	for _, froms := range s.scratch {
		for _, f := range froms {
			if !wanted || f < from {
				from, wanted = f, true
			}
		}
	}
	return from, wanted
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
