package bridge

import (
	"encoding/binary"
	"errors"
)

// ledger knows the outcome of each publication of one link, from the packets themselves: where in the outgoing bytes it
// ends, and what the broker answered. It is guarded by its wire's lock.
type ledger struct {
	expected []*Publication // given to the MQTT library, which keeps the order; not yet written
	written0 []*Publication // QoS 0, waiting for the flush, in order
	open     map[uint16]*Publication
	asks     map[uint16]int // filters in each SUBSCRIBE that has no answer yet
	closed   bool
}

// expect announces that the library will write p as its next PUBLISH. It is false if there will be no writing.
func (w *wire) expect(p *Publication) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.ledger.closed {
		return false
	}
	w.ledger.expected = append(w.ledger.expected, p)
	return true
}

// written notes that a PUBLISH packet, which ends at that place of the outgoing bytes, is the next one expected.
func (l *ledger) written(packet []byte, end uint64) {
	if len(l.expected) == 0 {
		return
	}
	p := l.expected[0]
	l.expected[0] = nil
	if l.expected = l.expected[1:]; len(l.expected) == 0 {
		l.expected = nil // lets go of the array
	}
	p.end = end
	if p.qos = packet[0] >> 1 & 3; p.qos == 0 {
		l.written0 = append(l.written0, p)
		return
	}
	_, rest := variableHeader(packet)
	topic := int(binary.BigEndian.Uint16(rest))
	id := binary.BigEndian.Uint16(rest[2+topic:])
	if l.open == nil {
		l.open = make(map[uint16]*Publication)
	}
	if old := l.open[id]; old != nil {
		old.complete(ErrUnknown) // the library freed the id without an answer that we know of
	}
	l.open[id] = p
}

// settle completes the QoS 0 publications whose bytes the stream has taken.
func (l *ledger) settle(flushed uint64) {
	done := 0
	for done < len(l.written0) && l.written0[done].end <= flushed {
		l.written0[done].complete(nil)
		l.written0[done] = nil
		done++
	}
	if l.written0 = l.written0[done:]; len(l.written0) == 0 {
		l.written0 = nil
	}
}

// answered completes a publication: QoS 1 with PUBACK, QoS 2 with PUBCOMP.
func (w *wire) answered(kind byte, id uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.ledger.open[id]
	if p == nil || (p.qos == 1) != (kind == typePuback) {
		return
	}
	delete(w.ledger.open, id)
	p.complete(nil)
}

// asked counts the filters of a SUBSCRIBE.
func (l *ledger) asked(packet []byte) {
	_, rest := variableHeader(packet)
	id := binary.BigEndian.Uint16(rest)
	n := 0
	for rest = rest[2:]; len(rest) > 2; n++ {
		rest = rest[2+int(binary.BigEndian.Uint16(rest))+1:]
	}
	if l.asks == nil {
		l.asks = make(map[uint16]int)
	}
	l.asks[id] = n
}

// granted checks that a SUBACK answers as many filters as were asked for. The library takes that for granted, and would
// crash on more.
func (w *wire) granted(id uint16, codes int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if asked, ok := w.ledger.asks[id]; !ok || asked != codes {
		return errors.New("the broker sent a SUBACK that answers no SUBSCRIBE")
	}
	delete(w.ledger.asks, id)
	return nil
}

// close completes all that is open. A publication whose last byte has not been sent cannot have been understood.
func (l *ledger) close(sent uint64) {
	l.closed = true
	for _, p := range l.expected {
		p.complete(ErrNotSent)
	}
	for _, p := range l.written0 {
		p.complete(outcome(p, sent))
	}
	for _, p := range l.open {
		p.complete(outcome(p, sent))
	}
	l.expected, l.written0, l.open = nil, nil, nil
}

func outcome(p *Publication, sent uint64) error {
	if p.end > sent {
		return ErrNotSent
	}
	return ErrUnknown
}

// variableHeader cuts the fixed header off a packet of the library's own making.
func variableHeader(packet []byte) (first byte, rest []byte) {
	n := 1
	for packet[n] >= 0x80 {
		n++
	}
	return packet[0], packet[n+1:]
}
