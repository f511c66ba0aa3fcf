package hub

import (
	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
)

// copies is what a client that joins is sent before the live messages: of each
// topic one, as it is at the moment of joining. It is put together outside of
// hub.mu, from what the broker keeps, from what is remembered, and from what
// passed live while that was collected; only the last few messages are put in
// under the lock.
type copies struct {
	hub      *Hub
	fetches  []*fetch
	snapshot bool // of everything, not only of what is retained
	joined   bool // the client has seen the live messages itself
	rights   *Rights
	run      *outbox.Run
	shared   bool           // run is a fetch's own, or clients have it: it must not change
	places   map[string]int // in run, by topic
	retained int            // places below that are of retained topics
	read     []int          // messages of each fetch's recorder that were put in
}

// collect begins with what the fetches have brought, and, for a snapshot, with
// what is remembered of the filters, as far as the client's rights go. The
// caller calls lock next.
func (h *Hub) collect(fetches []*fetch, filters []string, rights *Rights, snapshot, joined bool) *copies {
	cp := &copies{hub: h, fetches: fetches, snapshot: snapshot, joined: joined, rights: rights, read: make([]int, len(fetches))}
	if len(fetches) == 1 && !snapshot && rights == nil {
		cp.run, cp.shared = fetches[0].run, true // most often that is all
		return cp
	}
	cp.own()
	if snapshot {
		cp.addValues(filters)
	}
	return cp
}

// own makes a run of this client's own.
func (cp *copies) own() {
	cp.run, cp.shared, cp.places = cp.hub.queued.NewRun(), false, map[string]int{}
	if cp.snapshot {
		return
	}
	cp.addFetched()
	cp.retained = cp.run.Len()
}

// unshare makes a run that may change.
func (cp *copies) unshare() {
	if cp.places == nil {
		cp.own()
		return
	}
	old := cp.run
	cp.run, cp.shared = cp.hub.queued.NewRun(), false
	for i := range old.Len() {
		cp.run.Append(old.At(i))
	}
	old.Release()
}

func (cp *copies) addFetched() {
	for _, f := range cp.fetches {
		for _, m := range f.copies {
			if _, known := cp.places[m.Topic]; !known {
				cp.set(m.Topic, m)
			}
		}
	}
}

// walkSteps is how many topics are looked at under one lock.
const walkSteps = 256

// addValues adds the newest message of each topic, and what the broker keeps of
// others.
func (cp *copies) addValues(filters []string) {
	h := cp.hub
	for _, f := range filters {
		for at, done := "", false; !done; {
			h.reading(func() {
				at, done = h.memory.Walk(f, at, walkSteps, func(name string, t *memory.Topic) bool {
					if _, known := cp.places[name]; !known {
						if m := h.value(name, t); m != nil && !m.Empty() {
							cp.set(name, m)
						}
					}
					return true
				})
			})
		}
	}
	cp.addFetched()
}

// set puts m, or nil for nothing, in the place of its topic, if the client may
// be given it.
func (cp *copies) set(topic string, m *message.Message) {
	if i, known := cp.places[topic]; known {
		cp.run.Set(i, m)
	} else if m != nil && cp.rights.may(topic) {
		cp.places[topic] = cp.run.Len()
		cp.run.Append(m)
	}
}

// passedBy puts in a message that passed live.
func (cp *copies) passedBy(m *message.Message, fetched bool) {
	i, known := cp.places[m.Topic]
	switch {
	case known && cp.run.At(i) != nil && cp.run.At(i).Seq > m.Seq: // older than what was remembered
	case m.Empty():
		cp.set(m.Topic, nil)
	case cp.snapshot:
		cp.set(m.Topic, m)
	case known && i < cp.retained:
		cp.set(m.Topic, m.AsRetained())
	case fetched && !cp.joined:
		cp.set(m.Topic, m.WithoutCursor())
	}
}

// Bounds of the last step of lock.
const (
	lastMerged = 16
	maxRounds  = 1000
)

// lock takes hub.mu at a moment at which everything that passed is put in. Lost
// means that too much did, and that nothing can be said.
func (cp *copies) lock() (lost bool) {
	h := cp.hub
	for round := 0; ; round++ {
		h.mu.Lock()
		passed, lost := cp.passed()
		if lost || passed == 0 {
			return lost
		}
		if cp.shared {
			h.mu.Unlock()
			cp.unshare()
			continue
		}
		tails := cp.tails()
		if passed <= lastMerged || round >= maxRounds {
			cp.merge(tails)
			return false
		}
		h.mu.Unlock()
		cp.merge(tails)
	}
}

// tails are the messages that were not put in. What was recorded does not
// change, so they can be read without the lock.
func (cp *copies) tails() [][]*message.Message {
	tails := make([][]*message.Message, len(cp.fetches))
	for i, f := range cp.fetches {
		tails[i] = f.recorder.messages[cp.read[i]:]
		cp.read[i] += len(tails[i])
	}
	return tails
}

func (cp *copies) merge(tails [][]*message.Message) {
	for i, tail := range tails {
		for _, m := range tail {
			cp.passedBy(m, cp.fetches[i].err == nil)
		}
	}
}

// passed is how much passed live that was not put in. Called under hub.mu.
func (cp *copies) passed() (n int, lost bool) {
	for i, f := range cp.fetches {
		if f.recorder.lost {
			return 0, true
		}
		n += len(f.recorder.messages) - cp.read[i]
	}
	return n, false
}

// form is how the client sees the copies.
func (cp *copies) form() message.Form { return message.Form{Copy: cp.snapshot} }

// release gives the run up.
func (cp *copies) release() {
	if cp.places != nil { // or it is a fetch's
		cp.run.Release()
	}
}
