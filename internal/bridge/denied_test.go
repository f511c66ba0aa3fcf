package bridge

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// closesOn is a broker that answers what matches by closing the connection, and grants everything else.
func closesOn(t *testing.T, broker *brokertest.Broker, refuse func(packet []byte) bool) string {
	proxy := brokertest.StartProxy(t, broker.Addr())
	proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if dir == brokertest.Up && refuse(packet) {
			return nil, brokertest.CutNow
		}
		return nil, brokertest.Pass
	})
	return proxy.URL()
}

// A broker may close the connection on a publish without rights, and the gateway's own topic is one of those that it may
// not grant: retained messages come without it, no filter is taken for the guilty one, and the links stay.
func TestBrokerThatClosesOnTheGatewaysOwnMessageIsUsedWithoutIt(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	url := closesOn(t, broker, func(p []byte) bool {
		return brokertest.PacketType(p) == brokertest.PUBLISH && bytes.Contains(p, []byte("$gateway/"))
	})
	bothVersions(t, func(t *testing.T, v mqtt.Version) { testWithoutFences(t, url, v, true) })
}

// So may one that takes QoS 0 only.
func TestBrokerOfQoS0AloneIsUsed(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, brokertest.Conf("max_qos 0"))
	bothVersions(t, func(t *testing.T, v mqtt.Version) { testWithoutFences(t, broker.URL(), v, false) })
}

func testWithoutFences(t *testing.T, url string, v mqtt.Version, warn bool) {
	b := launch(t, url, Config{Version: v, Pool: 1}, func(b *Bridge) { b.timing.selfTest = patience }).ready(t)
	eventually(t, "kept", func() bool {
		return b.publish(t, Message{Topic: "kept/1", Payload: []byte("1"), Retain: true}) == nil
	})
	b.waitStatus(t, "tested", func(s Status) bool { return s.Tested })
	waitControl(t, b)
	for range 3 {
		if err := b.Want(within(t), "kept/+"); err != nil {
			t.Fatal(err)
		}
		got, err := b.Retained(within(t), "kept/+")
		if err != nil || len(got) != 1 || string(got[0].Payload) != "1" {
			t.Errorf("retained: got %v, %v", got, err)
		}
	}
	if got := b.Stats().Reconnects; got > 4*resetsOfTheGuilty { // at QoS 1 and at QoS 0, on a busy machine not all at once
		t.Errorf("reconnects: got %d", got)
	}
	if got := b.Status().Warning; (got != "") != warn || warn && !strings.Contains(got, "$gateway/#") {
		t.Errorf("warning: got %q, want one: %t", got, warn)
	}
}

// A broker that says that it has no wildcards may close the connection on one. It is not asked.
func TestWildcardsAreNotAskedForWhereThereAreNone(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if _, _, _, err := c.ReadPacket(); err != nil {
			return
		}
		c.Write([]byte{brokertest.CONNACK << 4, 5, 0, 0, 2, 40, 0})
		c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.SUBSCRIBE {
				return false
			}
			filters, _ := c.Filters(body)
			wild := strings.ContainsAny(strings.Join(filters, ""), "+#")
			if wild {
				asked.Add(1)
				c.Close()
			}
			return wild
		})
	})
	b := launch(t, broker.URL(), Config{Version: mqtt.V5, Pool: 1, Watch: []string{"#", "plain"}})
	b.waitStatus(t, "says what is refused", func(s Status) bool { return slices.Equal(s.SubscribeRefused, []string{"#"}) })
	eventually(t, "the rest is subscribed", b.inbound.isUp)
	waitControl(t, b)
	if _, err := b.Retained(within(t), "a/+"); err != ErrRefused {
		t.Errorf("retained: got %v, want %v", err, ErrRefused)
	}
	if got, n := b.Stats(), asked.Load(); got.UpstreamFilters != 1 || got.Reconnects+uint64(n) != 0 {
		t.Errorf("got %d filters, asked for a wildcard %d times, %d reconnects", got.UpstreamFilters, n, got.Reconnects)
	}
}

