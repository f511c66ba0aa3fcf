package hub

import (
	"sort"
	"time"
)

// Since is the place in front of the first message received at t or later. It
// becomes a place in the sequence when it is first used.
//
// Who names a time asks for what there is from then on, so the rules differ
// from those of a cursor: where a part of it has left the history, the rest
// comes behind a gap. What was before this life of the gateway is no gap.
func Since(t time.Time) *Position { return &Position{at: t, window: true} }

// locate turns a time into a place. Called under hub.mu.
func (h *Hub) locate(p *Position) {
	if !p.window || p.located {
		return
	}
	p.located = true
	p.Epoch = h.opts.Epoch
	p.Seq = max(h.clock.at(p.at), h.archive.log.before(p.at))
}

// before is the last message received before t, 0 if there is none.
func (l *seqlog) before(t time.Time) uint64 {
	i := sort.Search(len(l.segments), func(i int) bool {
		msgs := l.segments[i].msgs
		return !msgs[len(msgs)-1].at.Before(t)
	})
	if i < len(l.segments) {
		msgs := l.segments[i].msgs
		if j := sort.Search(len(msgs), func(j int) bool { return !msgs[j].at.Before(t) }); j > 0 {
			return msgs[j-1].Seq
		}
	}
	if i == 0 {
		return 0
	}
	return l.segments[i-1].last()
}
