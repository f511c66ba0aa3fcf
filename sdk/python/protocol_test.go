package devicecom_test

import (
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// A broker may only deliver at the QoS of the subscription, which is 0. One
// that does otherwise is answered as MQTT says, and a QoS 2 message that comes
// twice is handed out once.
func TestInboundQoSIsAcknowledged(t *testing.T) {
	t.Parallel()
	acks := make(chan byte, 10)
	f := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		_ = c.Serve(func(kind, _ byte, body []byte) bool {
			switch kind {
			case brokertest.SUBSCRIBE:
				_ = c.Suback(uint16(body[0])<<8|uint16(body[1]), 0)
				_ = c.Publish(1, "one", []byte("1"), 1, false)
				_ = c.Publish(2, "two", []byte("2"), 2, true)
				_ = c.Publish(2, "two", []byte("2"), 2, true)
			case brokertest.PUBACK, brokertest.PUBREC, brokertest.PUBCOMP:
				acks <- kind
				if kind == brokertest.PUBREC && len(acks) == 3 {
					_ = c.Ack(brokertest.PUBREL, 2)
				}
				if kind == brokertest.PUBCOMP {
					_ = c.Publish(2, "two", []byte("3"), 2, false) // the id is free again
					_ = c.Publish(0, "end", nil, 0, false)
				}
			default:
				return false
			}
			return true
		})
	})
	start(t, ini(f.Addr()), `
from device_com import connect_broker

for m in connect_broker().messages():
    print(m)
    if m.topic == "end":
        break
`).ends(0, `Message(topic='one', value=1, qos=1, retain=False)
Message(topic='two', value=2, qos=2, retain=True)
Message(topic='two', value=3, qos=2, retain=False)
Message(topic='end', value='', qos=0, retain=False)
`)
	for i, want := range []byte{brokertest.PUBACK, brokertest.PUBREC, brokertest.PUBREC, brokertest.PUBCOMP, brokertest.PUBREC} {
		if got := <-acks; got != want {
			t.Errorf("acknowledgement %d: got type %d, want %d", i, got, want)
		}
	}
}

// What a broker must not send ends the connection, and never confirms anything.
func TestProtocolErrorsConfirmNothing(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]func(c *brokertest.FakeConn, id uint16) error{
		"PUBCOMP without PUBREC": func(c *brokertest.FakeConn, id uint16) error { return c.Ack(brokertest.PUBCOMP, id) },
		"PUBACK at QoS 2":        func(c *brokertest.FakeConn, id uint16) error { return c.Puback(id) },
		"PUBACK of another":      func(c *brokertest.FakeConn, id uint16) error { return c.Puback(id + 1) },
		"a second CONNACK":       func(c *brokertest.FakeConn, _ uint16) error { return c.Write([]byte{0x20, 2, 0, 0}) },
		"a short PUBREC":         func(c *brokertest.FakeConn, _ uint16) error { return c.Write([]byte{0x50, 1, 0}) },
		"an endless length":      func(c *brokertest.FakeConn, _ uint16) error { return c.Write([]byte{0x30, 255, 255, 255, 255, 1}) },
		"a topic that is no text": func(c *brokertest.FakeConn, _ uint16) error {
			return c.Write([]byte{0x30, 4, 0, 2, 0xff, 0xff})
		},
		"a PUBLISH of QoS 3":         func(c *brokertest.FakeConn, _ uint16) error { return c.Write([]byte{0x36, 5, 0, 1, 'a', 0, 1}) },
		"a PUBLISH cut in the topic": func(c *brokertest.FakeConn, _ uint16) error { return c.Write([]byte{0x30, 3, 0, 9, 'a'}) },
	} {
		t.Run(name, func(t *testing.T) {
			f := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
				if c.AcceptConnect(0) != nil {
					return
				}
				_ = c.Serve(func(kind, _ byte, body []byte) bool {
					if kind != brokertest.PUBLISH {
						return false
					}
					at := 2 + int(body[0])<<8 + int(body[1])
					return reply(c, uint16(body[at])<<8|uint16(body[at+1])) == nil
				})
			})
			p := start(t, ini(f.Addr()), `
import device_com

try:
    device_com.publish("a", 1, qos=2)
except device_com.OutcomeUnknown as e:
    print("unknown")
`)
			if got := p.status(); got != 0 || p.out.String() != "unknown\n" || !strings.Contains(p.err.String(), "the broker sent ") {
				t.Errorf("got status %d, want 0, unknown, and a line that names the broker; got\n%s", got, p)
			}
		})
	}
}

// A message of many megabytes is not kept in memory; it is told and counted.
func TestTooLargeMessageIsLeftOut(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Set("max_packet_size", "40000000"))
	c := brokertest.Dial(t, b.URL())
	p := start(t, ini(b.Addr()), `
from device_com import connect_broker

vals = connect_broker()
print(vals, vals.skipped)
`)
	waitSubscribed(t, b, 1)
	send(t, c, "a", strings.Repeat("x", 20<<20))
	send(t, c, "a", "1")
	if got := p.status(); got != 0 || p.out.String() != "1 1\n" || !strings.Contains(p.err.String(), "is larger than 16 MiB, and was left out\n") {
		t.Errorf("got status %d, want 0, 1 1 and a line that says so; got\n%.2000s", got, p)
	}
}

// A message that the broker does not take costs the connection, which comes
// back; whether it has arrived is for nobody to know.
func TestMessageTooLargeForTheBrokerIsUnknown(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	p := start(t, ini(b.Addr()), `
import device_com

try:
    device_com.publish("a", "x" * 2000000)
except device_com.DeviceError as e:
    print(type(e).__name__)
while True:
    try:
        device_com.publish("a", "small")
        break
    except device_com.NotConnected:
        pass
print("goes on")
`)
	if got := p.status(); got != 0 || !strings.HasSuffix(p.out.String(), "goes on\n") {
		t.Errorf("got status %d, want 0 and goes on; got\n%s", got, p)
	}
	if first, _, _ := strings.Cut(p.out.String(), "\n"); first != "OutcomeUnknown" && first != "NotConnected" {
		t.Errorf("got %s, want OutcomeUnknown, or NotConnected where the broker closed before all was sent", first)
	}
}