// A broker may refuse a filter in its SUBACK and close the connection as well. It is asked once, not again and again.
func TestFilterThatIsRefusedAndClosedOnIsAskedForOnce(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, v mqtt.Version) {
		var asked atomic.Int32
		broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
			if c.AcceptConnect(0) != nil {
				return
			}
			c.Serve(func(kind, _ byte, body []byte) bool {
				if kind != brokertest.SUBSCRIBE {
					return false
				}
				filters, codes := c.Filters(body)
				secret := false
				for i, f := range filters {
					if codes[i] = 0; strings.HasPrefix(f, "secret/") {
						secret, codes[i] = true, 0x80
					}
				}
				c.Suback(uint16(body[0])<<8|uint16(body[1]), codes...)
				if secret {
					asked.Add(1)
					c.Close()
				}
				return true
			})
		})
		b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"open/#", "secret/#"}}, func(b *Bridge) {
			b.timing.selfTest, b.timing.fenceFirst = 100*time.Millisecond, 100*time.Millisecond
		})
		b.waitStatus(t, "says what is refused", func(s Status) bool { return slices.Equal(s.SubscribeRefused, []string{"secret/#"}) && b.inbound.isUp() })
		waitControl(t, b)
		eventually(t, "copies to be refused", func() bool {
			_, err := b.Retained(within(t), "secret/1")
			return err == ErrRefused
		})
		before := asked.Load()
		for range 5 {
			waitControl(t, b)
			if _, err := b.Retained(within(t), "secret/1"); err != ErrRefused && err != ErrNoConnection {
				t.Errorf("again: got %v, want %v", err, ErrRefused)
			}
		}
		if got := asked.Load(); got > 3 || got > before+1 {
			t.Errorf("asked %d times, then %d, want once on each connection, or twice", before, got)
		}
	})
}

// A link that ends while copies come has not ended on the filter, which the broker has granted.
func TestFilterThatWasGrantedIsNotBlamedForTheEnd(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	if err := brokertest.Dial(t, broker.Addr()).Publish("kept/1", []byte("1"), 1, true); err != nil {
		t.Fatal(err)
	}
	proxy := brokertest.StartProxy(t, broker.Addr())
	var cut atomic.Bool
	proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if dir == brokertest.Down && brokertest.PacketType(packet) == brokertest.PUBLISH && bytes.Contains(packet, []byte("kept/1")) && !cut.Swap(true) {
			return nil, brokertest.CutNow
		}
		return nil, brokertest.Pass
	})
	b := launch(t, proxy.URL(), Config{Version: mqtt.V5, Pool: 1, Watch: []string{"#"}}).ready(t)
	b.waitStatus(t, "tested", func(s Status) bool { return s.Tested })
	_, err := b.Retained(within(t), "kept/+")
	wantErr(t, "cut", err, ErrNoConnection)
	eventually(t, "the copy", func() bool {
		got, err := b.Retained(within(t), "kept/+")
		if err == ErrRefused {
			t.Fatal("the filter is refused")
		}
		return len(got) == 1
	})
}

// A broker may refuse a message in its PUBACK and close the connection as well: that costs the others one connection.
func TestMessageThatIsRefusedAndClosedOnIsNotSentAgain(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.PUBLISH || !bytes.HasPrefix(body[2:], []byte("bad")) {
				return false
			}
			c.Write([]byte{brokertest.PUBACK << 4, 3, body[5], body[6], byte(mqtt.NotAuthorized)})
			c.Close()
			return true
		})
	})
	b := launch(t, broker.URL(), Config{Version: mqtt.V5, Pool: 1}).ready(t)
	for range 5 {
		eventually(t, "a connection that publishes", func() bool { return b.send("good", "1", 1) == nil })
		refusal, ok := errors.AsType[*Refusal](b.send("bad", "1", 1))
		if !ok || refusal.Reason != mqtt.NotAuthorized {
			t.Fatalf("got %+v, want a refusal with the broker's reason", refusal)
		}
		eventually(t, "the end of the connection, or none", func() bool { return b.Stats().Reconnects > 0 })
	}
	if got := b.Stats().Reconnects; got > 2 { // or the link ended late, on a busy machine
		t.Errorf("reconnects: got %d, want 1", got)
	}
}

// A network resets connections, too: a filter is not taken for the cause the first time, or what is watched would not be
// received for as long as the next link lives.
func TestResetOnceIsNoProofAgainstAFilter(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v mqtt.Version) {
		proxy := brokertest.StartProxy(t, broker.Addr())
		var cut atomic.Bool
		proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
			if dir == brokertest.Up && brokertest.PacketType(packet) == brokertest.SUBSCRIBE && bytes.Contains(packet, []byte("watched")) && !cut.Swap(true) {
				return nil, brokertest.CutNow
			}
			return nil, brokertest.Pass
		})
		b := launch(t, proxy.URL(), Config{Version: v, Pool: 1})
		b.waitStatus(t, "ready", func(s Status) bool { return s.Publish && s.Subscribe })
		waitControl(t, b)
		if err := b.Want(within(t), "watched"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the filter to be subscribed", func() bool { return b.Stats().UpstreamFilters == 1 && b.inbound.isUp() })
		cut.Store(false)
		if _, err := b.Retained(within(t), "watched"); err != ErrNoConnection {
			t.Errorf("copies: got %v, want %v", err, ErrNoConnection)
		}
		eventually(t, "copies", func() bool {
			_, err := b.Retained(within(t), "watched")
			if err == ErrRefused {
				t.Fatal("the filter is refused")
			}
			return err == nil
		})
	})
}
