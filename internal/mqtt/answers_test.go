package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// fake accepts in either version and then lets serve answer each packet.
func fake(t *testing.T, v Version, connack []byte, serve func(c *brokertest.FakeConn, kind, flags byte, body []byte)) *brokertest.Fake {
	return brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if _, _, _, err := c.ReadPacket(); err != nil {
			return
		}
		if connack == nil {
			connack = accepted(v)
		}
		c.Write(connack)
		for {
			kind, flags, body, err := c.ReadPacket()
			if err != nil || kind == brokertest.DISCONNECT {
				return
			}
			serve(c, kind, flags, body)
		}
	})
}

// Every packet that answers a message can refuse it; a PUBREC that does ends the message's way, and its identifier and
// its place in the window are free again.
func TestReasonCodesOfEveryAnswerAreHeard(t *testing.T) {
	for _, test := range []struct {
		qos      byte
		pubrec   byte
		final    byte
		want     ReasonCode
		by       PacketType
		released bool
	}{
		{1, 0, 0x87, NotAuthorized, PUBACK, false},
		{1, 0, 0x10, NoSubscribers, 0, false},
		{1, 0, 0x01, 1, 0, false}, // of a broker that invents codes: no failure
		{2, 0x97, 0, QuotaExceeded, PUBREC, false},
		{2, 0x10, 0, NoSubscribers, 0, true},
		{2, 0, 0x92, IDNotFound, PUBCOMP, true},
		{2, 0x01, 0, 1, 0, true},
	} {
		var released atomic.Bool
		broker := fake(t, V5, []byte{0x20, 6, 0, 0, 3, 0x21, 0, 1}, func(c *brokertest.FakeConn, kind, _ byte, body []byte) {
			switch kind {
			case brokertest.PUBLISH:
				first, code := byte(0x40), test.final
				if test.qos == 2 {
					first, code = 0x50, test.pubrec
				}
				c.Write([]byte{first, 4, body[3], body[4], code, 0})
			case brokertest.PUBREL:
				released.Store(true)
				c.Write([]byte{0x70, 3, body[0], body[1], test.final})
			}
		})
		c := dial(t, broker.URL(), V5)
		for range 3 { // the window is 1
			code, err := outcome(t, c, Message{Topic: "a", QoS: test.qos})
			refusal, refused := errors.AsType[*Refusal](err)
			if code != test.want || refused != (test.by != 0) || refused && (refusal.By != test.by || refusal.Reason != test.want) {
				t.Errorf("%+v: got %v, %v", test, code, err)
			}
		}
		c.Close()
		if released.Load() != test.released {
			t.Errorf("%+v: got PUBREL %t", test, released.Load())
		}
	}
}

// What is waiting when a connection ends is told so, with the reason.
func TestRequestsEndWithTheConnection(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		broker := fake(t, v, nil, func(c *brokertest.FakeConn, kind, _ byte, _ []byte) {
			if kind == brokertest.UNSUBSCRIBE {
				c.Close()
			}
		})
		c := dial(t, broker.URL(), v)
		done := make(chan error)
		go func() {
			_, err := c.Subscribe(within(t), []Filter{{Filter: "a"}})
			done <- err
		}()
		p := NewPublication(Message{Topic: "a", QoS: 1})
		c.Publish(p)
		_, err := c.Unsubscribe(within(t), []string{"a"})
		if cause := c.Err(); cause == nil || !errors.Is(err, cause) || !errors.Is(<-done, cause) {
			t.Errorf("got %v, want %v", err, c.Err())
		}
		<-p.Done()
		if _, err := p.Outcome(); err != ErrUnknown {
			t.Errorf("publication: got %v", err)
		}
	})
}

// A caller that gives up leaves the connection alone; a broker that never answers does not.
func TestSubscribeEndsWithItsContextOrItsTime(t *testing.T) {
	broker := fake(t, V5, nil, func(*brokertest.FakeConn, byte, byte, []byte) {})
	c := dial(t, broker.URL(), V5, func(c *Config) { c.AnswerTime = 1 })
	if _, err := c.Subscribe(within(t), []Filter{{Filter: "a"}}); err != ErrSilent || c.Err() != ErrSilent {
		t.Errorf("no answer: got %v, connection %v", err, c.Err())
	}
	c = dial(t, broker.URL(), V5)
	ctx := within(t)
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Subscribe(done, []Filter{{Filter: "a"}}); err != done.Err() || c.Err() != nil {
		t.Errorf("given up: got %v, connection %v", err, c.Err())
	}
	if _, err := c.Subscribe(ctx, nil); err == nil {
		t.Error("no filter: got no error")
	}
}

// A SUBSCRIBE and the message behind it leave in one piece.
func TestMessageFollowsItsSubscribe(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		var mu sync.Mutex
		var order strings.Builder
		broker := fake(t, v, nil, func(c *brokertest.FakeConn, kind, _ byte, body []byte) {
			mu.Lock()
			fmt.Fprint(&order, kind, " ")
			mu.Unlock()
			if kind == brokertest.PUBLISH {
				c.Write([]byte{0x40, 2, body[3], body[4]})
			}
			if kind == brokertest.SUBSCRIBE {
				suback := []byte{0x90, 3, body[0], body[1], 0}
				if v == V5 {
					suback = []byte{0x90, 4, body[0], body[1], 0, 0}
				}
				c.Write(suback)
			}
		})
		c := dial(t, broker.URL(), v)
		for range 50 {
			stop := make(chan struct{})
			go func() {
				for range 5 {
					c.Ping()
				}
				close(stop)
			}()
			p := NewPublication(Message{Topic: "a", QoS: 1})
			if _, err := c.SubscribeThenPublish(within(t), []Filter{{Filter: "a"}}, p); err != nil {
				t.Fatal(err)
			}
			<-p.Done()
			<-stop
		}
		c.Close()
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Count(order.String(), "8 3 "); got != 50 {
			t.Errorf("SUBSCRIBE with its PUBLISH right behind it: got %d of 50: %s", got, order.String())
		}
	})
}

// A broker that has said with its PUBREC that it has a message cannot refuse it any more.
func TestSecondPubrecRefusesNothing(t *testing.T) {
	broker := fake(t, V5, nil, func(c *brokertest.FakeConn, kind, _ byte, body []byte) {
		switch kind {
		case brokertest.PUBLISH:
			c.Write([]byte{0x50, 2, body[3], body[4]})
			c.Write([]byte{0x50, 3, body[3], body[4], 0x91})
		case brokertest.PUBREL:
			c.Write([]byte{0x70, 2, body[0], body[1]})
		}
	})
	if code, err := outcome(t, dial(t, broker.URL(), V5), Message{Topic: "a", QoS: 2}); code != Success || err != nil {
		t.Errorf("got %v, %v, want success", code, err)
	}
}
