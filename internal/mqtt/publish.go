package mqtt

import "fmt"

// A Publication is one message on its way to the broker. It is given to one connection only. It is made by
// [NewPublication], or, as a part of something of its owner's, by setting Message and Owner.
type Publication struct {
	Message Message
	Owner   Owner // nil only with NewPublication

	end    uint64 // where it ends in the bytes of its connection
	step   flow
	reason ReasonCode
	err    error // like reason, valid once it is settled
	done   chan struct{}
}

// An Owner is told once when the outcome of a publication is known, by whichever goroutine learns it. That one may hold
// the connection's lock, so Settled must neither wait nor call the connection.
type Owner interface{ Settled(p *Publication) }

// A flow is how far a message above QoS 0 has come.
type flow byte

const (
	waitsPuback  flow = iota // QoS 1
	waitsPubrec              // QoS 2
	waitsPubcomp             // QoS 2, and PUBREL was sent
)

// NewPublication makes a message ready to be published. The payload must not be changed until the outcome is known.
func NewPublication(m Message) *Publication {
	return &Publication{Message: m, done: make(chan struct{})}
}

// Done is closed when the outcome is known, of a publication that NewPublication has made.
func (p *Publication) Done() <-chan struct{} { return p.done }

// Outcome is valid once Done is closed or Owner told. It is nil when the broker has the message: at QoS 0 it was written
// to the socket, at QoS 1 there is a PUBACK, at QoS 2 a PUBCOMP. Otherwise it is [ErrNotSent], [ErrUnknown] or a
// [*Refusal]. The reason is the broker's, of its last packet; [NoSubscribers] is one that comes with a nil error.
func (p *Publication) Outcome() (ReasonCode, error) { return p.reason, p.err }

// Received reports, like Outcome, whether there was a PUBREC: the broker has the message then, whatever came after.
func (p *Publication) Received() bool { return p.step == waitsPubcomp }

// settle sets the outcome.
func (p *Publication) settle(err error) {
	p.err = err
	if refusal, ok := err.(*Refusal); ok {
		p.reason = refusal.Reason
	}
	if p.done != nil {
		close(p.done)
	}
	if p.Owner != nil {
		p.Owner.Settled(p)
	}
}

// publishing is what a connection knows of the messages that it was given. It is guarded by the connection's lock.
type publishing struct {
	written0 []*Publication // QoS 0, waiting for the flush, in order
	open     map[uint16]*Publication
	window   int // messages above QoS 0 that the broker takes at once, MQTT 4.9
}

// TryPublish puts p behind what is pending. It is false, and nothing has been done, while too much is, or while as many
// messages are without an outcome as the broker allows. On a connection that has ended p was not sent.
func (c *Conn) TryPublish(p *Publication) (taken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tryPublish(p)
}

func (c *Conn) tryPublish(p *Publication) (taken bool) {
	switch {
	case c.closed:
		p.settle(ErrNotSent)
		return true
	case len(c.out.pending) > softPending, p.Message.QoS > 0 && len(c.pubs.open) >= c.pubs.window:
		return false
	}
	c.appendPublication(p)
	return true
}

// Publish is TryPublish, as soon as there is room.
func (c *Conn) Publish(p *Publication) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.tryPublish(p) {
		c.moved.Wait()
	}
}

// appendPublication encodes p and enters it into the books, or refuses what the broker has said it does not take. It is
// called with the lock held.
func (c *Conn) appendPublication(p *Publication) {
	m := &p.Message
	if err := c.accepts(m); err != nil {
		p.settle(err)
		return
	}
	var id uint16
	if m.QoS > 0 {
		id = c.nextID()
		if c.pubs.open == nil {
			c.pubs.open = make(map[uint16]*Publication)
		}
		c.pubs.open[id] = p
		if m.QoS == 2 {
			p.step = waitsPubrec
		}
	}
	before := len(c.out.pending)
	alone := m.QoS > 0 && before == 0 && !c.out.writing && c.stream.offer != nil && len(c.pubs.open) <= 1 && len(m.Payload) < alonePacket
	c.out.pending = appendPublish(c.out.pending, c.cfg.Version, m, id)
	c.out.accepted += uint64(len(c.out.pending) - before)
	p.end = c.out.accepted
	m.Payload = nil // the bytes are here now
	if m.QoS == 0 {
		c.pubs.written0 = append(c.pubs.written0, p)
	}
	if alone {
		c.writeAlone()
	}
	if len(c.out.pending) > 0 {
		c.moved.Broadcast()
	}
}

