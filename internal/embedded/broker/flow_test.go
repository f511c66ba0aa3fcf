package broker

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// idOf is the packet identifier of a PUBLISH on a topic of one byte.
func idOf(publish []byte) uint16 { return binary.BigEndian.Uint16(publish[5:]) }

// A client's receive maximum is kept, and costs no message.
func TestReceiveMaximumIsKept(t *testing.T) {
	for _, maximum := range []uint16{1, 3} {
		s := start(t)
		c := s.client(5, "c", raw.Prop16(33, maximum))
		c.Send(raw.Subscribe(1, raw.Props(), "a", 2))
		c.Want("900400010002")
		const n = 20
		p := brokertest.Dial(t, s.addr)
		for i := range n {
			if err := p.Publish("a", []byte{byte(i)}, byte(1+i%2), false); err != nil {
				t.Fatal(err)
			}
		}
		var open [][]byte
		for i := 0; i < n; {
			for len(open) < min(int(maximum), n-i) {
				open = append(open, c.Next())
			}
			c.Ping() // nothing more comes
			first := open[0]
			open = open[1:]
			if got := first[len(first)-1]; got != byte(i) {
				t.Fatalf("receive maximum %d: got message %d, want %d", maximum, got, i)
			}
			i++
			if id := raw.U16(idOf(first)); first[0] == 0x32 {
				c.Send(raw.Packet(0x40, id))
			} else {
				c.Send(raw.Packet(0x50, id))
				c.Want("6202" + hex.EncodeToString(id))
				c.Ping() // PUBREC makes no room
				c.Send(raw.Packet(0x70, id))
			}
		}
		eventually(t, "all are given back", func() bool { return s.heldNow() == 0 })
	}
}

// PUBREC with a failure ends the flow of a message.
func TestAFailureInPubrecEndsTheFlow(t *testing.T) {
	s := start(t)
	c := s.client(5, "c", raw.Prop16(33, 1))
	c.Send(raw.Subscribe(1, raw.Props(), "a", 2))
	c.Want("900400010002")
	s.publish("a", "1", 2, false)
	s.publish("a", "2", 2, false)
	c.Send(raw.Packet(0x50, raw.U16(idOf(c.WantType(0x34))), []byte{0x97}))
	c.WantType(0x34)
	c.Send([]byte{0x50, 2, 0x77, 0x77}) // of no message
	c.Want("6203777792")
}

// An acknowledgement that does not belong to a message's QoS, or to where it stands, changes nothing.
func TestAcknowledgementsOfAnotherKindChangeNothing(t *testing.T) {
	s := start(t)
	c := s.client(4, "c")
	c.Send(raw.Subscribe(1, nil, "a", 2))
	c.Want("9003000102")
	s.publish("a", "x", 1, false)
	s.publish("a", "y", 2, false)
	one, two := raw.U16(idOf(c.WantType(0x32))), raw.U16(idOf(c.WantType(0x34)))
	c.Send(raw.Packet(0x40, two), raw.Packet(0x70, two), raw.Packet(0x70, one), raw.Packet(0x50, one))
	c.Want("6202" + hex.EncodeToString(one)) // as for one that it does not know
	c.Ping()
	if got := s.figure(func() int64 { return int64(len(s.sessions["c"].flight)) }); got != 2 {
		t.Fatalf("got %d messages in flight, want both", got)
	}
	c.Send(raw.Packet(0x40, one), raw.Packet(0x50, two), raw.Packet(0x50, two))
	c.Want("6202"+hex.EncodeToString(two), "6202"+hex.EncodeToString(two))
	c.Send(raw.Packet(0x70, two))
	eventually(t, "both are settled", func() bool { return s.heldNow() == 0 })
}

