package hub

import (
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
)

// throttle is min_interval for the filters of one subscribe: of each topic at
// most one message in that time, the newest. What it knows and holds back
// counts against the client's limit. Guarded by hub.mu.
type throttle struct {
	client   *Client
	interval time.Duration
	overflow outbox.Overflow
	users    int // subscriptions in force
	topics   map[string]*paced
	// The topics in the order of their last delivery, and so of when the next
	// one may come.
	first, last *paced
	timer       *time.Timer
	held        []heldBack // in the order in which they began to be held back; some are over
	holding     int        // those that are not
	loading     time.Time  // not zero: a replay puts messages in, and none goes out
}

// paced is one topic.
type paced struct {
	throttle   *throttle
	topic      string
	at         time.Time        // when a message was delivered
	waits      *message.Message // the newest since then, nil: none
	since      uint64           // the first one since then
	skipped    int              // how many waits stands for besides itself
	prev, next *paced
}

// pacedBytes is what a topic takes, roughly, besides its name.
const pacedBytes = 160

func (p *paced) bytes() int {
	n := pacedBytes + len(p.topic)
	if p.waits != nil {
		n += len(p.waits.JSON)
	}
	return n
}

// heldBack is a message in the order in which messages began to be held back.
type heldBack struct {
	paced *paced
	since uint64
}

func (x heldBack) over() bool { return x.paced.waits == nil || x.paced.since != x.since }

func newThrottle(c *Client, r *Request) *throttle {
	t := &throttle{client: c, interval: r.MinInterval, overflow: r.Overflow, topics: map[string]*paced{}}
	c.throttles = append(c.throttles, t)
	return t
}

// take delivers m or holds it back. Called after all filters without
// min_interval had their turn.
func (t *throttle) take(m *message.Message, now time.Time) {
	c := t.client
	if c.last == m.Seq || c.gone {
		return
	}
	c.last = m.Seq
	p := t.pace(m.Topic)
	if p.waits == nil && now.Sub(p.at) >= t.interval && !t.postponed() {
		c.out.PushPaced(m, c.form(m), t.overflow)
		t.delivered(p, now)
		return
	}
	t.hold(p, m)
}

// load begins to hold back what a replay finds, until releaseLoaded.
func (t *throttle) load() { t.loading = time.Now().Add(-t.interval) }

// takeLoaded holds back a message of a replay; it will be due at once.
func (t *throttle) takeLoaded(m *message.Message) {
	p := t.pace(m.Topic)
	t.moveBack(p, t.loading)
	t.hold(p, m)
}

// releaseLoaded lets what was loaded go out, and what is live follow.
func (t *throttle) releaseLoaded() {
	t.loading = time.Time{}
	t.releaseDue(time.Now(), releaseSteps)
	t.schedule()
}

// pace gives what is known of a topic.
func (t *throttle) pace(topic string) *paced {
	p := t.topics[topic]
	if p == nil {
		p = &paced{throttle: t, topic: topic}
		t.topics[topic] = p
		t.append(p)
		t.client.count(t, p.bytes())
	}
	return p
}

func (t *throttle) hold(p *paced, m *message.Message) {
	before := p.bytes()
	c := t.client
	if p.waits != nil {
		p.skipped++
	} else {
		p.since = m.Seq
		t.trimHeld()
		t.held = append(t.held, heldBack{p, m.Seq})
		t.holding++
	}
	p.waits = m
	t.schedule()
	c.count(t, p.bytes()-before)
}

// delivered notes that the topic has had a message, and nothing waits any more.
func (t *throttle) delivered(p *paced, now time.Time) {
	if p.waits != nil {
		t.client.count(nil, -len(p.waits.JSON))
		t.holding--
		p.waits, p.skipped = nil, 0
	}
	t.moveBack(p, now)
	t.schedule()
}

// release delivers what waits for one topic.
func (t *throttle) release(p *paced, now time.Time) {
	m, f := p.waits, message.Form{Skipped: p.skipped}
	t.delivered(p, now)
	f.Place = t.client.form(m).Place
	t.client.out.PushPaced(m, f, t.overflow)
}

// postponed reports whether messages are better held back: what waits for a
// slow client is then the newest of each topic.
func (t *throttle) postponed() bool {
	return t.overflow == outbox.OverflowCatchup && t.client.out.Busy()
}

// forget drops a topic of which nothing waits.
func (t *throttle) forget(p *paced) {
	t.remove(p)
	delete(t.topics, p.topic)
	t.client.count(nil, -p.bytes())
}

// schedule lets fire run when the next topic is due.
func (t *throttle) schedule() {
	if t.timer == nil && t.first != nil && t.loading.IsZero() {
		wait := max(t.interval-time.Since(t.first.at), retryPostponed)
		t.timer = time.AfterFunc(wait, t.fire)
	}
}

// retryPostponed is how soon a slow client is looked at again, and the finest
// grain of min_interval.
const retryPostponed = 5 * time.Millisecond

// releaseSteps is how many topics are looked at under one lock.
const releaseSteps = 128

