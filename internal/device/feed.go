package device

// Get is what is known of the device of that id; ok is false when nothing is.
func (r *Registry) Get(id string) (f Facts, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[id]
	if e == nil {
		return Facts{}, false
	}
	return r.facts(e, 0), true
}

// steps is how many devices are looked at under one lock.
const steps = 256

// Walk gives some of the devices behind an id, by id; more is false at the end.
func (r *Registry) Walk(after string) (some []Facts, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.ids.after(after)
	for ; n != nil && len(some) < steps; n = n.next[0] {
		some = append(some, r.facts(n.value, 0))
	}
	return some, n != nil
}

// Change is a device as it is now, a topic that has gone quiet or is back, or
// how many were forgotten since the last one: one of them.
type Change struct {
	Device    *Facts
	Silence   *Silence
	Forgotten uint64
	Complete  bool // all that was there at the beginning has been given
}

// Feed gives the changes of a registry to one reader, at its own pace: of a
// device that changes more often than it is read, the newest. It belongs to one
// goroutine, which must close it.
type Feed struct {
	r    *Registry
	more chan struct{} // has an item when there is something again to who waits

	// Guarded by Registry.mu.
	filters   []string // that the reader may read
	whole     bool     // or all
	walk      walk
	snapshot  bool
	after     string   // of the walk
	at        uint64   // the change up to which everything has been given
	next      []uint64 // the changes behind it that may be the reader's,
	behind    bool     // unless they were too many: it looks at all, and
	looked    uint64   // has done so up to this one
	waits     bool
	life      uint64
	forgotten uint64
}

// walk is what of all that is there a feed is giving.
type walk int

const (
	walkNothing walk = iota
	walkDevices
	walkTopics
)

// nextSize bounds Feed.next.
const nextSize = 64

// Feed begins a feed: with all that is there, or with what changes from now on.
func (r *Registry) Feed(snapshot bool) *Feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &Feed{r: r, more: make(chan struct{}, 1), whole: true, snapshot: snapshot, at: r.change, life: r.life, forgotten: r.evicted + r.topics.evicted}
	if snapshot {
		f.walk = walkDevices
	}
	r.readers.add(f)
	return f
}

// Only says what the reader may read, so that it is not woken for anything else:
// what lies inside of one of the filters, or all. Other changes may be given all
// the same.
func (f *Feed) Only(filters []string, all bool) {
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readers.remove(f)
	f.filters, f.whole = filters, all
	r.readers.add(f)
	f.lookAtAll()
}

// Close ends the feed.
func (f *Feed) Close() {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.r.readers.remove(f)
}

// Next gives some changes, and a channel that has an item when there are more;
// nil: at once. When states have become unknown all at once, all devices come
// again.
func (f *Feed) Next() (some []Change, more <-chan struct{}) {
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	f.waits = false
	if f.life != r.life { // topics stay as they are: what is noted of them is still to come
		f.life, f.after = r.life, ""
		f.walk = walkDevices
	}
	if all := r.evicted + r.topics.evicted; all > f.forgotten {
		some = append(some, Change{Forgotten: all - f.forgotten})
		f.forgotten = all
	}
	switch f.walk {
	case walkDevices:
		n := r.ids.after(f.after)
		for ; n != nil && len(some) < steps; n = n.next[0] {
			d := r.facts(n.value, 0)
			some, f.after = append(some, Change{Device: &d}), n.key
		}
		if n == nil {
			f.walk, f.after = walkNothing, ""
			if f.snapshot {
				f.walk = walkTopics
			}
		}
		return some, nil
	case walkTopics:
		n := r.topics.silent.after(f.after)
		for ; n != nil && len(some) < steps; n = n.next[0] {
			s := n.value.view()
			some, f.after = append(some, Change{Silence: &s}), n.key
		}
		if n == nil {
			f.walk, f.snapshot = walkNothing, false
			some = append(some, Change{Complete: true})
		}
		return some, nil
	}
	if some = f.changes(some); len(some) > 0 || f.behind {
		return some, nil
	}
	f.waits = true
	return nil, f.more
}

// changes appends some changes. Called under mu.
func (f *Feed) changes(some []Change) []Change {
	r := f.r
	if f.behind {
		n := r.changes.after(f.looked)
		for ; n != nil && len(some) < steps; n = n.next[0] {
			f.looked = n.key
			some = append(some, f.look(n.value))
		}
		if f.behind = n != nil; f.behind {
			return some
		}
	}
	for _, key := range f.next {
		if n := r.changes.after(key - 1); n != nil && n.key == key { // else it has changed again, or is forgotten
			some = append(some, f.look(n.value))
		}
	}
	f.at, f.next = r.change, f.next[:0]
	return some
}

// look is a change as it is now. Called under mu.
func (f *Feed) look(c change) Change {
	if c.topic != nil {
		s := c.topic.view()
		return Change{Silence: &s}
	}
	d := f.r.facts(c.device, f.at)
	return Change{Device: &d}
}

// add notes a change. Called under mu.
func (f *Feed) add(key uint64) {
	switch {
	case f.behind || len(f.next) > 0 && f.next[len(f.next)-1] == key:
	case len(f.next) == nextSize:
		f.lookAtAll()
	default:
		f.next = append(f.next, key)
	}
}

// lookAtAll has the feed look at all changes since at. Called under mu.
func (f *Feed) lookAtAll() {
	if !f.behind {
		f.behind, f.looked, f.next = true, f.at, f.next[:0]
	}
}
