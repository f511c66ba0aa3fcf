package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

func TestAKeptSessionGetsWhatCameMeanwhile(t *testing.T) {
	s := start(t)
	c := brokertest.Dial(t, s.addr, brokertest.ClientID("keep"), brokertest.PersistentSession())
	if c.SessionPresent() {
		t.Error("got a session at the first connection, want none")
	}
	c.Subscribe("a/#", 2)
	c.Drop()
	<-c.Lost()
	for i := range 3 {
		s.publish(fmt.Sprint("a/", i), fmt.Sprint(i), byte(i), false)
	}
	if err := c.Reconnect(); err != nil {
		t.Fatal(err)
	}
	if !c.SessionPresent() {
		t.Error("got no session at the second connection, want one")
	}
	got := c.WaitCount(2, raw.Patience)
	if payloads(got) != "1 2" || got[0].QoS != 1 || got[1].QoS != 2 {
		t.Errorf("got %+v, want the messages at QoS 1 and 2", got)
	}
	clean := brokertest.Dial(t, s.addr, brokertest.ClientID("keep"))
	if clean.SessionPresent() {
		t.Error("got a session for a clean start, want none")
	}
	clean.Close()
	if err := c.Reconnect(); err != nil || c.SessionPresent() {
		t.Errorf("after a clean start: got error %v, session %v, want neither", err, c.SessionPresent())
	}
}

// What was sent and not acknowledged is sent again, in its order, with the same identifiers (4.4.0-1).
func TestUnacknowledgedMessagesAreSentAgain(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		s := start(t)
		dial := func() *raw.Conn {
			c := raw.Client(t, s.addr, version, "c", 0, props5(version, raw.Prop32(17, never), raw.Prop16(33, 2))...)
			return c
		}
		c := dial()
		c.Send(raw.Subscribe(1, props(version), "a", 2))
		c.WantType(0x90)
		for i := range 4 {
			s.publish("a", fmt.Sprint(i), byte(1+i%2), false)
		}
		first, second := c.WantType(0x32), c.WantType(0x34)
		c.Send(raw.Packet(0x50, raw.U16(idOf(second)))) // PUBREC
		if version == 4 {                               // there the window is wide
			c.WantType(0x32)
			c.WantType(0x34)
		}
		c.WantType(0x62)
		_ = c.Close()

		c = dial()
		again := string(c.Next())
		if again[0] == 0x62 { // PUBREL may come before
			again = string(c.WantType(0x3A))
		} else {
			c.WantType(0x62)
		}
		if again[0] != 0x3A || again[1:] != string(first[1:]) {
			t.Fatalf("got %x, want %x with the DUP flag", again, first)
		}
		c.Send(raw.Packet(0x70, raw.U16(idOf(second))), raw.Packet(0x40, raw.U16(idOf(first))))
		if version == 4 {
			for _, want := range []byte{0x3A, 0x3C} {
				if p := c.Next(); p[0] != want {
					t.Fatalf("got %x, want a packet that begins with %x", p, want)
				}
			}
			return
		}
		c.WantType(0x32) // never sent before
		c.WantType(0x34)
	})
}

// What is acknowledged before it could be sent again is not sent again, and the rest keeps its order.
func TestMessagesAreSentAgainInOrderAndOnlyIfNeeded(t *testing.T) {
	s := start(t)
	keep := raw.Prop32(17, never)
	c := raw.Client(t, s.addr, 5, "c", 0, keep)
	c.Send(raw.Subscribe(1, raw.Props(), "a", 1))
	c.Want("900400010001")
	const n = 30
	var ids []uint16
	for range n {
		s.publish("a", "x", 1, false)
		ids = append(ids, idOf(c.WantType(0x32)))
	}
	_ = c.Close()
	c = raw.Client(t, s.addr, 5, "c", 0, keep, raw.Prop16(33, 1))
	first := c.WantType(0x3A)
	c.Send(raw.Packet(0x40, raw.U16(ids[1])), raw.Packet(0x40, raw.U16(idOf(first))))
	for i := 2; i < n; i++ {
		p := c.WantType(0x3A)
		if got := idOf(p); got != ids[i] {
			t.Fatalf("got message %d, want %d", got, ids[i])
		}
		c.Send(raw.Packet(0x40, raw.U16(idOf(p))))
	}
	c.Ping()
}

// What expires while its client is away is not sent.
func TestMessagesExpireInAKeptSession(t *testing.T) {
	s := start(t)
	c := brokertest.Dial(t, s.addr, brokertest.ClientID("kept"), brokertest.PersistentSession())
	c.Subscribe("a", 1)
	c.Drop()
	<-c.Lost()
	eventually(t, "the connection has ended", func() bool { return s.figure(func() int64 { return int64(len(s.conns)) }) == 0 })
	p := s.client(5, "p")
	p.Send(raw.Publish(2, "a", 1, raw.Props(raw.Prop32(2, 1)), "short"), raw.Publish(3, "clock", 2, raw.Props(raw.Prop32(2, 1)), "short"), raw.Publish(2, "a", 3, raw.Props(raw.Prop32(2, 1000)), "long"))
	p.Want("40020001", "4003000210", "40020003")
	eventually(t, "a message of that age has expired", func() bool { return s.figure(func() int64 { return int64(s.retainedCount) }) == 0 })
	if err := c.Reconnect(); err != nil {
		t.Fatal(err)
	}
	if got := payloads(c.WaitCount(1, raw.Patience)); got != "long" {
		t.Errorf("got %q, want the one that has not expired", got)
	}
}

