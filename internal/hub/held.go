package hub

import (
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// heldBack is a message in the order in which messages began to be held back.
type heldBack struct {
	paced *paced
	since uint64
}

func (x heldBack) over() bool { return x.paced.waits == nil || x.paced.since != x.since }

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
	p.throttle.unhold(p)
	last := min(seq, max(since, c.floor()-1))
	c.out.PushHole(since, last, c.safe(last))
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
	if len(c.throttles) == 0 && c.replaying == 0 {
		return message.Form{}
	}
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
// limit lets it have. It returns how many messages that were. Called under
// hub.mu before a frame whose cursor would pass it.
func (c *Client) releaseHeld() (n int) {
	now := time.Now()
	for x := c.oldestHeld(); x != nil; x = c.oldestHeld() {
		x.paced.throttle.release(x.paced, now)
		n++
	}
	return n
}
