package mqtt

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"io"
)

// publish takes one PUBLISH packet. All but its payload is read before any of it is allocated.
func (r *reader) publish(flags byte, length int) error {
	if flags>>1&3 == 3 {
		return broken(PUBLISH, "3.3.1.2", "has QoS 3")
	}
	if flags&8 != 0 && flags>>1&3 == 0 {
		return broken(PUBLISH, "3.3.1.1", "has QoS 0 and says that it is sent again")
	}
	if length > maxPublish {
		return tooLong(PUBLISH, length)
	}
	packet, err := r.peek(min(length, maxHead))
	if err != nil {
		return err
	}
	head, err := cutHead(r.conn.cfg.Version, flags, packet)
	if err != nil {
		return err
	}
	m := Message{QoS: flags >> 1 & 3, Retain: flags&1 == 1}
	if head.size > length {
		return errShort
	}
	large := length-head.size > r.conn.cfg.MaxPayload
	var subscriptions []uint32
	if head.size > len(packet) || len(head.properties) > maxProperties {
		large = true // the properties alone
	} else if len(head.properties) > 0 {
		if m.Properties, subscriptions, err = parseProperties(head.properties); err != nil {
			return err
		}
	}
	if m.Topic, err = r.topic(head.topic); err != nil {
		return err
	}
	if large {
		r.latest.forget()
		return r.skip(m, head, length)
	}
	if length <= len(packet) {
		m.Payload = bytes.Clone(packet[head.size:]) // out of the buffer
		r.buf.Discard(length)
	} else {
		r.buf.Discard(head.size)
		if m.Payload, err = r.payload(length - head.size); err != nil {
			return err
		}
	}
	if r.conn.identified.Load() && !r.open[head.id] && r.latest.copied(m, subscriptions) {
		return r.hand(m.QoS, head.id, func(Handler) bool { return true })
	}
	return r.hand(m.QoS, head.id, func(h Handler) bool { return h.Message(m) })
}

// publishHead is what stands before the payload of a PUBLISH.
type publishHead struct {
	topic, properties []byte // properties are nil where they are not whole
	id                uint16
	size              int
}

var errShort = broken(PUBLISH, "2.1.4", "is cut short")

// cutHead finds the parts of a PUBLISH; packet is the whole of it or its first maxHead bytes.
func cutHead(v Version, flags byte, packet []byte) (h publishHead, err error) {
	topic, rest, ok := cutString(packet)
	if !ok {
		return h, errShort
	}
	h.topic = topic
	if flags>>1&3 > 0 {
		if len(rest) < 2 {
			return h, errShort
		}
		if h.id = binary.BigEndian.Uint16(rest); h.id == 0 {
			return h, broken(PUBLISH, "2.2.1", "has the packet identifier 0")
		}
		rest = rest[2:]
	}
	if v == V311 {
		h.size = len(packet) - len(rest)
		return h, nil
	}
	n, rest, ok := cutLength(rest)
	if !ok {
		return h, broken(PUBLISH, "2.2.2.1", "has a malformed length of its properties")
	}
	h.size = len(packet) - len(rest) + n
	if n <= len(rest) {
		h.properties = rest[:n]
	}
	return h, nil
}

// topic checks a topic, and gives it as a string: the same one for messages on the same topic that come soon after each
// other.
func (r *reader) topic(name []byte) (string, error) {
	if len(name) == 0 {
		return "", broken(PUBLISH, "3.3.2.1", "has no topic")
	}
	at := &r.names[maphash.Bytes(r.seed, name)%uint64(len(r.names))]
	if *at != string(name) {
		if !isText(name) {
			return "", broken(PUBLISH, "3.3.2.1", "has a topic that is not UTF-8")
		}
		if !isTopic(name) {
			return "", broken(PUBLISH, "3.3.2.1", "has a topic with a wildcard")
		}
		*at = string(name)
	}
	return *at, nil
}

// skip throws a message away and says so in its place.
func (r *reader) skip(m Message, head publishHead, length int) error {
	s := Skipped{Topic: m.Topic, Size: length - head.size, QoS: m.QoS, Retain: m.Retain}
	for length > 0 {
		r.settle()
		n, err := r.buf.Discard(min(length, skipStep))
		if length -= n; err != nil {
			return unexpected(err)
		}
	}
	return r.hand(m.QoS, head.id, func(h Handler) bool { return h.Skipped(s) })
}

// payload reads n bytes. They get their memory as they come: a header can announce more than ever follows.
func (r *reader) payload(n int) ([]byte, error) {
	p := make([]byte, min(n, growStep))
	for done := 0; ; {
		if r.buf.Buffered() < len(p)-done {
			r.settle()
		}
		if _, err := io.ReadFull(r.buf, p[done:]); err != nil {
			return nil, unexpected(err)
		}
		if done = len(p); done == n {
			return p, nil
		}
		more := make([]byte, min(n, 2*done))
		copy(more, p)
		p = more
	}
}

// hand gives a message to the Handler, and notes what to answer. After the end of the connection it is not called.
func (r *reader) hand(qos byte, id uint16, give func(Handler) bool) error {
	select {
	case <-r.conn.done:
		return nil
	default:
	}
	if qos == 2 && r.open[id] { // sent again
		r.ack(PUBREC, id)
		return nil
	}
	r.handed = true
	if !give(r.conn.cfg.Handler) {
		return nil
	}
	switch qos {
	case 1:
		r.ack(PUBACK, id)
	case 2:
		if r.open == nil {
			r.open = make(map[uint16]bool)
		}
		r.open[id] = true
		r.ack(PUBREC, id)
	}
	return nil
}

func (r *reader) ack(kind PacketType, id uint16) { r.acks = appendAck(r.acks, kind, id) }

// settle is called before waiting for more bytes: what has been taken is acknowledged, in one write, and the Handler may
// let go of it.
func (r *reader) settle() {
	if len(r.acks) > 0 {
		r.conn.enqueue(r.acks)
		r.acks = r.acks[:0]
	}
	if r.handed {
		r.handed = false
		r.conn.cfg.Handler.Rest()
	}
}