// Identifiers of both sides are different things, also when they are the same numbers.
func TestIdentifiersOfClientAndBrokerDoNotMix(t *testing.T) {
	s := start(t)
	c := s.client(4, "c")
	c.Send(raw.Subscribe(1, nil, "a", 2))
	c.Want("9003000102")
	s.publish("a", "x", 1, false)
	s.publish("a", "y", 2, false)
	if x, y := c.WantType(0x32), c.WantType(0x34); idOf(x) != 1 || idOf(y) != 2 {
		t.Fatalf("got %x and %x, want the identifiers 1 and 2", x, y)
	}
	c.Send(raw.Subscribe(1, nil, "b", 1), raw.Publish(2, "b", 2, nil, "z"), raw.Publish(4, "c", 1, nil, ""), raw.Packet(0xA2, raw.U16(2), raw.Text("b")))
	got := map[string]bool{}
	for range 5 {
		got[hex.EncodeToString(c.Next()[:4])] = true
	}
	for _, want := range []string{"90030001", "40020002", "32060001", "50020001", "b0020002"} {
		if !got[want] {
			t.Errorf("got %v, want %s among them", got, want)
		}
	}
	c.Send([]byte{0x62, 2, 0, 1}) // the client's message 1, not the broker's
	c.Want("70020001")
	c.Send([]byte{0x40, 2, 0, 1}, []byte{0x50, 2, 0, 2})
	c.Want("62020002")
	c.Send([]byte{0x70, 2, 0, 2}, []byte{0x40, 2, 0, 3})
	eventually(t, "all are settled", func() bool { return s.heldNow() == 0 })
}

// Identifiers go round, past those that are still in flight (2.2.1-4).
func TestIdentifiersInFlightAreNotUsedAgain(t *testing.T) {
	s := &session{lastID: 65534, flight: map[uint16]*delivery{65535: {}, 1: {}, 3: {}}}
	if a, b := s.nextID(), s.nextID(); a != 2 || b != 4 {
		t.Errorf("got %d and %d, want 2 and 4", a, b)
	}
}

// A client that does not acknowledge gets a window of messages; the others wait for it, and nobody else does.
func TestAClientThatDoesNotAcknowledgeWaitsAlone(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Window = 5 })
	lazy := s.client(4, "lazy")
	lazy.Send(raw.Subscribe(1, nil, "a", 1))
	lazy.Want("9003000101")
	prompt := s.subscribed(1, "a")
	for i := range 20 {
		s.publish("a", fmt.Sprint(i), 1, false)
	}
	prompt.WaitCount(20, raw.Patience)
	var ids []uint16
	for range 5 {
		ids = append(ids, idOf(lazy.WantType(0x32)))
	}
	lazy.Ping()
	for i := 5; i < 20; i++ {
		lazy.Send(raw.Packet(0x40, raw.U16(ids[0])))
		p := lazy.WantType(0x32)
		ids = append(ids[1:], idOf(p))
		if !strings.HasSuffix(string(p), fmt.Sprint(i)) {
			t.Fatalf("got %q, want message %d", p, i)
		}
	}
}

// What a client cannot take is not sent to it, and the next message is.
func TestMaximumPacketSizeOfAClientIsKept(t *testing.T) {
	s := start(t)
	c := s.client(5, "c", raw.Prop32(39, 100))
	c.Send(raw.Subscribe(1, raw.Props(), "a", 1))
	c.Want("900400010001")
	size := len(raw.Publish(2, "a", 1, raw.Props(), ""))
	s.publish("a", strings.Repeat("x", 101-size), 1, false)
	s.publish("a", strings.Repeat("y", 100-size), 1, false)
	p := c.WantType(0x32)
	if len(p) != 100 || p[99] != 'y' {
		t.Errorf("got %q, want the message that fits", p)
	}
	if got := s.droppedNow(); got != 1 {
		t.Errorf("got %d dropped messages, want 1", got)
	}
	filters := bytes.Repeat(raw.Join(raw.Text("a"), []byte{0}), 100)
	c.Send(raw.Packet(0x82, raw.U16(1), raw.Props(), filters)) // whose SUBACK has more than 100 bytes
	c.Ping()
	c.Send([]byte{0, 0})
	if p := c.WantType(0xE0); len(p) > 100 {
		t.Errorf("got a DISCONNECT of %d bytes, want at most 100", len(p))
	}
}

