package broker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// handshake reads the CONNECT and acts on it. It takes the lock.
func (c *conn) handshake() error {
	p, err := c.in.Connect()
	if err != nil {
		return err
	}
	if p.AuthMethod != "" {
		return &packet.Error{Reason: packet.BadAuthMethod, Text: "there is no extended authentication"}
	}
	c.version, c.maximum = p.Version, p.MaximumPacket
	c.window = min(c.b.limits.Window, int(p.ReceiveMaximum))
	c.silence = time.Duration(p.KeepAlive) * time.Second * 3 / 2 // 3.1.2-22
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.b.closing {
		return &packet.Error{Reason: packet.ServerShuttingDown, Text: "the broker stops"}
	}
	return c.connect(p)
}

// connect gives the client its session, the old one if there is one that is to go on, and answers.
func (c *conn) connect(p *packet.Connect) error {
	b := c.b
	b.touched = 0
	var will *message
	if p.Will != nil {
		will = newMessage(p.Will.Message, time.Now())
		if !b.hold(will, 0) {
			return &packet.Error{Reason: packet.QuotaExceeded, Text: "the broker has no room for a will"}
		}
		c.willDelay = p.Will.Delay
	}
	assigned := ""
	if p.ClientID == "" {
		assigned = randomID()
		p.ClientID = assigned
	}
	s := b.resume(p)
	present := s != nil
	if s == nil {
		s = b.newSession(p.ClientID)
	}
	s.expiry = p.SessionExpiry
	if p.Version != packet.V5 && !p.Clean {
		s.expiry = never
	}
	b.connected(c)
	b.attach(s, c)
	c.will = will
	b.tellConnected(c, p)
	b.storeSession(s)
	c.answer(packet.AppendConnack(nil, c.version, packet.Success, packet.Connack{
		SessionPresent: present, AssignedID: assigned, MaximumPacket: uint32(b.limits.Packet),
	}))
	return nil
}

// resume returns the session that a CONNECT continues, or nil. Another connection that has it is ended (3.1.4-3).
func (b *Broker) resume(p *packet.Connect) *session {
	s := b.sessions[p.ClientID]
	if s == nil {
		return nil
	}
	if old := s.conn; old != nil {
		b.detach(old, true, ": session taken over")
		old.end(packet.SessionTakenOver, "another connection has the same client identifier")
		if b.sessions[p.ClientID] != s {
			return nil // it was not to outlive its connection
		}
	}
	if p.Clean {
		b.forget(s)
		return nil
	}
	if s.will != nil { // the client is back in time (3.1.3-9)
		b.release(s.will, 0)
		s.will = nil
	}
	return s
}

// randomID is a client identifier for a client that has none.
func randomID() string {
	var id [10]byte
	_, _ = rand.Read(id[:])
	return "auto-" + hex.EncodeToString(id[:])
}

// refuse answers a CONNECT that cannot be accepted, where there is an answer.
func (c *conn) refuse(err error) {
	var bad *packet.Error
	if !errors.As(err, &bad) {
		return
	}
	c.b.log.Info("a client is refused", "remote", c.remote(), "reason", bad.Text)
	v := c.in.Version()
	if v == 0 || v != packet.V5 && bad.Reason.ReturnCode() == 0 {
		return
	}
	answer := packet.AppendConnack(nil, v, bad.Reason, packet.Connack{Text: bad.Text})
	if c.maximum > 0 && len(answer) > int(c.maximum) {
		answer = packet.AppendConnack(nil, v, bad.Reason, packet.Connack{})
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.b.limits.EndTime))
	_, _ = sink{c}.Write(answer)
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	c.linger()
}