// accepts checks a message against what can be encoded and what the broker has said.
func (c *Conn) accepts(m *Message) error {
	length, _ := publishSize(c.cfg.Version, m)
	size := 1 + lengthSize(length) + length
	switch most := int(c.limits.MaximumPacket); {
	case most > 0 && size > most:
		return &Refusal{By: CONNACK, Reason: PacketTooLarge, Text: fmt.Sprintf("%d bytes in all, and it takes %d", size, most)}
	case length > maxPacket || len(m.Topic) > 0xffff || !m.Properties.fits():
		return &Refusal{By: CONNACK, Reason: PacketTooLarge, Text: "more than MQTT can encode"}
	case m.QoS > c.limits.MaximumQoS:
		return &Refusal{By: CONNACK, Reason: QoSNotSupported, Text: fmt.Sprintf("it takes QoS %d at most", c.limits.MaximumQoS)}
	case m.Retain && !c.limits.Retain:
		return &Refusal{By: CONNACK, Reason: RetainNotSupported}
	}
	return nil
}

// nextID gives a packet identifier that nothing else under way has, MQTT 2.2.1. Far fewer are under way than there are.
func (c *Conn) nextID() uint16 {
	for {
		if c.lastID++; c.lastID == 0 {
			c.lastID, c.wrapped = 1, true
		}
		if c.pubs.open[c.lastID] == nil && c.requests[c.lastID] == nil {
			return c.lastID
		}
	}
}

// late reports whether an identifier was used before on this connection. What comes for one that never was is an error
// of the broker's; what comes again is not worth a connection.
func (c *Conn) late(id uint16) bool { return c.wrapped || id <= c.lastID }

// left completes the QoS 0 messages whose bytes the stream has taken.
func (s *publishing) left(flushed uint64) {
	done := 0
	for done < len(s.written0) && s.written0[done].end <= flushed {
		s.written0[done].settle(nil)
		s.written0[done] = nil
		done++
	}
	if s.written0 = s.written0[done:]; len(s.written0) == 0 {
		s.written0 = nil
	}
}

// find gives the publication that an answer is for; nil if it has its outcome. It is called with the lock held.
func (c *Conn) find(kind PacketType, id uint16) (*Publication, error) {
	p := c.pubs.open[id]
	if p == nil && (!c.late(id) || c.requests[id] != nil) {
		return nil, broken(kind, "2.2.1", "answers nothing that was sent")
	}
	return p, nil
}

// received serves a PUBREC, and says whether to answer it with a PUBREL. A reason that is a failure ends the message's
// way, MQTT 4.3.3.
func (c *Conn) received(id uint16, code ReasonCode, text string) (release bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.find(PUBREC, id)
	switch {
	case err != nil:
		return false, err
	case p == nil:
		return !code.Failed(), nil
	case p.step == waitsPuback:
		return false, broken(PUBREC, "3.5", "answers a message of QoS 1")
	case p.step == waitsPubcomp: // sent again; the first one counts
		return true, nil
	case code.Failed():
		c.settleLocked(id, p, code, &Refusal{By: PUBREC, Reason: code, Text: text})
		return false, nil
	}
	p.step, p.reason = waitsPubcomp, code
	return true, nil
}

// completed serves a PUBACK or PUBCOMP.
func (c *Conn) completed(kind PacketType, id uint16, code ReasonCode, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.find(kind, id)
	switch {
	case err != nil || p == nil:
		return err
	case kind == PUBACK && p.step != waitsPuback:
		return broken(PUBACK, "3.4", "answers a message of QoS 2")
	case kind == PUBCOMP && p.step == waitsPubrec:
		return broken(PUBCOMP, "4.3.3", "comes before its PUBREC")
	case kind == PUBCOMP && p.step == waitsPuback:
		return broken(PUBCOMP, "3.7", "answers a message of QoS 1")
	}
	if code == Success {
		code = p.reason // of the PUBREC
	}
	var outcome error
	if code.Failed() {
		outcome = &Refusal{By: kind, Reason: code, Text: text}
	}
	c.settleLocked(id, p, code, outcome)
	return nil
}

// settleLocked gives a message its outcome, and its place in the window back.
func (c *Conn) settleLocked(id uint16, p *Publication, code ReasonCode, err error) {
	full := len(c.pubs.open) >= c.pubs.window
	delete(c.pubs.open, id)
	p.reason = code
	p.settle(err)
	if full {
		c.moved.Broadcast()
	}
}

// end completes all that is open. A message whose last byte has not been sent cannot have been understood.
func (s *publishing) end(sent uint64) {
	for _, p := range s.written0 {
		p.settle(p.lost(sent))
	}
	for _, p := range s.open {
		p.settle(p.lost(sent))
	}
	s.written0, s.open = nil, nil
}

func (p *Publication) lost(sent uint64) error {
	if p.end > sent {
		return ErrNotSent
	}
	return ErrUnknown
}
