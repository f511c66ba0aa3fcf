package broker

import (
	"encoding/hex"
	"strings"
	"testing"

	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// The packets that end brokers that read beyond them: a filter without options, and an empty one at that.
func TestSubscribeWithoutOptionsEndsOnlyItsConnection(t *testing.T) {
	for name, packet := range map[string][]byte{
		"empty filter": {0x82, 5, 0, 1, 0, 0, 0},
		"filter":       {0x82, 6, 0, 1, 0, 0, 1, 'a'},
	} {
		s := start(t)
		other := s.client(4, "other")
		c := s.client(5, "hostile")
		c.Send(packet)
		c.WantEnd(0x81)
		other.Ping()
		s.healthy()
		if got := s.log.String(); !strings.Contains(got, "client=hostile") || !strings.Contains(got, "filter") && !strings.Contains(got, "options") {
			t.Errorf("%s: got log %q, want who was disconnected and why", name, got)
		}
	}
}

// What is wrong is answered as far as the version has an answer, and then the connection ends.
func TestBrokenPacketsAreAnswered(t *testing.T) {
	for name, tt := range map[string]struct {
		packet []byte
		reason byte
	}{
		"malformed":                {[]byte{0x30, 0}, 0x81},
		"protocol error":           {raw.Subscribe(0, raw.Props(), "a", 0), 0x82},
		"second CONNECT":           {raw.Connect(5, 2, nil, "x"), 0x82},
		"AUTH":                     {[]byte{0xF0, 1, 0x19}, 0x82},
		"topic alias":              {raw.Publish(0, "a", 0, raw.Props(raw.Prop16(35, 1)), ""), 0x94},
		"too large":                {[]byte{0x30, 0x80, 0x80, 0x80, 0x08}, 0x95},
		"session kept by farewell": {raw.Packet(0xE0, []byte{0}, raw.Props(raw.Prop32(17, 1))), 0x82},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := s.client(5, "c")
			c.Send(tt.packet, make([]byte, 5000)) // bytes that are never read must not swallow the answer
			c.WantEnd(tt.reason)
			old := s.client(4, "c")
			old.Send([]byte{0x30, 0})
			old.WantEnd(0)
			s.healthy()
		})
	}
}

func TestRefusedConnectsAreAnswered(t *testing.T) {
	s := start(t)
	protocol := func(name string, level byte) []byte {
		return raw.Packet(0x10, raw.Text(name), []byte{level, 2, 0, 0}, raw.Text("a"))
	}
	for name, tt := range map[string]struct {
		version byte
		packet  []byte
		want    string // hexadecimal; "": the connection is closed without an answer
	}{
		"level 0x82":           {4, protocol("MQTT", 0x82), "20020001"},
		"a bridge's level":     {4, protocol("MQTT", 0x84), "20020001"},
		"level 6":              {4, protocol("MQTT", 6), "20020001"},
		"a 3.1 bridge's level": {4, protocol("MQIsdp", 0x83), "20020001"},
		"level 0":              {4, protocol("MQTT", 0), "20020001"},
		"another protocol":     {4, protocol("AMQP", 4), ""},
		"no identifier":        {4, raw.Connect(4, 0, nil, ""), "20020002"},
		"no identifier, 3.1":   {3, raw.Connect(3, 2, nil, ""), "20020002"},
		"malformed":            {4, raw.Connect(4, 3, nil, "a"), ""},
		"something else":       {4, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), ""},
		"PUBLISH first":        {4, raw.Publish(0, "a", 0, nil, ""), ""},
		"malformed 5":          {5, raw.Connect(5, 3, nil, "a"), "81"},
		"authentication of 5":  {5, raw.Connect(5, 2, raw.Props([]byte{21}, raw.Text("SCRAM")), "a"), "8c"},
	} {
		c := raw.Dial(t, s.addr, tt.version)
		c.Send(tt.packet)
		p, err := c.TryNext(raw.Patience)
		switch {
		case tt.want == "":
			if err == nil {
				t.Errorf("%s: got packet %x, want the end", name, p)
			}
		case err != nil:
			t.Errorf("%s: got error %v, want a CONNACK", name, err)
		case tt.version == 5:
			if p[0] != 0x20 || p[2] != 0 || hex.EncodeToString(p[3:4]) != tt.want {
				t.Errorf("%s: got packet %x, want a CONNACK with reason %s", name, p, tt.want)
			}
		default:
			if got := hex.EncodeToString(p); got != tt.want {
				t.Errorf("%s: got packet %s, want %s", name, got, tt.want)
			}
		}
		if _, err := c.TryNext(raw.Patience); err == nil {
			t.Errorf("%s: the connection is still open", name)
		}
	}
	s.healthy()
}

// An answer has its reason, and nothing of what was sent is in it.
func TestPubackHasItsReasonAndNoProperties(t *testing.T) {
	s := start(t)
	c := s.client(5, "c")
	p := raw.Props(raw.User("name", "value"), []byte{3}, raw.Text("text/plain"))
	c.Send(raw.Publish(2, "a", 1, p, "x"))
	c.Want("4003000110") // no matching subscribers
	c.Send(raw.Publish(4, "a", 2, p, "x"))
	c.Want("5003000210")
	c.Send([]byte{0x62, 2, 0, 2})
	c.Want("70020002")
	sub := s.client(5, "sub")
	sub.Send(raw.Subscribe(1, raw.Props(raw.User("name", "value")), "a", 0))
	sub.Want("9004000100" + "00")
	c.Send(raw.Publish(2, "a", 3, p, "x"))
	c.Want("40020003")
	sub.Want(hex.EncodeToString(raw.Publish(0, "a", 0, p, "x")))
	c.Send(raw.Packet(0xA2, raw.U16(4), raw.Props(raw.User("name", "value")), raw.Text("a"), raw.Text("a")))
	c.Want("b0050004001111")
}

// However a connection ends, nothing of it stays.
func TestNothingStaysOfConnectionsThatEnd(t *testing.T) {
	s := start(t)
	var last *raw.Conn
	for i := range 60 {
		v := byte(4 + i%2)
		last = s.client(v, "same")
		last.Send(raw.Subscribe(1, props(v), "a/#", 2), raw.Subscribe(2, props(v), "$share/g/a/#", 2), raw.Publish(4, "a/b", 9, props(v), "x"))
		switch i % 4 {
		case 0:
			_ = last.Close()
		case 1:
			last.Send([]byte{0xE0, 0})
		case 2:
			last.Send([]byte{0, 0})
		case 3: // the next one takes its place
		}
	}
	_ = last.Close()
	eventually(t, "everything is given back", func() bool {
		return s.figure(func() int64 {
			return int64(len(s.conns)+len(s.connecting)+len(s.sessions)+s.offline+len(s.groups)+s.subscriptions.Len()) + s.subscriptionBytes + s.held
		}) == 0
	})
	s.healthy()
}
