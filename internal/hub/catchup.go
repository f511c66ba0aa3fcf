package hub

import (
	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// catchup is what a client needs to be served from the history: its
// subscriptions as a trie, made when it is first needed and again when they
// have changed. Guarded by hub.mu.
type catchup struct {
	match   topic.Trie[*subscription]
	scratch [][]*subscription
	matched []*subscription
	search  memory.Search
	told    uint64 // holes up to there are announced
}

func (c *Client) catchingUp() *catchup {
	if c.catchup == nil {
		u := &catchup{}
		for f, s := range c.subs {
			u.match.Add(f, s)
			if s.throttle == nil {
				u.search.Filters = append(u.search.Filters, memory.Sought{Filter: f, From: s.joined})
			}
		}
		c.catchup = u
	}
	return c.catchup
}

// matching gives the subscriptions that match a topic, until the next call.
// Called under hub.mu.
func (c *Client) matching(name string) []*subscription {
	u := c.catchingUp()
	u.scratch, u.matched = u.match.Match(u.scratch[:0], name), u.matched[:0]
	for _, values := range u.scratch {
		u.matched = append(u.matched, values...)
	}
	return u.matched
}

// Feed queues the next part of the history for a client that is behind; at the
// end of the history it is with the live messages again. It implements
// outbox.Source.
func (c *Client) Feed() {
	h := c.hub
	h.readers <- struct{}{}
	defer func() { <-h.readers }()
	run := h.queued.NewRun()
	defer run.Release()
	h.mu.Lock()
	defer h.mu.Unlock()
	behind := c.out.Behind()
	if c.gone || behind == 0 {
		return
	}
	u, pos := c.catchingUp(), behind-1
	from := max(pos, u.told)
	if !h.memory.Search(&u.search, from, searchSteps) {
		return
	}
	if m := h.missing(from, &u.search); m.reason != "" {
		u.told = m.end
		m.reason = wire.GapSlowConsumer
		c.sendGap(h.cursor(pos), m, pos, false)
	}
	bytes := 0
	at, end := h.memory.After(pos, replayLooks, func(m *message.Message) bool {
		switch {
		case bytes > replayBytes:
			return false
		case m.IsGap && m.Seq > c.told:
			c.told = m.Seq
		case m.IsGap || !c.owes(m):
			return true
		}
		run.Append(m)
		bytes += len(m.JSON)
		return true
	})
	form := c.runForm()
	if c.replaying > 0 && (form.Place == 0 || c.replaying < form.Place) {
		form.Place = c.replaying
	}
	c.out.Fed(run, form, at, end)
}

// owes reports whether m is one that the client would have had live.
func (c *Client) owes(m *message.Message) bool {
	if !c.class.may(m) {
		return false
	}
	for _, s := range c.matching(m.Topic) {
		if s.throttle == nil && m.Seq > s.joined {
			return true
		}
	}
	return false
}
