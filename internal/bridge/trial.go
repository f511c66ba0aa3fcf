package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// trial is the link for what is under suspicion: it is made when there is something to send, and sends one message at a
// time, so that the guilty one is found, and nobody else's is lost with it.
type trial struct {
	role  *role
	books *lane // counts what is under way here
	kick  chan struct{}

	mu      sync.Mutex // guards the rest
	queue   []*Publication
	waiting map[string]int // by topic, with what is under way: what comes next goes behind them
	ended   bool
}

func newTrial(b *Bridge) *trial {
	tr := &trial{books: newLane(-1, laneRoom(trialBytes, b.cfg.MaxPayload), &b.stats), kick: make(chan struct{}, 1), waiting: make(map[string]int)}
	tr.role = &role{b: b, part: partControl, name: "trial", id: identity{clientID: b.prefix + "-trial0"}, wake: make(chan struct{}, 1)}
	return tr
}

// holds reports whether messages of a topic are waiting here.
func (tr *trial) holds(topic string) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.waiting[topic] > 0
}

func (tr *trial) submit(m Message) (*Publication, error) {
	p := newPublication(m, tr.books)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch {
	case tr.ended:
		return nil, ErrNoConnection
	case !tr.books.reserve(p):
		return nil, ErrOverloaded
	}
	tr.queue = append(tr.queue, p)
	tr.waiting[m.Topic]++
	select {
	case tr.kick <- struct{}{}:
	default:
	}
	return p, nil
}

// next takes the oldest publication that nobody has given up.
func (tr *trial) next() *Publication {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for len(tr.queue) > 0 {
		p := tr.queue[0]
		tr.queue = tr.queue[1:]
		if p.taken.CompareAndSwap(false, true) {
			return p
		}
		tr.passed(p)
	}
	return nil
}

// passed notes that a publication is no longer waited for. It is called with the lock held.
func (tr *trial) passed(p *Publication) {
	if tr.waiting[p.kind.topic]--; tr.waiting[p.kind.topic] <= 0 {
		delete(tr.waiting, p.kind.topic)
	}
}

// run serves what is submitted until ctx is done.
func (tr *trial) run(ctx context.Context) {
	b := tr.role.b
	pause := backoff{timing: b.timing}
	var k *mqtt.Conn
	for {
		p := tr.next()
		if p == nil {
			if !tr.idle(ctx, &k) {
				break
			}
			continue
		}
		refusal, suspected := b.suspects.about(p.kind)
		if refusal != nil || !suspected { // the verdict fell, or what it waited for was innocent
			if refusal != nil {
				p.complete(0, refusal)
			} else {
				b.lane(p.kind.topic).adopt(p)
			}
			tr.done(p)
			continue
		}
		if k == nil {
			var err error
			if k, err = tr.role.dial(ctx, tr.role.id, nothing); err != nil {
				p.complete(0, ErrNotSent)
				tr.done(p)
				pause.failed(err)
				tr.role.sleep(ctx, pause.delay(), true)
				continue
			}
			pause = backoff{timing: b.timing}
		}
		if !tr.try(ctx, k, p) {
			k.Close()
			if k, _ = tr.role.dial(ctx, tr.role.id, nothing); k != nil {
				b.stats.reconnects.Add(1)
			}
		}
		tr.done(p)
	}
	tr.end()
}

// idle waits for something to send. A link that was not needed for some time is closed.
func (tr *trial) idle(ctx context.Context, k **mqtt.Conn) bool {
	t := time.NewTimer(tr.role.b.timing.trialIdle)
	defer t.Stop()
	select {
	case <-tr.kick:
	case <-t.C:
		if *k != nil {
			(*k).Close()
			*k = nil
		}
	case <-ctx.Done():
		if *k != nil {
			(*k).Close()
		}
		return false
	}
	return true
}

func (tr *trial) done(p *Publication) {
	tr.mu.Lock()
	tr.passed(p)
	tr.mu.Unlock()
}

func (tr *trial) end() {
	tr.mu.Lock()
	tr.ended = true
	left := tr.queue
	tr.queue = nil
	tr.mu.Unlock()
	for _, p := range left {
		if p.taken.CompareAndSwap(false, true) {
			p.complete(0, ErrNotSent)
		}
	}
}

// try sends one message, and finds out whether the broker takes it. It is false when the link is not to be used again.
func (tr *trial) try(ctx context.Context, k *mqtt.Conn, p *Publication) (alive bool) {
	b := tr.role.b
	if err := p.speak(k); err != nil {
		p.complete(0, err)
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, b.timing.verdict)
	defer cancel()
	k.Publish(&p.sent)
	notSent := false
	select {
	case <-p.done:
		// A message of QoS 0 has no answer, but what is answered behind it vouches for it. One that was refused may have
		// ended the link as well.
		notSent = p.err == ErrNotSent
		if p.kind.qos > 0 && p.err == nil || k.RoundTrip(ctx) == nil {
			b.suspects.clear(p.kind)
			return true
		}
	case <-k.Done():
	case <-ctx.Done():
		k.Fail(mqtt.ErrSilent)
	}
	k.Close() // everything has its outcome then, but for what is lost
	lost, _ := tr.books.flight.take()
	e := b.ending(k)
	outcome := error(ErrUnknown)
	switch {
	case p.sent.Received():
		b.suspects.clear(p.kind)
	case !e.answer || notSent:
	case e.clear || b.suspects.reset(p.kind):
		outcome = b.suspects.convict(p.kind, e.reason)
	}
	for _, l := range lost {
		l.complete(e.reason, outcome)
	}
	return false
}
