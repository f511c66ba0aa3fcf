package device

// Get is the device of that id; ok is false when it is not known.
func (r *Registry) Get(id string) (d Device, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[id]
	if e == nil {
		return Device{}, false
	}
	return r.view(e), true
}

// steps is how many devices are looked at under one lock.
const steps = 256

// Walk gives some of the devices behind an id, by id; more is false at the end.
func (r *Registry) Walk(after string) (some []Device, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.ids.after(after)
	for ; n != nil && len(some) < steps; n = n.next[0] {
		some = append(some, r.view(n.value))
	}
	return some, n != nil
}

// Filters are what a device was seen on: whoever may read all that one of them
// matches may know of the device. None: it is known from the log only.
func (r *Registry) Filters(d Device) (filters []string) {
	for i := range r.opts.Patterns {
		if d.seen&(1<<i) != 0 {
			filters = append(filters, r.opts.Patterns[i].Of(d.ID))
		}
	}
	return filters
}

// Change is a device as it is now, a topic that has gone quiet or is back, or
// how many were forgotten since the last one: one of them.
type Change struct {
	Device    *Device
	Silence   *Silence
	Forgotten uint64
	Complete  bool // all that was there at the beginning has been given
}

// Feed gives the changes of a registry to one reader, at its own pace: of a
// device that changes more often than it is read, the newest. It belongs to one
// goroutine.
type Feed struct {
	r         *Registry
	walk      walk
	snapshot  bool
	after     string // of the walk
	at        uint64 // the last change that was given
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

// Feed begins a feed: with all that is there, or with what changes from now on.
func (r *Registry) Feed(snapshot bool) *Feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &Feed{r: r, snapshot: snapshot, at: r.change, life: r.life, forgotten: r.evicted + r.topics.evicted}
	if snapshot {
		f.walk = walkDevices
	}
	return f
}

// Next gives some changes, and a channel that is closed when there are more; nil:
// at once. When states have become unknown all at once, all devices come again.
func (f *Feed) Next() (some []Change, more <-chan struct{}) {
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.life != r.life { // topics stay as they are: their changes behind f.at are still to come
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
			d := r.view(n.value)
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
	n := r.changes.after(f.at)
	for ; n != nil && len(some) < steps; n = n.next[0] {
		f.at = n.key
		if t := n.value.topic; t != nil {
			s := t.view()
			some = append(some, Change{Silence: &s})
		} else {
			d := r.view(n.value.device)
			some = append(some, Change{Device: &d})
		}
	}
	if n != nil || len(some) > 0 {
		return some, nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return nil, r.changed
}
