package bridge

import (
	"encoding/binary"
	"errors"
)

// ledger knows the outcome of each publication of one link, from the packets themselves: where in the outgoing bytes it
// ends, and what the broker answered. It is guarded by its wire's lock.
type ledger struct {
	written0 []*Publication // QoS 0, waiting for the flush, in order
	open     map[uint16]*Publication
	last     uint16         // packet identifier given last
	asks     map[uint16]int // filters in each SUBSCRIBE that has no answer yet
}

// firstID: publications have the upper half of the packet identifiers. The library takes those of its packets from the
// lower end.
const firstID = 1 << 15

// number gives p a packet identifier that nothing else under way has (MQTT 3.1.1, 2.3.1). Far fewer are under way than
// there are.
func (l *ledger) number(p *Publication) uint16 {
	if l.open == nil {
		l.open = make(map[uint16]*Publication)
	}
	for {
		if l.last++; l.last < firstID {
			l.last = firstID
		}
		if _, asked := l.asks[l.last]; !asked && l.open[l.last] == nil {
			l.open[l.last] = p
			return l.last
		}
	}
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
	if p == nil || (p.msg.QoS == 1) != (kind == typePuback) {
		return
	}
	delete(w.ledger.open, id)
	p.complete(nil)
}

// received reports whether a PUBREC belongs to a publication, and is to be answered.
func (w *wire) received(id uint16) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.ledger.open[id]
	return p != nil && p.msg.QoS == 2
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
	for _, p := range l.written0 {
		p.complete(outcome(p, sent))
	}
	for _, p := range l.open {
		p.complete(outcome(p, sent))
	}
	l.written0, l.open = nil, nil
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
