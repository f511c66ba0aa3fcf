package broker

import (
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// subscription is what stands in the tree under a filter: a session's, or a group's.
type subscription struct {
	packet.Subscription
	identifier uint32
	session    *session // nil for a group
	group      *group
}

// groupKey names a filter; those of a group (4.8.2) are other filters than those without.
type groupKey struct{ name, filter string }

// group is a shared subscription: each message goes to one of its members.
type group struct {
	entry   *subscription // in the tree
	members []*subscription
	next    int
}

func (s *subscription) key() groupKey { return groupKey{s.Group, s.Filter} }

func (s *subscription) bytes() int64 {
	return int64(messageOverhead + len(s.Group) + len(s.Filter) + levelOverhead*(1+strings.Count(s.Filter, "/")))
}

// page is how much is done for one client before others get the lock.
const page = 256

// yield gives others the lock for a moment. It is false if the connection is over then.
func (c *conn) yield() bool {
	s, touched := c.session, c.b.touched
	c.b.mu.Unlock()
	c.b.mu.Lock()
	c.b.touched = touched
	return c.session == s
}

// subscribe handles SUBSCRIBE.
func (c *conn) subscribe(p *packet.Subscribe) {
	b, s := c.b, c.session
	reasons := make([]packet.Reason, len(p.Subscription))
	isNew := make([]bool, len(p.Subscription))
	for i, filter := range p.Subscription {
		if i%page == page-1 && !c.yield() {
			return
		}
		sub := &subscription{Subscription: filter, identifier: p.Identifier, session: s}
		old := s.subscriptions[sub.key()]
		isNew[i] = old == nil
		if old != nil {
			b.unsubscribe(s, old)
		}
		if isNew[i] && !b.hasRoom(sub) {
			reasons[i] = packet.QuotaExceeded
			continue
		}
		b.addSubscription(sub)
		b.storeSubscription(sub)
		reasons[i] = packet.Reason(filter.QoS)
	}
	c.answer(packet.AppendSuback(nil, c.version, p.ID, reasons))
	for i, filter := range p.Subscription {
		wanted := filter.RetainHandling == 0 || filter.RetainHandling == 1 && isNew[i]
		if wanted && filter.Group == "" && reasons[i] < packet.Unspecified && !c.sendRetained(&filter, p.Identifier) {
			return
		}
	}
}

// hasRoom reports whether a new subscription is within the limits. Kept sessions may have brought back a tree that is
// wider than it may be; then what does not widen it further still has room.
func (b *Broker) hasRoom(sub *subscription) bool {
	if len(sub.session.subscriptions) >= b.limits.Filters || b.subscriptionBytes+sub.bytes() > b.limits.Subscriptions {
		return false
	}
	before := b.subscriptions.Width()
	b.subscriptions.Add(sub.Filter, sub)
	after := b.subscriptions.Width()
	b.subscriptions.Remove(sub.Filter, sub)
	return after <= max(before, b.limits.Width)
}

// addSubscription puts a subscription into its session and the tree.
func (b *Broker) addSubscription(sub *subscription) {
	key := sub.key()
	sub.session.subscriptions[key] = sub
	b.subscriptionBytes += sub.bytes()
	if key.name == "" {
		b.subscriptions.Add(sub.Filter, sub)
		return
	}
	g := b.groups[key]
	if g == nil {
		g = &group{}
		g.entry = &subscription{Subscription: sub.Subscription, group: g}
		b.groups[key] = g
		b.subscriptions.Add(sub.Filter, g.entry)
	}
	g.members = append(g.members, sub)
}

// unsubscribe undoes addSubscription.
func (b *Broker) unsubscribe(s *session, sub *subscription) {
	key := sub.key()
	delete(s.subscriptions, key)
	b.subscriptionBytes -= sub.bytes()
	if key.name == "" {
		b.subscriptions.Remove(sub.Filter, sub)
		return
	}
	g := b.groups[key]
	for i, member := range g.members {
		if member == sub {
			g.members = append(g.members[:i:i], g.members[i+1:]...)
			break
		}
	}
	if len(g.members) == 0 {
		delete(b.groups, key)
		b.subscriptions.Remove(sub.Filter, g.entry)
	}
}

// pick is the member whose turn it is. One that has a connection goes before one that has none.
func (g *group) pick() *subscription {
	for i := range g.members {
		sub := g.members[(g.next+i)%len(g.members)]
		if sub.session.conn != nil {
			g.next = (g.next + i + 1) % len(g.members)
			return sub
		}
	}
	g.next = (g.next + 1) % len(g.members)
	return g.members[g.next]
}

// unsubscribed handles UNSUBSCRIBE.
func (c *conn) unsubscribed(p *packet.Unsubscribe) {
	reasons := make([]packet.Reason, len(p.Filter))
	for i, filter := range p.Filter {
		if i%page == page-1 && !c.yield() {
			return
		}
		sub := c.session.subscriptions[groupKey{filter.Group, filter.Filter}]
		if sub == nil {
			reasons[i] = packet.NoSubscription
			continue
		}
		c.b.unsubscribe(c.session, sub)
		c.b.unstoreSubscription(sub)
	}
	c.answer(packet.AppendUnsuback(nil, c.version, p.ID, reasons))
}

// sendRetained queues copies of the retained messages that a new subscription matches. It is false if the connection
// is over.
func (c *conn) sendRetained(sub *packet.Subscription, identifier uint32) bool {
	b := c.b
	var identifiers []uint32
	if identifier != 0 {
		identifiers = []uint32{identifier}
	}
	for last := ""; ; {
		n, now := 0, time.Now()
		b.retained.WalkAfter(sub.Filter, last, func(name string, m *message) bool {
			if last = name; !m.expired(now) {
				b.enqueue(c.session, delivery{m: m, qos: min(m.QoS, sub.QoS), retain: true, copy: true, identifiers: identifiers})
			}
			n++
			return n < page
		})
		if n < page {
			return true
		}
		if !c.yield() {
			return false
		}
	}
}