// A client that reads nothing costs the others nothing: no publisher waits for it, and of what waits for it no more is
// kept than the limit says.
func TestAStalledClientStallsNobody(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		s := start(t, func(o *Options) { o.Limits.QueueBytes = 4 << 20 })
		stalled := s.client(4, "stalled")
		stalled.Send(raw.Subscribe(1, nil, "a/#", qos))
		prompt := s.subscribed(qos, "a/#")
		p := brokertest.Dial(t, s.addr)
		payload := []byte(strings.Repeat("x", 100_000))
		const n = 500
		for i := range n { // each is confirmed before the next, so that the prompt client keeps up
			if err := p.Publish(fmt.Sprint("a/", i), payload, 1, false); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if i%10 == 9 {
				prompt.WaitCount(i+1, raw.Patience)
			}
		}
		if held, limit := s.heldNow(), int64(5<<20); held > limit {
			t.Errorf("QoS %d: got %d bytes held, want at most %d", qos, held, limit)
		}
		if got := s.droppedNow(); got == 0 {
			t.Errorf("QoS %d: no message was counted as dropped", qos)
		}
		if log := s.log.String(); !strings.Contains(log, "messages for a client are dropped") || strings.Count(log, "client=") != strings.Count(log, "client=stalled") {
			t.Errorf("QoS %d: got log %q, want it to say whose messages are dropped", qos, log)
		}
		_ = stalled.Close()
		eventually(t, "what was held is given back", func() bool { return s.heldNow() == 0 })
	}
}

// Clients that stand still, and sessions that nobody fetches, cannot use up what those need that do not: the one that
// holds the most is cut off.
func TestStalledClientsLeaveRoomForOthers(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Held = 8 << 20 })
	p := brokertest.Dial(t, s.addr)
	prompt := s.subscribed(1, "large")
	for i := range 8 {
		version := byte(4 + i%2)
		stalled := raw.Client(t, s.addr, version, fmt.Sprint("stalled ", i), byte(i/2%2*2), props5(version, raw.Prop32(17, never))...)
		stalled.Send(raw.Subscribe(1, props(version), fmt.Sprint("own/", i), 1))
		stalled.WantType(0x90)
		if i%3 == 0 {
			_ = stalled.Close()
		}
		for range 60 {
			if err := p.Publish(fmt.Sprint("own/", i), make([]byte, 100_000), 1, false); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Publish("large", make([]byte, 200_000), 1, false); err != nil {
			t.Fatal(err)
		}
		prompt.WaitCount(i+1, raw.Patience)
		if err := s.consistent(); err != nil {
			t.Fatal(err)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "is cut off") || s.droppedNow() == 0 {
		t.Errorf("got log %q and %d dropped messages, want it to say who was cut off", log, s.droppedNow())
	}
}

// Answers are not kept for a client that does not read them, beyond a limit: no more is read from it.
func TestAnswersThatNobodyReadsAreBounded(t *testing.T) {
	s := start(t)
	client, server := net.Pipe() // has no buffers of its own
	go s.admit(server).serve()
	c := raw.Wrap(t, client, 4)
	c.Send(raw.Connect(4, 2, nil, "c"))
	c.Accepted()
	pings := bytes.Repeat([]byte{0xC0, 0}, DefaultLimits().Answers) // twice the limit
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	if n, err := c.Write(pings); err == nil {
		t.Errorf("all %d bytes were read, want the broker to stop", n)
	}
	waiting := s.figure(func() int64 { return int64(s.sessions["c"].conn.answerBytes) })
	if limit := int64(DefaultLimits().Answers); waiting < limit/2 || waiting > limit+2 {
		t.Errorf("got %d bytes of answers, want them to be about %d", waiting, limit)
	}
	s.healthy()
	for range waiting / 2 { // it goes on when they are read
		c.Want("d000")
	}
}

// A client that goes while the broker waits for it to read its answers is noticed.
func TestAClientThatGoesWithItsAnswersUnreadIsNoticed(t *testing.T) {
	s := start(t)
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.admit(server).serve()
	}()
	c := raw.Wrap(t, client, 4)
	c.Send(raw.Connect(4, 2, nil, "c"))
	c.Accepted()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(bytes.Repeat([]byte{0xC0, 0}, DefaultLimits().Answers))
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(raw.Patience):
		t.Fatal("the connection still counts")
	}
}
