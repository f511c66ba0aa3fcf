package device

import "time"

// QuietStats is a reading about one filter of topics that may not go quiet.
type QuietStats struct {
	Filter string
	Newest time.Time // of all its messages; zero: none
	Silent int
}

// Stats is a reading of the registry's counters.
type Stats struct {
	States       map[State]int
	Lines        uint64 // of the broker's log, about clients
	Unread       uint64 // of them, those that can be read in two ways
	Forgotten    uint64 // devices and topics
	TooLong      uint64 // devices that were not taken in
	Quiet        []QuietStats
	Bytes, Limit int64
}

// Stats reads the counters.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{
		States: map[State]int{Online: r.states[Online], Offline: r.states[Offline]}, Lines: r.lines, Unread: r.unread,
		Forgotten: r.evicted + r.topics.evicted, TooLong: r.tooLong, Bytes: r.bytes + r.topics.bytes, Limit: r.opts.Bytes,
	}
	if len(r.opts.Quiet) > 0 {
		s.Limit *= 2
	}
	s.States[Unknown] = len(r.byID) - s.States[Online] - s.States[Offline]
	for i, q := range r.opts.Quiet {
		s.Quiet = append(s.Quiet, QuietStats{Filter: q.Filter, Newest: r.topics.quiet[i].newest, Silent: r.topics.quiet[i].silent})
	}
	return s
}

// Forgotten is how many devices and topics were forgotten.
func (r *Registry) Forgotten() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.evicted + r.topics.evicted
}
