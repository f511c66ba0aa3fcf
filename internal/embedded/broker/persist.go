package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// What is on disk: one record for each of these. Keys begin with the kind, and records are read in the order of their
// keys, so that sessions come before what belongs to them.
const (
	kindSession      = '1' // hash of the client identifier
	kindSubscription = '2' // number of the session, hash of group and filter
	kindDelivery     = '3' // number of the session, place in it
	kindReceived     = '4' // number of the session, packet identifier
	kindRetained     = '5' // hash of the topic
)

// Keys hold hashes, because topics and identifiers may be longer than a key.
func hashed(kind byte, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return string(h.Sum([]byte{kind}))
}

func (s *session) prefix(kind byte) string {
	return string(binary.BigEndian.AppendUint64([]byte{kind}, s.number))
}

func (s *session) deliveryKey(seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(s.prefix(kindDelivery)), seq))
}

func (s *session) receivedKey(id uint16) string {
	return string(binary.BigEndian.AppendUint16([]byte(s.prefix(kindReceived)), id))
}

func (s *subscription) storeKey() string {
	return s.session.prefix(kindSubscription) + hashed(0, s.Group, s.Filter)
}

// put has a record written, and answers wait for it.
func (b *Broker) put(key string, value func() []byte) {
	b.store.Put(key, value)
	b.touched = b.store.Mark()
}

func (b *Broker) unput(key string) {
	b.store.Delete(key)
	b.touched = b.store.Mark()
}

func (b *Broker) storeRetained(m *message) {
	if b.store != nil {
		b.put(hashed(kindRetained, m.Topic), func() []byte { return appendMessage(nil, m) })
	}
}

func (b *Broker) unstoreRetained(name string) {
	if b.store != nil && !isOwn(name) {
		b.unput(hashed(kindRetained, name))
	}
}

// storeSession writes a session that outlives its connection, or did once.
func (b *Broker) storeSession(s *session) {
	if b.store == nil || s.expiry == 0 && !s.stored {
		return
	}
	s.stored = true
	v := binary.BigEndian.AppendUint64(nil, s.number)
	v = binary.BigEndian.AppendUint32(v, s.expiry)
	gone := int64(0) // it has a connection
	if s.conn == nil {
		gone = s.gone.UnixNano()
	}
	v = binary.BigEndian.AppendUint64(v, uint64(gone))
	v = append(v, s.id...)
	b.put(hashed(kindSession, s.id), func() []byte { return v })
}

func (b *Broker) unstoreSession(s *session) {
	if !s.stored {
		return
	}
	b.store.DeleteAll(s.prefix(kindSubscription))
	b.store.DeleteAll(s.prefix(kindDelivery))
	b.store.DeleteAll(s.prefix(kindReceived))
	b.unput(hashed(kindSession, s.id))
}

func (b *Broker) storeSubscription(sub *subscription) {
	if !sub.session.stored {
		return
	}
	options := sub.QoS | sub.RetainHandling<<4
	if sub.NoLocal {
		options |= 4
	}
	if sub.AsPublished {
		options |= 8
	}
	b.put(sub.storeKey(), func() []byte {
		v := binary.BigEndian.AppendUint32([]byte{options}, sub.identifier)
		v = binary.BigEndian.AppendUint16(v, uint16(len(sub.Group)))
		return append(append(v, sub.Group...), sub.Filter...)
	})
}

func (b *Broker) unstoreSubscription(sub *subscription) {
	if sub.session.stored {
		b.unput(sub.storeKey())
	}
}

// storeDelivery writes a message that waits for a session, and again when what is known of it has changed.
func (b *Broker) storeDelivery(s *session, d *delivery) {
	if !s.stored || d.qos == 0 {
		return
	}
	flags := d.qos
	if d.retain {
		flags |= 4
	}
	if d.released {
		flags |= 8
	}
	id, identifiers, m := d.id, d.identifiers, d.m
	b.put(s.deliveryKey(d.seq), func() []byte {
		v := binary.BigEndian.AppendUint16([]byte{flags}, id)
		v = binary.BigEndian.AppendUint16(v, uint16(len(identifiers)))
		for _, n := range identifiers {
			v = binary.BigEndian.AppendUint32(v, n)
		}
		return appendMessage(v, m)
	})
}

func (b *Broker) unstoreDelivery(s *session, d *delivery) {
	if s.stored {
		b.unput(s.deliveryKey(d.seq))
	}
}

func (b *Broker) storeReceived(s *session, id uint16) {
	if s.stored {
		b.put(s.receivedKey(id), func() []byte { return nil })
	}
}

func (b *Broker) unstoreReceived(s *session, id uint16) {
	if s.stored {
		b.unput(s.receivedKey(id))
	}
}

// appendMessage encodes a message: what parseMessage reads.
func appendMessage(dst []byte, m *message) []byte {
	expires := int64(0)
	if m.Expires {
		expires = m.expires.UnixNano()
	}
	dst = append(dst, m.QoS)
	dst = binary.BigEndian.AppendUint64(dst, uint64(expires))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.Topic)))
	dst = append(dst, m.Topic...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(m.Properties)))
	dst = append(dst, m.Properties...)
	return append(dst, m.Payload...)
}

// parseMessage is false if v is too short. The message has memory of its own.
func parseMessage(v []byte) (*message, bool) {
	r := record{rest: v}
	m := &message{Message: packet.Message{QoS: r.bytes(1)[0], Retain: true}}
	if at := int64(r.uint64()); at != 0 {
		m.Expires, m.expires = true, time.Unix(0, at)
	}
	m.Topic = string(r.bytes(int(r.uint16())))
	body := append([]byte(nil), r.rest...)
	r.rest = body
	m.Properties = r.bytes(int(r.uint32()))
	m.Payload = r.rest
	return m, !r.short && m.QoS <= 2
}

// record reads fields. When they are too short, it returns zeros and says so.
type record struct {
	rest  []byte
	short bool
}

func (r *record) bytes(n int) []byte {
	if n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, min(n, 8))
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *record) uint16() uint16 { return binary.BigEndian.Uint16(r.bytes(2)) }
func (r *record) uint32() uint32 { return binary.BigEndian.Uint32(r.bytes(4)) }
func (r *record) uint64() uint64 { return binary.BigEndian.Uint64(r.bytes(8)) }