// props5 are properties of version 5 only.
func props5(version byte, all ...[]byte) [][]byte {
	if version < 5 {
		return nil
	}
	return all
}

// PUBREL and PUBREC of a message that the client sends at QoS 2 go on over connections.
func TestQoS2OfAClientGoesOnOverConnections(t *testing.T) {
	s := start(t)
	sub := s.subscribed(2, "q", "end")
	dial := func() *raw.Conn { return raw.Client(t, s.addr, 4, "c", 0) }
	c := dial()
	c.Send(raw.Publish(4, "q", 9, nil, "once"))
	c.Want("50020009")
	_ = c.Close()
	c = dial()
	c.Send(raw.Publish(0xC, "q", 9, nil, "once")) // DUP
	c.Want("50020009")
	_ = c.Close()
	c = dial()
	c.Send([]byte{0x62, 2, 0, 9})
	c.Want("70020009")
	c.Send(raw.Publish(4, "q", 9, nil, "next"))
	c.Want("50020009")
	s.publish("end", "end", 1, false)
	if got := payloads(until(t, sub, "end")); got != "once next" {
		t.Errorf("got %q, want each once", got)
	}
}

func TestSessionsOfVersion5Expire(t *testing.T) {
	s := start(t)
	connect := func(flags byte, expiry uint32) (present bool) {
		t.Helper()
		c := raw.Dial(t, s.addr, 5)
		c.Send(raw.Connect(5, flags, raw.Props(raw.Prop32(17, expiry)), "c"))
		present = c.Accepted()
		c.Send([]byte{0xE0, 0})
		c.WantEndOfStream()
		return present
	}
	connect(2, never)
	if !connect(0, 1) {
		t.Error("got no session though it never expires, want one")
	}
	eventually(t, "the session expires", func() bool { return s.figure(func() int64 { return int64(len(s.sessions)) }) == 0 })
	if connect(0, 0) {
		t.Error("got a session that has expired, want none")
	}
	if connect(0, 100) {
		t.Error("got a session that was to end with its connection, want none")
	}
	c := raw.Dial(t, s.addr, 5)
	c.Send(raw.Connect(5, 0, raw.Props(raw.Prop32(17, 100)), "c"))
	if !c.Accepted() {
		t.Error("got no session, want the one of before")
	}
	c.Send(raw.Packet(0xE0, []byte{0}, raw.Props(raw.Prop32(17, 0)))) // ends it
	c.WantEndOfStream()
	if connect(0, 0) {
		t.Error("got a session that a DISCONNECT ended, want none")
	}
}

// A client identifier has one connection: the newest.
func TestANewConnectionTakesTheSessionOver(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		s := start(t)
		first := raw.Client(t, s.addr, version, "c", 0, props5(version, raw.Prop32(17, 100))...)
		first.Send(raw.Subscribe(1, props(version), "a", 1))
		first.WantType(0x90)
		second := raw.Dial(t, s.addr, version)
		second.Send(raw.Connect(version, 0, raw.Props(props5(version, raw.Prop32(17, 100))...), "c"))
		if !second.Accepted() {
			t.Error("got no session, want that of the first")
		}
		first.WantEnd(0x8E)
		s.publish("a", "x", 1, false)
		second.WantType(0x32)
		s.healthy()
	})
}

func TestAClientWithoutIdentifierGetsOne(t *testing.T) {
	s := start(t)
	c := raw.Dial(t, s.addr, 5)
	c.Send(raw.Connect(5, 2, nil, ""))
	p := string(c.WantType(0x20))
	if !strings.Contains(p, "\x12\x00\x19auto-") {
		t.Errorf("got %q, want an assigned client identifier in it", p)
	}
	if !strings.Contains(p, "\x27\x01\x00\x00\x00") {
		t.Errorf("got %q, want the maximum packet size of 16 MiB in it", p)
	}
	four := raw.Client(t, s.addr, 4, "", 2)
	four.Ping()
}

func TestSilenceEndsAConnection(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		s := start(t)
		c := raw.Dial(t, s.addr, version)
		c.Send(raw.ConnectAlive(version, 2, 1, nil, "c"))
		c.Accepted()
		c.Ping()
		c.WantEnd(0x8D)
		if !strings.Contains(s.log.String(), "silent") {
			t.Errorf("got log %q, want it to say why", s.log)
		}
	})
}
