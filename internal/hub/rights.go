package hub

import "github.com/vulturepi/gateway/internal/hub/message"

// Rights are what a reader may be given of what its filters match. They do not
// change: other rights are another value. A nil *Rights is for readers who may
// be given all of it.
type Rights struct {
	// Class is comparable, and the same for all who may be given the same.
	Class any
	// May reports whether a message of the topic may be given to the reader. It
	// always says the same of a topic, does not block, takes no longer for more
	// topics, and may be called concurrently and under the hub's lock.
	May func(topic string) bool
}

// may is May, of nil Rights too.
func (r *Rights) may(topic string) bool { return r == nil || r.May(topic) }

// class is everybody with the same rights, so that a message is decided on once
// for all of them. A nil *class is of those who may be given everything.
// Guarded by hub.mu.
type class struct {
	rights  *Rights
	members int
	seq     uint64 // of the message that was decided on last
	allowed bool
}

// may reports whether m may be given to the members.
func (c *class) may(m *message.Message) bool {
	switch {
	case c == nil || m.IsGap:
		return true
	case m.Seq == 0:
		return c.rights.May(m.Topic)
	case c.seq != m.Seq:
		c.seq, c.allowed = m.Seq, c.rights.May(m.Topic)
	}
	return c.allowed
}

func (c *class) own() *Rights {
	if c == nil {
		return nil
	}
	return c.rights
}

// enter gives the class of rights, with one member more. Called under hub.mu.
func (h *Hub) enter(r *Rights) *class {
	if r == nil {
		return nil
	}
	c := h.classes[r.Class]
	if c == nil {
		c = &class{rights: r}
		h.classes[r.Class] = c
	}
	c.members++
	return c
}

// quit ends a membership. Called under hub.mu.
func (h *Hub) quit(c *class) {
	if c == nil {
		return
	}
	if c.members--; c.members == 0 {
		delete(h.classes, c.rights.Class)
	}
}

// SetRights gives the client other rights from the next message on, and ends
// those of its filters that are named. It is false when the client has
// something waiting that was queued by its old rights: it has to connect
// anew, because what waits is not looked through.
func (c *Client) SetRights(r *Rights, ended []string) (ok bool) {
	h := c.hub
	h.mu.Lock()
	if c.gone {
		h.mu.Unlock()
		return true
	}
	filters := ended[:0:0]
	for _, f := range ended {
		if s := c.subs[f]; s != nil {
			delete(c.subs, f)
			s.end()
			filters = append(filters, f)
		}
	}
	c.catchup = nil
	h.forgetOwed(c, filters)
	old := c.class
	c.class = h.enter(r)
	h.oweAnew(c, old)
	h.quit(old)
	waits := c.out.Waits()
	h.mu.Unlock()
	h.unwatch(filters)
	return !waits || old == c.class && len(filters) == 0
}

// Held lists the filters that the client holds.
func (c *Client) Held() []string {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	filters := make([]string, 0, len(c.subs))
	for f := range c.subs {
		filters = append(filters, f)
	}
	return filters
}
