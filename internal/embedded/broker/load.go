package broker

import (
	"log/slog"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
	"github.com/vulturepi/gateway/internal/embedded/store"
)

// open takes up what is kept in dir. What has expired, or belongs to a session that is not there, is forgotten.
func (b *Broker) open(dir string, log *slog.Logger) (err error) {
	l := loader{b: b, now: time.Now(), sessions: map[uint64]*session{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.store, err = store.Open(dir, b.limits.File, log, l.load, b.committed); err != nil {
		return err
	}
	log.Info("kept messages are read", "retained", b.retainedCount, "sessions", len(b.sessions))
	return nil
}

// committed wakes the writers whose answers waited for the disk. It takes the lock.
func (b *Broker) committed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		if len(c.answers) > 0 {
			c.signal()
		}
	}
}

// loader turns records into what they stand for.
type loader struct {
	b        *Broker
	now      time.Time
	sessions map[uint64]*session
}

// load is false for a record that is not to be kept.
func (l *loader) load(key string, value []byte) bool {
	if key[0] == kindRetained {
		return l.retained(value)
	}
	if key[0] == kindSession {
		return l.session(value)
	}
	k := record{rest: []byte(key[1:])}
	s := l.sessions[k.uint64()]
	if s == nil {
		return false
	}
	switch key[0] {
	case kindSubscription:
		return l.subscription(s, value)
	case kindDelivery:
		return l.delivery(s, k.uint64(), value) && !k.short
	case kindReceived:
		if id := k.uint16(); !k.short {
			s.received[id] = struct{}{}
			l.b.held += receivedOverhead
		}
		return !k.short
	}
	return false
}

func (l *loader) retained(value []byte) bool {
	m, ok := parseMessage(value)
	if !ok || m.expired(l.now) || !packet.IsName(m.Topic) || !l.b.hold(m, 0) {
		return false
	}
	l.b.retained.Set(m.Topic, m)
	l.b.retainedCount++
	l.b.retainedBytes += retainedCost(m)
	return true
}

func (l *loader) session(value []byte) bool {
	r := record{rest: value}
	s := &session{number: r.uint64(), expiry: r.uint32(), gone: l.now, stored: true}
	if gone := int64(r.uint64()); gone != 0 {
		s.gone = time.Unix(0, gone)
	}
	s.id = string(r.rest)
	if at := s.expiresAt(); r.short || s.expiry == 0 || !at.IsZero() && l.now.After(at) {
		return false
	}
	l.b.addSession(s)
	l.sessions[s.number] = s
	l.b.number = max(l.b.number, s.number)
	return true
}

func (l *loader) subscription(s *session, value []byte) bool {
	r := record{rest: value}
	options := r.bytes(1)[0]
	sub := &subscription{session: s, identifier: r.uint32()}
	sub.QoS, sub.NoLocal, sub.AsPublished, sub.RetainHandling = options&3, options&4 != 0, options&8 != 0, options>>4&3
	sub.Group = string(r.bytes(int(r.uint16())))
	sub.Filter = string(r.rest)
	if r.short {
		return false
	}
	l.b.addSubscription(sub)
	return true
}

func (l *loader) delivery(s *session, seq uint64, value []byte) bool {
	r := record{rest: value}
	flags := r.bytes(1)[0]
	d := delivery{qos: flags & 3, retain: flags&4 != 0, released: flags&8 != 0, id: r.uint16(), seq: seq}
	for range r.uint16() {
		d.identifiers = append(d.identifiers, r.uint32())
	}
	m, ok := parseMessage(r.rest)
	if d.m = m; !ok || r.short || m.expired(l.now) || !l.b.hold(m, deliveryOverhead) {
		return false
	}
	s.bytes += d.bytes()
	s.lastSeq = max(s.lastSeq, seq)
	if d.id != 0 {
		s.flight[d.id] = &d
	} else {
		s.waiting.push(d)
	}
	return true
}
