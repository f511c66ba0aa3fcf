package hub

import (
	"slices"
	"time"
)

// throttle is min_interval for one subscription: of each topic at most one
// message in that time, the newest. Guarded by hub.mu.
type throttle struct {
	interval time.Duration
	slots    map[string]*slot
	timer    *time.Timer
}

// slot is one topic.
type slot struct {
	last    time.Time // when a message was delivered
	waits   *Message  // the newest since then, nil: none
	skipped int       // how many it stands for besides itself
}

// idleSlots is how many topics without a waiting message are kept before the
// settled ones are forgotten.
const idleSlots = 1024

// takeThrottled delivers m or holds it back. Called under hub.mu, after all
// filters without min_interval had their turn.
func (s *subscription) takeThrottled(m *Message, now time.Time) {
	c, t := s.client, s.throttle
	if c.last == m.Seq || c.gone {
		return
	}
	c.last = m.Seq
	sl := t.slots[m.Topic]
	if sl == nil {
		sl = &slot{}
		t.slots[m.Topic] = sl
	}
	if sl.waits == nil && now.Sub(sl.last) >= t.interval {
		sl.last = now
		c.out.pushMessage(m, c.form(m), s.overflow)
		return
	}
	if sl.waits != nil {
		sl.skipped++
	} else {
		c.held++
		if c.held == 1 {
			c.floor = m.Seq
		}
	}
	sl.waits = m
	if t.timer == nil {
		t.timer = time.AfterFunc(t.interval-now.Sub(sl.last), func() { s.fire() })
	}
}

// fire delivers what is due.
func (s *subscription) fire() {
	h, t := s.client.hub, s.throttle
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.timer == nil || s.client.gone {
		return
	}
	now := time.Now()
	next := s.release(now, func(sl *slot) bool { return now.Sub(sl.last) >= t.interval })
	t.timer = nil
	if next > 0 {
		t.timer = time.AfterFunc(next, func() { s.fire() })
	}
	s.client.shard.kick()
}

// release delivers what waits in the slots that are due, oldest first, and
// tells how long to wait for the next one; 0: none waits.
func (s *subscription) release(now time.Time, due func(*slot) bool) (next time.Duration) {
	c, t := s.client, s.throttle
	var ready []*slot
	for name, sl := range t.slots {
		switch {
		case sl.waits == nil:
			if len(t.slots) > idleSlots && now.Sub(sl.last) >= t.interval {
				delete(t.slots, name)
			}
		case due(sl):
			ready = append(ready, sl)
		default:
			if wait := max(t.interval-now.Sub(sl.last), time.Millisecond); next == 0 || wait < next {
				next = wait
			}
		}
	}
	slices.SortFunc(ready, func(a, b *slot) int { return int(int64(a.waits.Seq) - int64(b.waits.Seq)) })
	for _, sl := range ready {
		m, f := sl.waits, form{skipped: sl.skipped}
		sl.last, sl.waits, sl.skipped = now, nil, 0
		c.held--
		c.lower()
		f.place = c.form(m).place
		c.out.pushMessage(m, f, s.overflow)
	}
	return next
}

// lower finds the oldest message that is still held back.
func (c *Client) lower() {
	c.floor = never
	for _, s := range c.subs {
		if s.throttle == nil {
			continue
		}
		for _, sl := range s.throttle.slots {
			if sl.waits != nil {
				c.floor = min(c.floor, sl.waits.Seq)
			}
		}
	}
}

// form is how c gets m: while older messages are held back, or are still to be
// replayed, its cursor leads back to before them, so that a resume does not
// lose them.
func (c *Client) form(m *Message) form {
	place := never
	if c.held > 0 {
		place = c.floor
	}
	if c.replaying > 0 {
		place = min(place, c.replaying)
	}
	if place > m.Seq {
		return form{}
	}
	return form{place: place}
}

// flushHeld delivers everything that is held back. Called under hub.mu before
// a frame whose cursor would pass it.
func (c *Client) flushHeld() {
	if c.held == 0 {
		return
	}
	now := time.Now()
	for _, s := range c.subs {
		if s.throttle != nil {
			s.release(now, func(*slot) bool { return true })
		}
	}
}

func (t *throttle) stop() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}
