package broker

import (
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// enqueue puts a message into a session's queue, or drops it when that is full.
func (b *Broker) enqueue(s *session, d delivery) {
	if s.conn == nil && d.qos == 0 {
		return
	}
	full := s.waiting.len()+len(s.flight) >= b.limits.Queue ||
		!d.copy && s.bytes+d.bytes() > b.limits.QueueBytes // a retained message itself is bounded elsewhere
	if full || !b.hold(d.m, deliveryOverhead) {
		b.dropped(s)
		return
	}
	s.lastSeq++
	d.seq = s.lastSeq
	s.bytes += d.bytes()
	s.waiting.push(d)
	b.storeDelivery(s, &d)
	if s.conn != nil {
		s.conn.signal()
	}
}

// dropped counts a message that a session does not get, and says so once until its queue is empty again.
func (b *Broker) dropped(s *session) {
	b.stats.dropped++
	if !s.overflowing {
		s.overflowing = true
		b.log.Warn("messages for a client are dropped, because too many wait for it", "client", short(s.id))
	}
}

// relieve ends the sessions that hold the most, when all together come close to their bound: clients that stand still
// must not use up what those need that do not.
func (b *Broker) relieve() {
	for b.held > b.limits.Held/10*9 {
		var most *session
		for _, s := range b.sessions {
			if most == nil || s.bytes > most.bytes {
				most = s
			}
		}
		if most == nil || most.bytes <= b.limits.Held>>12 {
			return // it is none of theirs
		}
		b.log.Warn("a client is cut off, because it holds the most of too much that waits", "client", short(most.id), "bytes", most.bytes)
		b.stats.dropped += int64(most.waiting.len() + len(most.flight))
		c := most.conn
		if c == nil {
			b.forget(most)
			continue
		}
		most.expiry = 0
		b.detach(c, true, ": quota exceeded")
		c.end(packet.QuotaExceeded, "too much waits for this client")
	}
}

// forgetDelivery gives up a message of a session that is in no queue any more.
func (b *Broker) forgetDelivery(s *session, d *delivery) {
	s.bytes -= d.bytes()
	b.release(d.m, deliveryOverhead)
	if d.qos > 0 {
		b.unstoreDelivery(s, d)
	}
}

// settle ends the flight of a message, and makes room for the next one.
func (c *conn) settle(d *delivery) {
	s := c.session
	delete(s.flight, d.id)
	c.b.forgetDelivery(s, d)
	c.unacked = max(0, c.unacked-1)
	c.signal()
}

// acknowledged handles PUBACK, PUBREC, PUBREL and PUBCOMP.
func (c *conn) acknowledged(a packet.Ack) {
	s := c.session
	d := s.flight[a.ID]
	switch a.Type {
	case packet.PUBACK:
		if d != nil && d.qos == 1 {
			c.settle(d)
		}
	case packet.PUBREC:
		switch {
		case d == nil || d.qos != 2:
			c.ack(packet.PUBREL, a.ID, packet.IDNotFound)
		case a.Reason >= packet.Unspecified && !d.released:
			c.settle(d)
		default:
			d.released = true
			c.b.storeDelivery(s, d)
			c.ack(packet.PUBREL, a.ID, packet.Success)
		}
	case packet.PUBCOMP:
		if d != nil && d.released {
			c.settle(d)
		}
	case packet.PUBREL:
		if _, ok := s.received[a.ID]; !ok {
			c.ack(packet.PUBCOMP, a.ID, packet.IDNotFound)
			return
		}
		delete(s.received, a.ID)
		c.b.held -= receivedOverhead
		c.b.unstoreReceived(s, a.ID)
		c.ack(packet.PUBCOMP, a.ID, packet.Success)
	}
}

// nextID is a packet identifier that is not in flight. There is one: flight is smaller than their number.
func (s *session) nextID() uint16 {
	for {
		if s.lastID++; s.lastID == 0 {
			continue
		}
		if _, used := s.flight[s.lastID]; !used {
			return s.lastID
		}
	}
}

// About how much a writer takes at once.
const (
	batchBytes    = 64 << 10
	batchMessages = 256
)

// batch is what a writer writes next.
type batch struct {
	answers []byte // whole packets
	out     []packet.Delivery
	bytes   int // of out
}

func (b *batch) full() bool { return b.bytes >= batchBytes || len(b.out) >= batchMessages }

// take fills the batch with what may be sent now. It is true if the connection ends behind it.
func (c *conn) take(into *batch) (last bool) {
	*into = batch{answers: into.answers[:0], out: into.out[:0]}
	if cap(into.answers) > batchBytes/4 { // a burst of answers leaves nothing behind
		into.answers = nil
	}
	c.takeAnswers(into)
	if c.ending {
		return len(c.answers) == 0
	}
	c.greeted = c.greeted || len(into.answers) > 0
	if c.session != nil && c.greeted { // CONNACK comes first (3.2.0-1), though it may wait for the disk
		c.takeMessages(into)
	}
	return false
}

// takeAnswers takes those whose cause is on disk.
func (c *conn) takeAnswers(into *batch) {
	if len(c.answers) == 0 {
		return
	}
	committed := c.b.store.Committed()
	n := 0
	for n < len(c.answers) && c.answers[n].after <= committed {
		into.answers = append(into.answers, c.answers[n].packets...)
		n++
	}
	if c.answers = c.answers[n:]; len(c.answers) == 0 {
		c.answers = nil
	}
	c.answerBytes -= len(into.answers)
	c.room.Broadcast()
}

// takeMessages takes messages in their order: first those that an earlier connection was sent. A message at QoS 1 or 2
// waits until the client's window is open, and what is behind it waits with it, which keeps the order (4.9.0-2).
func (c *conn) takeMessages(into *batch) {
	s, now := c.session, time.Now()
	for len(s.resend) > 0 && !into.full() {
		d := s.resend[0]
		switch {
		case s.flight[d.id] != d: // acknowledged meanwhile
		case d.released:
			into.answers = packet.AppendAck(into.answers, c.version, packet.PUBREL, d.id, packet.Success)
		case c.unacked >= c.window:
			return
		case c.tooLarge(d, now):
			c.settle(d)
			c.b.stats.dropped++
		default:
			c.unacked++
			c.send(into, d, true, now)
		}
		s.resend = s.resend[1:]
	}
	if len(s.resend) > 0 {
		return
	}
	for s.waiting.len() > 0 && !into.full() {
		d := s.waiting.front()
		expired, tooLarge := d.m.expired(now), c.tooLarge(d, now)
		if expired || tooLarge { // 3.3.2-5, 3.1.2-25
			gone := s.waiting.pop()
			c.b.forgetDelivery(s, &gone)
			if !expired {
				c.b.stats.dropped++
			}
			continue
		}
		if d.qos > 0 && c.unacked >= c.window {
			return
		}
		c.launch(into, s.waiting.pop(), now)
	}
	if s.waiting.len() == 0 {
		s.overflowing = false
	}
}

// launch sends a message for the first time.
func (c *conn) launch(into *batch, d delivery, now time.Time) {
	s := c.session
	if d.qos == 0 {
		c.send(into, &d, false, now)
		c.b.forgetDelivery(s, &d)
		return
	}
	d.id = s.nextID()
	s.flight[d.id] = &d
	c.unacked++
	if d.qos == 2 { // at QoS 1 another identifier after a restart does no harm
		c.b.storeDelivery(s, &d)
	}
	c.send(into, &d, false, now)
}

func (c *conn) send(into *batch, d *delivery, dup bool, now time.Time) {
	into.out = append(into.out, outgoing(d, dup, now))
	into.bytes += packet.PublishSize(c.version, &into.out[len(into.out)-1])
	c.b.stats.published++
}

// tooLarge reports whether the client takes no packet of this size.
func (c *conn) tooLarge(d *delivery, now time.Time) bool {
	if c.maximum == 0 {
		return false
	}
	out := outgoing(d, false, now)
	return packet.PublishSize(c.version, &out) > int(c.maximum)
}

// outgoing is a delivery as package packet writes it.
func outgoing(d *delivery, dup bool, now time.Time) packet.Delivery {
	out := packet.Delivery{Message: &d.m.Message, QoS: d.qos, Retain: d.retain, Dup: dup, ID: d.id, Identifiers: d.identifiers}
	if d.m.Expires {
		out.Expiry = d.m.left(now)
	}
	return out
}
