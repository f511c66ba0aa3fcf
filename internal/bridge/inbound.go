package bridge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"unicode/utf8"
)

// An inlet is where a link leaves the messages that it receives. Both functions are called by the goroutine that reads.
type inlet struct {
	got  func(Message) (taken bool) // what is not taken is not acknowledged
	rest func()                     // all that has arrived has been handed over
}

// nowhere is the inlet of a link that subscribes to nothing.
var nowhere = inlet{got: func(Message) bool { return true }, rest: func() {}}

// Topics that stand for messages which cannot be handed on; the payload is the true topic. No broker sends them, because
// nobody subscribes to them.
const (
	oversizeTopic   = "$oversize"   // its payload is larger than the limit
	unreadableTopic = "$unreadable" // its topic is not UTF-8, so no client could be told of it
)

// messages is the part of a reader that takes the PUBLISH packets out of the stream: they go straight to the inlet and
// the library never sees them. It would need three goroutines and some thirty allocations for each.
type messages struct {
	inlet   inlet
	handed  bool // since the last rest
	skipped Message
	id      uint16          // of the message that is being skipped
	acks    []byte          // to be written before waiting for more
	open    map[uint16]bool // QoS 2: handed over, and not released yet
	seed    maphash.Seed
	names   [256]string // topics seen last, so that a topic is not allocated for every message
}

// publish takes one PUBLISH packet, or begins to skip it.
func (r *reader) publish(first byte, length int) error {
	if length > maxPacket {
		return tooLarge(length)
	}
	qos := first >> 1 & 3
	if qos == 3 {
		return errors.New("the broker sent a message with QoS 3")
	}
	if length < 2 {
		return errShort
	}
	name, err := r.peek(2)
	if err != nil {
		return err
	}
	topic := int(binary.BigEndian.Uint16(name))
	overhead := 2 + topic
	if qos > 0 {
		overhead += 2 // a packet identifier
	}
	if length < overhead {
		return errShort
	}
	m := Message{QoS: qos, Retain: first&1 == 1}
	if length-overhead > r.maxPayload {
		head, err := r.whole(overhead)
		if err != nil {
			return err
		}
		m.Topic, m.Payload = oversizeTopic, bytes.Clone(head[2:2+topic])
		r.skipped, r.id = m, packetID(head[2+topic:])
		r.skip = length - overhead
		return nil
	}
	packet, err := r.whole(length)
	if err != nil {
		return err
	}
	m.Topic, m.Payload = r.name(packet[2:2+topic]), packet[overhead:]
	if length <= r.buf.Size() {
		m.Payload = bytes.Clone(m.Payload) // out of the buffer
	}
	if !utf8.ValidString(m.Topic) {
		m.Topic, m.Payload = unreadableTopic, []byte(m.Topic)
	}
	return r.hand(m, packetID(packet[2+topic:overhead]))
}

func packetID(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// hand gives a message to the inlet, and notes what to answer. A link that is down is not heard any more.
func (r *reader) hand(m Message, id uint16) error {
	select {
	case <-r.wire.down:
		return errDown
	default:
	}
	if m.QoS == 2 && r.open[id] { // sent again
		r.ack(typePubrec, id)
		return nil
	}
	taken := r.inlet.got(m)
	r.handed = true
	switch {
	case !taken:
	case m.QoS == 1:
		r.ack(typePuback, id)
	case m.QoS == 2:
		if r.open == nil {
			r.open = make(map[uint16]bool)
		}
		r.open[id] = true
		r.ack(typePubrec, id)
	}
	return nil
}

// released answers a PUBREL.
func (r *reader) released(id uint16, length int) error {
	delete(r.open, id)
	r.ack(typePubcomp, id)
	return r.discard(length)
}

func (r *reader) ack(kind byte, id uint16) {
	first := kind << 4
	if kind == typePubrel {
		first |= 2 // MQTT 3.1.1, 3.6.1
	}
	r.acks = append(r.acks, first, 2, byte(id>>8), byte(id))
}

// discard throws the rest of a packet away.
func (r *reader) discard(length int) error {
	if r.buf.Buffered() < length {
		r.settle()
	}
	if _, err := r.buf.Discard(length); err != nil {
		return unexpected(err)
	}
	return nil
}

// settle is called before waiting for more bytes: what has been taken is acknowledged, in one write, and the inlet may
// let go of it.
func (r *reader) settle() {
	if len(r.acks) > 0 {
		r.wire.Write(r.acks)
		r.acks = r.acks[:0]
	}
	if r.handed {
		r.handed = false
		r.inlet.rest()
	}
}

// peek gives the next bytes without taking them.
func (r *reader) peek(n int) ([]byte, error) {
	if r.buf.Buffered() < n {
		r.settle()
	}
	p, err := r.buf.Peek(n)
	if err != nil {
		return nil, unexpected(err)
	}
	return p, nil
}

// whole takes the next n bytes: out of the buffer, valid until the next read, or, where they do not fit, of their own.
func (r *reader) whole(n int) ([]byte, error) {
	if n <= r.buf.Size() {
		p, err := r.peek(n)
		if err == nil {
			r.buf.Discard(n)
		}
		return p, err
	}
	r.settle()
	p := make([]byte, n)
	if _, err := io.ReadFull(r.buf, p); err != nil {
		return nil, unexpected(err)
	}
	return p, nil
}

// name gives a topic as a string, the same one for messages on the same topic that come soon after each other.
func (r *reader) name(b []byte) string {
	at := &r.names[maphash.Bytes(r.seed, b)%uint64(len(r.names))]
	if *at != string(b) {
		*at = string(b)
	}
	return *at
}