// fire delivers what is due, and forgets the topics that have been quiet.
func (t *throttle) fire() {
	h := t.client.hub
	for more := true; more; {
		h.mu.Lock()
		if t.timer == nil || t.client.gone {
			h.mu.Unlock()
			return
		}
		if more = t.releaseDue(time.Now(), releaseSteps); !more {
			t.timer = nil
			t.schedule()
		}
		h.mu.Unlock()
		t.client.out.Kick()
	}
}

func (t *throttle) releaseDue(now time.Time, steps int) (more bool) {
	for ; t.first != nil && now.Sub(t.first.at) >= t.interval; steps-- {
		switch p := t.first; {
		case steps == 0:
			return true
		case p.waits != nil && t.postponed():
			return false
		case p.waits != nil:
			t.release(p, now)
		default:
			t.forget(p)
		}
	}
	return false
}

// leave is called when a subscription ends.
func (t *throttle) leave() {
	if t.users--; t.users > 0 {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	c := t.client
	c.throttles = slices.DeleteFunc(c.throttles, func(x *throttle) bool { return x == t })
	bytes := 0
	for _, p := range t.topics { // as many as the client's limit lets it have
		bytes += p.bytes()
	}
	c.out.Hold(-bytes)
	t.topics, t.first, t.last, t.held, t.holding = nil, nil, nil, nil, 0
}

// count counts bytes against the client's limit. When that is passed, what has
// waited longest is given up as the policy of t says. With t nil it only counts.
func (c *Client) count(t *throttle, bytes int) {
	over := c.out.Hold(bytes)
	if t == nil || over <= 0 || bytes <= 0 {
		return
	}
	if t.overflow == outbox.OverflowClose {
		c.out.Overflow(c.hub.seq)
		return
	}
	for ; over > 0 && c.giveUpOldest(); over = c.out.Hold(0) {
	}
}

// giveUpOldest drops the message that has waited longest, behind a gap. It is
// false when none waits.
func (c *Client) giveUpOldest() bool {
	x := c.oldestHeld()
	if x == nil {
		return false
	}
	since, p := x.since, x.paced
	c.hub.shared.DroppedSlow.Add(uint64(1 + p.skipped))
	seq := p.waits.Seq
	c.count(nil, -len(p.waits.JSON))
	p.throttle.holding--
	p.waits, p.skipped = nil, 0
	c.out.PushHole(since, min(seq, max(since, c.floor()-1)))
	return true
}

// trimHeld forgets what is not held back any more, at the front.
func (t *throttle) trimHeld() {
	for len(t.held) > 0 && t.held[0].over() {
		t.held[0] = heldBack{}
		t.held = t.held[1:]
	}
	if len(t.held) == 0 {
		t.held = nil
	} else if len(t.held) > 64 && len(t.held) > 4*t.holding {
		kept := make([]heldBack, 0, 2*t.holding)
		for _, x := range t.held {
			if !x.over() {
				kept = append(kept, x)
			}
		}
		t.held = kept
	}
}

// oldestHeld is what has been held back longest, nil when nothing is.
func (c *Client) oldestHeld() (oldest *heldBack) {
	for _, t := range c.throttles { // one a subscribe with min_interval
		if t.holding == 0 {
			continue
		}
		t.trimHeld()
		if x := &t.held[0]; oldest == nil || x.since < oldest.since {
			oldest = x
		}
	}
	return oldest
}

// never is behind every message.
const never = ^uint64(0)

// floor is a place that no message that is held back is older than.
func (c *Client) floor() uint64 {
	if x := c.oldestHeld(); x != nil {
		return x.since
	}
	return never
}

// form is how c gets m: while older messages are held back, or are still to be
// replayed, its cursor leads back to before them, so that a resume does not
// lose them.
func (c *Client) form(m *message.Message) message.Form {
	place := c.floor()
	if c.replaying > 0 {
		place = min(place, c.replaying)
	}
	if place > m.Seq {
		return message.Form{}
	}
	return message.Form{Place: place}
}

// safe is the cursor of a place for c: of before what it does not have yet.
func (c *Client) safe(seq uint64) uint64 {
	place := c.floor()
	if c.replaying > 0 {
		place = min(place, c.replaying)
	}
	if behind := c.out.Behind(); behind > 0 {
		place = min(place, behind)
	}
	return min(seq, place-1)
}

// releaseHeld delivers everything that is held back: no more than the client's
// limit lets it have. Called under hub.mu before a frame whose cursor would
// pass it.
func (c *Client) releaseHeld() {
	now := time.Now()
	for x := c.oldestHeld(); x != nil; x = c.oldestHeld() {
		x.paced.throttle.release(x.paced, now)
	}
}

// The list.

func (t *throttle) append(p *paced) {
	if p.prev = t.last; t.last != nil {
		t.last.next = p
	} else {
		t.first = p
	}
	t.last = p
}

func (t *throttle) remove(p *paced) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		t.first = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		t.last = p.prev
	}
	p.prev, p.next = nil, nil
}

func (t *throttle) moveBack(p *paced, at time.Time) {
	p.at = at
	if t.last != p {
		t.remove(p)
		t.append(p)
	}
}
