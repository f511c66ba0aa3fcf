package hub

import (
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/list"
)

// throttle is min_interval for the filters of one subscribe: of each topic at
// most one message in that time, the newest. What it holds back counts against
// the client's limit, as much as it will when it waits for the socket; what it
// knows of topics counts in the sum of all clients. Guarded by hub.mu.
type throttle struct {
	client   *Client
	interval time.Duration
	overflow outbox.Overflow
	users    int // subscriptions in force
	topics   map[string]*paced
	due      list.List[paced] // the topics by their last delivery, and so by when the next one may come
	timer    *time.Timer      // nil: nothing is scheduled
	turn     uint64           // of the newest timer
	held     []heldBack       // in the order in which they began to be held back; some are over
	holding  int              // those that are not
	bytes    int              // that are held back
	noted    int              // bytes of topics
	loading  time.Time        // not zero: a replay puts messages in, and none goes out
	retry    time.Duration    // how soon a client that was busy is looked at again
}

// paced is one topic.
type paced struct {
	throttle *throttle
	topic    string
	at       time.Time        // when a message was delivered
	waits    *message.Message // the newest since then, nil: none
	since    uint64           // the first one since then
	skipped  int              // how many waits stands for besides itself
	place    list.Place[paced]
}

// pacedBytes is what a topic takes, roughly, besides its name.
const pacedBytes = 160

func (p *paced) bytes() int { return pacedBytes + len(p.topic) }

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
		t.due.PushFirst(&p.place, p) // nothing was delivered yet, so it is due before all others
		t.note(p.bytes())
	}
	return p
}

func (t *throttle) hold(p *paced, m *message.Message) {
	bytes := outbox.MessageBytes(m)
	if p.waits != nil {
		bytes -= outbox.MessageBytes(p.waits)
		p.skipped++
	} else {
		if p.at.IsZero() { // it is due before the timer
			t.stop()
		}
		p.since = m.Seq
		t.trimHeld()
		t.held = append(t.held, heldBack{p, m.Seq})
		t.holding++
	}
	p.waits = m
	t.schedule()
	t.count(bytes)
}

// delivered notes that the topic has had a message, and nothing waits any more.
func (t *throttle) delivered(p *paced, now time.Time) {
	if p.waits != nil {
		t.unhold(p)
	}
	t.retry = 0
	t.moveBack(p, now)
	t.schedule()
}

// unhold gives up what is held back of a topic.
func (t *throttle) unhold(p *paced) {
	t.count(-outbox.MessageBytes(p.waits))
	t.holding--
	p.waits, p.skipped = nil, 0
}

// release delivers what waits for one topic.
func (t *throttle) release(p *paced, now time.Time) {
	m, f := p.waits, message.Form{Skipped: p.skipped}
	t.delivered(p, now)
	if !t.client.class.may(m) { // its rights have changed since
		return
	}
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
	t.due.Remove(&p.place)
	delete(t.topics, p.topic)
	t.note(-p.bytes())
}

// schedule lets fire run when the next topic is due.
func (t *throttle) schedule() {
	if p := t.due.First(); t.timer == nil && p != nil && t.loading.IsZero() {
		wait := max(t.interval-time.Since(p.at), t.retry, finest)
		t.turn++
		turn := t.turn
		t.timer = time.AfterFunc(wait, func() { t.fire(turn) })
	}
}

// stop ends what schedule began.
func (t *throttle) stop() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// finest is the finest grain of min_interval, and how soon a client that was
// busy is looked at again; one that stays busy is looked at ever more seldom,
// down to seldomest.
const (
	finest    = 5 * time.Millisecond
	seldomest = 320 * time.Millisecond
)

// releaseSteps is how many topics are looked at under one lock.
const releaseSteps = 128

// fire delivers what is due, and forgets the topics that have been quiet. Turn
// is that of the timer that calls it.
func (t *throttle) fire(turn uint64) {
	h := t.client.hub
	for more := true; more; {
		h.mu.Lock()
		if t.timer == nil || t.turn != turn || t.client.gone {
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
	for p := t.due.First(); p != nil && now.Sub(p.at) >= t.interval; p = t.due.First() {
		switch {
		case steps == 0:
			return true
		case p.waits != nil && t.postponed():
			t.retry = min(max(2*t.retry, finest), seldomest)
			return false
		case p.waits != nil:
			t.release(p, now)
		default:
			t.forget(p)
		}
		steps--
	}
	return false
}

// leave is called when a subscription ends.
func (t *throttle) leave() {
	if t.users--; t.users > 0 {
		return
	}
	t.stop()
	c := t.client
	c.throttles = slices.DeleteFunc(c.throttles, func(x *throttle) bool { return x == t })
	t.count(-t.bytes)
	t.note(-t.noted)
	t.topics, t.due, t.held, t.holding = nil, list.List[paced]{}, nil, 0
}

// count counts bytes of messages that are held back, against the client's
// limit. When that is passed, what has waited longest is given up, or the
// client, as the policy says.
func (t *throttle) count(bytes int) {
	c := t.client
	t.bytes += bytes
	over := c.out.Hold(bytes)
	if bytes <= 0 || over <= 0 {
		return
	}
	if t.overflow == outbox.OverflowClose {
		c.out.Overflow(c.hub.seq)
		return
	}
	for ; over > 0 && c.giveUpOldest(); over = c.out.Hold(0) {
	}
}

// note counts bytes of what is known of topics.
func (t *throttle) note(bytes int) {
	t.noted += bytes
	t.client.out.Note(bytes)
}

// moveBack notes that the topic had a message.
func (t *throttle) moveBack(p *paced, at time.Time) {
	p.at = at
	t.due.Remove(&p.place)
	t.due.Push(&p.place, p)
}
