package device

import "time"

// fact is what one source tells of a device: the log, or one pattern. In an
// entry it is guarded by Registry.mu.
type fact struct {
	pattern int    // of Options.Patterns; of no meaning for the log
	life    uint64 // in which the state was told; 0: never
	state   State
	reason  Reason
	since   int64  // when the state was told, in nanoseconds; 0: never
	seen    int64  // the last connect, disconnect or message; 0: never
	change  uint64 // the last change of it
}

// tells reports whether the state was told in that life.
func (f *fact) tells(life uint64) bool { return f.life == life && f.state != Unknown }

// is reports whether that is the state that was told in that life.
func (f *fact) is(state State, life uint64) bool { return f.life == life && f.state == state }

// Facts are what all sources tell of one device at one moment.
type Facts struct {
	ID       string
	patterns []Pattern
	after    uint64 // only what has changed since then is news
	address  string
	log      fact
	seen     []fact // by pattern
}

// facts is what is known of a device, to one who knows what was before that
// change. Called under mu.
func (r *Registry) facts(d *entry, after uint64) Facts {
	f := Facts{ID: d.id, patterns: r.opts.Patterns, after: after, address: d.address, log: r.asOfNow(d.log)}
	for _, one := range d.seen {
		f.seen = append(f.seen, r.asOfNow(one))
	}
	return f
}

// asOfNow is a fact that is unknown when it was told in an earlier life. Called
// under mu.
func (r *Registry) asOfNow(f fact) fact {
	if f.life != 0 && f.life != r.life && f.state != Unknown {
		f.state, f.reason, f.since = Unknown, r.lost, r.lostAt
	}
	return f
}

// Show is what somebody may know of the device who may read the topics of those
// filters that may is true for; nil: all, and the broker's log. ok is false where
// that is nothing, or nothing new.
//
// A pattern's fact is for those who may read all that the pattern matches of the
// device. The log names client ids, which are anybody's: it is for those who may
// read the device on every pattern, and who know of it by one.
//
// Of the facts that are left the log's counts, and then each pattern's in the
// order of the configuration, the first that tells a state. So whoever writes to
// one pattern overrules none that stands before it.
func (f Facts) Show(may func(filter string) bool) (d Device, ok bool) {
	d = Device{ID: f.ID, State: Unknown, Reason: ReasonNotTold, Source: SourceSeen}
	known, news := may == nil, false
	take := func(one *fact, source Source) {
		news = news || one.change > f.after
		if seen := moment(one.seen); seen.After(d.LastSeen) {
			d.LastSeen = seen
		}
		if one.life != 0 && (d.Source == SourceSeen || d.State == Unknown && one.state != Unknown) {
			d.State, d.Reason, d.Since, d.Source = one.state, one.reason, moment(one.since), source
		}
	}
	if f.log.life != 0 && f.mayReadLog(may) {
		d.Address = f.address
		take(&f.log, SourceLog)
	}
	for i := range f.seen {
		if one := &f.seen[i]; may == nil || may(f.patterns[one.pattern].Of(f.ID)) {
			known = true
			take(one, SourceWill)
		}
	}
	return d, known && news
}

// mayReadLog: see Show.
func (f *Facts) mayReadLog(may func(filter string) bool) bool {
	for i := range f.patterns {
		if may != nil && !may(f.patterns[i].Of(f.ID)) {
			return false
		}
	}
	return true
}

// moment is a time of a fact.
func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
