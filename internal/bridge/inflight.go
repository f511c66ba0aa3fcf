package bridge

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

const (
	recentFor   = 5 * time.Second // a broker that has not closed the connection by then took the message
	recentMost  = 4096            // kinds of QoS 0 that a lane remembers
	recentBytes = 1 << 20         // of their topics
)

// inFlight is what a lane's link has sent and knows no answer to. Publications enter when the link has ended, and
// messages of QoS 0, which have no answer, when they are written; what is acknowledged behind those vouches for them.
type inFlight struct {
	mu     sync.Mutex
	lost   []*Publication
	recent map[kind]sent0
	bytes  int    // of the topics in recent
	newest uint64 // of QoS 0
	acked  uint64 // the last that has an answer
	denied denied // the last that was refused in its answer
}

// denied is a message that the broker has refused; when is that.
type denied struct {
	kind   kind
	reason ReasonCode
	when   time.Time
}

// sent0 is the last message of a kind of QoS 0.
type sent0 struct {
	seq   uint64
	at    time.Time
	again bool // it was not the first without an answer behind it
}

func (f *inFlight) lose(p *Publication) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = append(f.lost, p)
}

// note records an outcome that came while the link lived.
func (f *inFlight) note(p *Publication, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if refusal, ok := err.(*Refusal); ok && refusal.By != mqtt.CONNACK {
		f.denied = denied{p.kind, refusal.Reason, time.Now()}
	}
	switch {
	case p.kind.qos == 0 && err == nil:
		last, known := f.recent[p.kind]
		if !known {
			f.makeRoom()
			f.bytes += len(p.kind.topic)
		}
		f.newest = max(f.newest, p.seq)
		f.recent[p.kind] = sent0{p.seq, time.Now(), known && last.seq > f.acked}
	case p.kind.qos > 0:
		if f.acked = max(f.acked, p.seq); f.acked > f.newest {
			f.forget()
		}
	}
}

// forget drops everything. A large table is not kept: clearing it takes as long as it is large.
func (f *inFlight) forget() {
	if f.bytes = 0; len(f.recent) > 64 {
		f.recent = nil
	} else {
		clear(f.recent)
	}
}

// makeRoom drops the older half where there are too many. It is called with the lock held.
func (f *inFlight) makeRoom() {
	if f.recent == nil {
		f.recent = make(map[kind]sent0)
	}
	if len(f.recent) < recentMost && f.bytes < recentBytes {
		return
	}
	oldest := slices.SortedFunc(maps.Keys(f.recent), func(a, b kind) int { return cmp.Compare(f.recent[a].seq, f.recent[b].seq) })
	for _, k := range oldest[:(len(oldest)+1)/2] {
		delete(f.recent, k)
		f.bytes -= len(k.topic)
	}
}

// last is what the broker has refused so shortly before the link ended that it may have closed it on that; nil: nothing.
func (f *inFlight) last() *denied {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.denied
	if f.denied = (denied{}); time.Since(d.when) > closedBehind {
		return nil
	}
	return &d
}

// take gives what was in flight when the link ended: publications above QoS 0, and what those of QoS 0 were like, which
// stands twice where there were several.
func (f *inFlight) take() (lost []*Publication, recent []kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, s := range f.recent {
		if s.seq <= f.acked || time.Since(s.at) > recentFor {
			continue
		}
		if recent = append(recent, k); s.again {
			recent = append(recent, k)
		}
	}
	lost, f.lost, f.recent, f.bytes = f.lost, nil, nil, 0
	return lost, recent
}

// judge gives what was in flight on a lane's link, which has ended, its outcome. Where the broker has clearly answered
// something by closing, that is the one message, if there was only one. Otherwise nobody knows what has become of it, and
// all are under suspicion.
func (b *Bridge) judge(l *lane, k *mqtt.Conn) {
	refused := l.flight.last()
	lost, kinds := l.flight.take()
	if refused == nil && len(lost)+len(kinds) == 0 {
		b.endedIdle(k)
		return
	}
	for _, p := range lost {
		if !p.sent.Received() {
			kinds = append(kinds, p.kind)
		}
	}
	e := b.ending(k)
	if refused != nil && e.answer {
		b.suspects.convict(refused.kind, refused.reason)
	}
	outcome := error(ErrUnknown)
	switch {
	case !e.answer || len(kinds) == 0:
	case e.clear && len(kinds) == 1 && refused == nil:
		outcome = b.suspects.convict(kinds[0], e.reason)
	default:
		b.suspects.suspect(kinds)
	}
	for _, p := range lost {
		if p.sent.Received() {
			p.complete(0, ErrUnknown)
		} else {
			p.complete(e.reason, outcome)
		}
	}
}
