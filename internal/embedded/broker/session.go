package broker

import (
	"cmp"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// never is a session expiry interval without an end.
const never = 0xFFFFFFFF

// session is what the broker knows of a client: as long as its connection, or longer.
type session struct {
	id     string
	number uint64 // never used again, also not after a restart
	conn   *conn  // nil while it has none
	expiry uint32 // seconds that it outlives its connection
	gone   time.Time
	stored bool // it is on disk, and so is what belongs to it

	will   *message // to be published at willAt, unless the client comes back
	willAt time.Time

	subscriptions map[groupKey]*subscription
	waiting       fifo[delivery]       // not sent yet
	flight        map[uint16]*delivery // at QoS 1 and 2, sent and not acknowledged, by packet identifier
	resend        []*delivery          // those of flight that this connection has not been sent yet, in order
	received      map[uint16]struct{}  // at QoS 2, between PUBLISH and PUBREL of the client
	lastID        uint16
	lastSeq       uint64
	bytes         int64 // of waiting and flight
	overflowing   bool  // it has been said that messages are dropped

	round uint64 // scratch of route
	hit   delivery
}

// delivery is a message for one session.
type delivery struct {
	m           *message
	qos         byte
	retain      bool
	copy        bool     // of a retained message, sent for a new subscription
	released    bool     // at QoS 2: PUBREC has come
	id          uint16   // packet identifier; 0: not sent yet
	seq         uint64   // its place in the session
	identifiers []uint32 // of subscriptions
}

func (d *delivery) bytes() int64 {
	return d.m.cost() + deliveryOverhead + int64(4*len(d.identifiers))
}

// newSession makes a session that has the given id.
func (b *Broker) newSession(id string) *session {
	b.number++
	s := &session{id: id, number: b.number}
	b.addSession(s)
	return s
}

// addSession takes in a session without a connection.
func (b *Broker) addSession(s *session) {
	s.subscriptions = map[groupKey]*subscription{}
	s.flight = map[uint16]*delivery{}
	s.received = map[uint16]struct{}{}
	b.sessions[s.id] = s
	b.offline++
}

// attach gives a session its connection.
func (b *Broker) attach(s *session, c *conn) {
	b.offline--
	s.conn, c.session = c, s
	s.resend = nil
	for _, d := range s.flight {
		s.resend = append(s.resend, d)
	}
	slices.SortFunc(s.resend, func(x, y *delivery) int { return cmp.Compare(x.seq, y.seq) })
}

// detach takes the connection away. The will is published, or will be, if lost is set. A session that is not to be kept
// ends. Why is what the log says behind "disconnected"; empty: nothing.
func (b *Broker) detach(c *conn, lost bool, why string) {
	s, will := c.session, c.will
	if why != "" {
		b.tellDisconnected(c, why)
	}
	c.session, c.will = nil, nil
	s.conn, s.gone = nil, time.Now()
	b.offline++
	b.forgetQoS0(s)
	if will != nil {
		ends := s.expiry == 0
		switch {
		case !lost:
			b.release(will, 0)
		case c.willDelay == 0 || ends:
			b.publishWill(s, will)
		default:
			s.will, s.willAt = will, s.gone.Add(time.Duration(c.willDelay)*time.Second) // or when the session ends, if that is sooner
		}
	}
	if s.expiry == 0 {
		b.forget(s)
		return
	}
	b.storeSession(s)
	for b.offline > b.limits.Sessions {
		b.forgetOldest()
	}
}

// publishWill publishes a will and gives it up.
func (b *Broker) publishWill(s *session, will *message) {
	if reason := b.distribute(will, s); reason >= packet.Unspecified {
		b.log.Warn("a will cannot be published", "client", short(s.id), "reason", byte(reason))
	}
	b.release(will, 0)
}

// forgetQoS0 drops messages that are for a live connection only.
func (b *Broker) forgetQoS0(s *session) {
	var kept []delivery
	for _, d := range s.waiting.all() {
		if d.qos > 0 {
			kept = append(kept, d)
			continue
		}
		b.forgetDelivery(s, &d)
	}
	s.waiting.set(kept)
}

// forget ends a session that has no connection.
func (b *Broker) forget(s *session) {
	if s.will != nil {
		will := s.will
		s.will = nil
		b.publishWill(s, will)
	}
	for _, sub := range s.subscriptions {
		b.unsubscribe(s, sub)
	}
	for _, d := range s.waiting.all() {
		b.release(d.m, deliveryOverhead)
	}
	for _, d := range s.flight {
		b.release(d.m, deliveryOverhead)
	}
	b.held -= int64(len(s.received)) * receivedOverhead
	delete(b.sessions, s.id)
	b.offline--
	b.unstoreSession(s)
}

// forgetOldest ends the session that has been without a connection for the longest time.
func (b *Broker) forgetOldest() {
	var oldest *session
	for _, s := range b.sessions {
		if s.conn == nil && (oldest == nil || s.gone.Before(oldest.gone)) {
			oldest = s
		}
	}
	b.log.Warn("too many sessions are kept; the one that was gone longest is forgotten", "client", short(oldest.id), "limit", b.limits.Sessions)
	b.forget(oldest)
}

// expiresAt is when a session without a connection ends; zero: never.
func (s *session) expiresAt() time.Time {
	if s.expiry == never {
		return time.Time{}
	}
	return s.gone.Add(time.Duration(s.expiry) * time.Second)
}

// short is a client identifier as it may be logged.
func short(id string) string {
	const most = 64
	if len(id) > most {
		return id[:most] + "…"
	}
	return id
}
