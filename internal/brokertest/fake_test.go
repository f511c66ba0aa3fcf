package brokertest

import (
	"errors"
	"testing"
	"time"
)

func TestFakeRefusesTheSubscription(t *testing.T) {
	f := StartFake(t, func(c *FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		_ = c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != SUBSCRIBE {
				return false
			}
			return c.Suback(uint16(body[0])<<8|uint16(body[1]), 0x80) == nil
		})
	})
	c := Dial(t, f.URL())
	if got := c.Subscribe("a", 1); got != 0x80 {
		t.Fatalf("SUBACK: got %#x, want 0x80", got)
	}
	if err := c.Publish("a", nil, 1, false); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish("a", nil, 2, false); err != nil {
		t.Fatal(err)
	}
	if err := c.Unsubscribe("a"); err != nil {
		t.Fatal(err)
	}
	if got := f.Connections(); got != 1 {
		t.Fatalf("connections: got %d, want 1", got)
	}
}

func TestFakeRefusesTheConnect(t *testing.T) {
	f := StartFake(t, func(c *FakeConn) { _ = c.AcceptConnect(4) })
	if _, err := TryDial(t, f.Addr()); err != ConnackError(4) {
		t.Fatalf("got %v, want CONNACK 4", err)
	}
}

func TestFakePublishesAndBreaks(t *testing.T) {
	f := StartFake(t, func(c *FakeConn) {
		if c.AcceptConnect(0) != nil || c.Publish(7, "a/b", []byte("x"), 1, true) != nil {
			return
		}
		if kind, _, body, err := c.ReadPacket(); err != nil || kind != PUBACK || body[1] != 7 {
			return
		}
		_ = c.Write([]byte{PUBLISH << 4, 0xff, 0xff, 0xff, 0xff, 0x01}) // a length of five bytes
		_, _, _, _ = c.ReadPacket()
	})
	c := Dial(t, f.Addr())
	if m := c.WaitCount(1, 5*time.Second)[0]; m.Topic != "a/b" || !m.Retain {
		t.Fatalf("got %+v", m)
	}
	select {
	case <-c.Lost():
	case <-time.After(5 * time.Second):
		t.Fatal("a malformed packet did not end the connection")
	}
	if err := c.Publish("a", nil, 1, false); !errors.Is(err, ErrLost) {
		t.Fatalf("got %v, want %v", err, ErrLost)
	}
}
