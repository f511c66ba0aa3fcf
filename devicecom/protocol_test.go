package devicecom

import (
	"errors"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// What is no confirmation of a message by MQTT's rules confirms nothing, and the
// connection ends with it.
func TestProtocolErrorsConfirmNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		qos   byte
		reply func(c *brokertest.FakeConn, id uint16) error
	}{
		"PUBCOMP without PUBREC": {2, func(c *brokertest.FakeConn, id uint16) error { return c.Ack(brokertest.PUBCOMP, id) }},
		"PUBACK at QoS 2":        {2, func(c *brokertest.FakeConn, id uint16) error { return c.Puback(id) }},
		"PUBREC at QoS 1":        {1, func(c *brokertest.FakeConn, id uint16) error { return c.Ack(brokertest.PUBREC, id) }},
		"PUBCOMP at QoS 1":       {1, func(c *brokertest.FakeConn, id uint16) error { return c.Ack(brokertest.PUBCOMP, id) }},
		"a second CONNACK":       {1, func(c *brokertest.FakeConn, _ uint16) error { return c.Write([]byte{0x20, 2, 0, 0}) }},
	} {
		t.Run(name, func(t *testing.T) {
			fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
				if c.AcceptConnect(0) != nil {
					return
				}
				_ = c.Serve(func(kind, _ byte, body []byte) bool {
					if kind != brokertest.PUBLISH || c.Number > 1 {
						return false
					}
					at := 2 + int(body[0])<<8 + int(body[1])
					return tc.reply(c, uint16(body[at])<<8|uint16(body[at+1])) == nil
				})
			})
			vals, book := logged(t, fake.Addr(), Options{})
			err := vals.Publish(within(t), "a", 1, QoS(tc.qos))
			if !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "the broker sent a packet of type") {
				t.Fatalf("got %v, want ErrUnknownOutcome and what the broker sent", err)
			}
			book.wait(t, againLine, 1)
			if err := vals.Publish(within(t), "a", 2, QoS(tc.qos)); err != nil {
				t.Errorf("on the next connection: got %v", err)
			}
		})
	}
}
