package broker

import (
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// publish handles PUBLISH. An error ends the connection.
func (c *conn) publish(p *packet.Publish) error {
	s := c.session
	c.b.stats.received++
	if p.QoS == 2 {
		if _, again := s.received[p.ID]; again { // 4.3.3-10
			c.ack(packet.PUBREC, p.ID, packet.Success)
			return nil
		}
		if c.b.held+receivedOverhead > c.b.limits.Held {
			return &packet.Error{Reason: packet.QuotaExceeded, Text: "the broker has no room for more messages at QoS 2"}
		}
	}
	reason := c.b.distribute(newMessage(p.Message, time.Now()), s)
	if reason == packet.QuotaExceeded && (p.QoS == 0 || c.version != packet.V5) {
		return &packet.Error{Reason: reason, Text: "the broker has no room for more retained messages"}
	}
	switch p.QoS {
	case 1:
		c.ack(packet.PUBACK, p.ID, reason)
	case 2:
		if reason < packet.Unspecified {
			s.received[p.ID] = struct{}{}
			c.b.held += receivedOverhead
			c.b.storeReceived(s, p.ID)
		}
		c.ack(packet.PUBREC, p.ID, reason)
	}
	return nil
}

// distribute retains a message, if it asks for that, and queues it for all who have subscribed.
func (b *Broker) distribute(m *message, from *session) packet.Reason {
	if isOwn(m.Topic) {
		return packet.NotAuthorized
	}
	if m.Retain && !b.retain(m) {
		return packet.QuotaExceeded
	}
	if b.route(m, from) == 0 {
		return packet.NoMatchingSubscribers
	}
	return packet.Success
}

// isOwn reports whether only the broker publishes to a topic (4.7.2), or nobody does, because nobody could subscribe
// to it.
func isOwn(name string) bool {
	return name == "$SYS" || strings.HasPrefix(name, "$SYS/") || name == "$share" || strings.HasPrefix(name, "$share/")
}

// route queues a message for all who have subscribed, and says how many those are. A session gets it once, however many
// of its filters match, at the highest QoS that they grant (3.3.4-2); and once more for each of its groups.
func (b *Broker) route(m *message, from *session) (n int) {
	b.round++
	b.hits = b.hits[:0]
	b.found = b.subscriptions.Match(b.found[:0], m.Topic)
	for _, list := range b.found {
		for _, sub := range list {
			switch {
			case sub.group != nil:
				n++
				member := sub.group.pick()
				d := delivery{m: m}
				d.grant(member)
				b.enqueue(member.session, d)
			case !sub.NoLocal || sub.session != from:
				b.hit(sub, m)
			}
		}
	}
	for _, s := range b.hits {
		b.enqueue(s, s.hit)
		s.hit = delivery{}
	}
	n += len(b.hits)
	clear(b.hits) // or they would keep sessions alive
	clear(b.found)
	return n
}

// hit notes that a subscription matches.
func (b *Broker) hit(sub *subscription, m *message) {
	s := sub.session
	if s.round != b.round {
		s.round, s.hit = b.round, delivery{m: m}
		b.hits = append(b.hits, s)
	}
	s.hit.grant(sub)
}

// grant gives a delivery what a subscription asks for.
func (d *delivery) grant(sub *subscription) {
	d.qos = max(d.qos, min(d.m.QoS, sub.QoS))
	d.retain = d.retain || sub.AsPublished && d.m.Retain
	if sub.identifier != 0 {
		d.identifiers = append(d.identifiers, sub.identifier)
	}
}

// retain keeps a message as the newest of its topic, or removes that if the message is empty (3.3.1-6, 3.3.1-7). It is
// false, and nothing changes, if there is no room.
func (b *Broker) retain(m *message) bool {
	old, replaces := b.retained.Get(m.Topic)
	if len(m.Payload) == 0 {
		if replaces {
			b.unretain(old)
		}
		return true
	}
	count, bytes := b.retainedCount+1, b.retainedBytes+retainedCost(m)
	if replaces {
		count, bytes = count-1, bytes-retainedCost(old)
	}
	if count > b.limits.Retained || bytes > b.limits.RetainedBytes {
		return false
	}
	if replaces {
		b.release(old, 0)
	}
	if !b.hold(m, 0) {
		if replaces {
			b.hold(old, 0) // there is room: it was there
		}
		return false
	}
	b.retainedCount, b.retainedBytes = count, bytes
	b.retained.Set(m.Topic, m)
	b.storeRetained(m)
	return true
}

// unretain removes a retained message.
func (b *Broker) unretain(m *message) {
	b.retained.Delete(m.Topic)
	b.retainedCount--
	b.retainedBytes -= retainedCost(m)
	b.release(m, 0)
	b.unstoreRetained(m.Topic)
}

// retainedCost counts the tree of topics, too.
func retainedCost(m *message) int64 {
	return m.cost() + int64(levelOverhead*(1+strings.Count(m.Topic, "/")))
}

// sweepPage is how many retained messages are looked at for their expiry in a second.
const sweepPage = 2000

// sweepRetained removes retained messages that have expired, some at each call.
func (b *Broker) sweepRetained(now time.Time) {
	var expired []*message
	n, last := 0, ""
	b.retained.WalkAfter("#", b.swept, func(name string, m *message) bool {
		last = name
		if m.expired(now) {
			expired = append(expired, m)
		}
		n++
		return n < sweepPage
	})
	b.swept = last // "" behind the end: it begins again
	for _, m := range expired {
		b.unretain(m)
	}
}
