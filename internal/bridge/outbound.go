package bridge

import "encoding/binary"

// Publications go straight into what is pending on a wire; the library never sees them. It would need two goroutines and
// some twenty allocations for each.

// offer puts p behind what is pending. It is false while too much is: nothing has been done then. On a link that is down
// p ends as not sent.
func (w *wire) offer(p *Publication) (taken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		p.complete(ErrNotSent)
		return true
	case len(w.pending) > softPending:
		return false
	}
	w.append(p)
	w.moved.Broadcast()
	return true
}

// publish is offer, as soon as there is room.
func (w *wire) publish(p *Publication) {
	for !w.offer(p) {
		w.waitRoom()
	}
}

// follow makes p leave right behind the next SUBSCRIBE, in the same write.
func (w *wire) follow(p *Publication) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		p.complete(ErrNotSent)
		return
	}
	w.behind = p
}

// waitFollowed returns when what was to follow is pending, or the link is down.
func (w *wire) waitFollowed() {
	w.mu.Lock()
	for w.behind != nil && !w.closed {
		w.moved.Wait()
	}
	w.mu.Unlock()
}

// append encodes p (MQTT 3.1.1, 3.3) and enters it into the books. It is called with the lock held.
func (w *wire) append(p *Publication) {
	m := &p.msg
	length := 2 + len(m.Topic) + len(m.Payload)
	if m.QoS > 0 {
		length += 2
	}
	first := byte(typePublish<<4) | m.QoS<<1
	if m.Retain {
		first |= 1
	}
	before := len(w.pending)
	b := append(w.pending, first)
	for n := length; ; {
		digit := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			b = append(b, digit)
			break
		}
		b = append(b, digit|0x80)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Topic)))
	b = append(b, m.Topic...)
	if m.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, w.ledger.number(p))
	}
	w.pending = append(b, m.Payload...)
	w.accepted += uint64(len(w.pending) - before)
	p.end = w.accepted
	m.Payload = nil // the bytes are here now
	if m.QoS == 0 {
		w.ledger.written0 = append(w.ledger.written0, p)
	}
}
