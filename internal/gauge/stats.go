package gauge

// Metric is the series of one rule.
type Metric struct {
	Name, Help string
	Labels     []string // their names
	Series     []Sample
	Limit      int // how many series there may be
}

// Sample is one series.
type Sample struct {
	Labels []string // in the order of Metric.Labels; not to be changed
	Value  float64
}

// Stats are a reading of everything.
type Stats struct {
	Metrics []Metric
	Dropped map[Reason]uint64 // messages that gave no value; every reason is there
	Bytes   int64
}

// Stats reads all series. Those that were quiet for too long are forgotten.
func (s *Set) Stats() Stats {
	st := Stats{Dropped: map[Reason]uint64{}}
	for _, reason := range Reasons {
		st.Dropped[reason] = 0
	}
	if s == nil {
		return st
	}
	now := s.opts.Now()
	for _, r := range s.rules {
		m := Metric{Name: r.name, Help: r.help, Labels: r.labelNames(), Limit: r.max}
		s.mu.Lock() // for each anew, so that messages have their turn
		s.expire(r, now)
		m.Series = make([]Sample, 0, len(r.byKey))
		for e := range r.heard.All() {
			m.Series = append(m.Series, Sample{e.labels, e.value})
		}
		s.mu.Unlock()
		st.Metrics = append(st.Metrics, m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for reason, n := range s.dropped {
		st.Dropped[reason] = n
	}
	st.Bytes = s.bytes
	return st
}
