package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestMessagesPassARealBrokerAtEveryQoS(t *testing.T) {
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v Version) {
		rec := newRecorder()
		c := dial(t, broker.URL(), v, func(c *Config) { c.Handler = rec })
		codes, err := c.Subscribe(within(t), []Filter{{Filter: "a/#", QoS: 2}, {Filter: "b", QoS: 1}, {Filter: "c", QoS: 0}})
		if want := []ReasonCode{2, 1, 0}; err != nil || !reflect.DeepEqual(codes, want) {
			t.Fatalf("SUBACK: got %v, %v, want %v", codes, err, want)
		}
		for qos := range byte(3) {
			for _, topic := range []string{"a/x", "b", "c"} {
				if code, err := outcome(t, c, Message{Topic: topic, Payload: []byte{qos}, QoS: qos}); err != nil || code != 0 {
					t.Errorf("%s at QoS %d: got %v, %v", topic, qos, code, err)
				}
			}
		}
		got := map[string][]byte{}
		for _, m := range rec.waitCount(t, 9) {
			got[m.Topic] = append(got[m.Topic], m.Payload[0]<<4|m.QoS)
		}
		want := map[string][]byte{"a/x": {0, 0x11, 0x22}, "b": {0, 0x11, 0x21}, "c": {0, 0x10, 0x20}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("payloads and QoS: got %x, want %x", got, want)
		}
		if codes, err := c.Unsubscribe(within(t), []string{"a/#", "never"}); err != nil || len(codes) != 2 || codes[0] != 0 {
			t.Errorf("UNSUBACK: got %v, %v", codes, err)
		}
	})
}

func TestRetainedMessagesAreMarked(t *testing.T) {
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v Version) {
		topic := "kept/" + v.String()
		c := dial(t, broker.URL(), v)
		if _, err := outcome(t, c, Message{Topic: topic, Payload: []byte("1"), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
		rec := newRecorder()
		s := dial(t, broker.URL(), v, func(c *Config) { c.Handler, c.ClientID = rec, "reader" })
		if _, err := s.Subscribe(within(t), []Filter{{Filter: topic, QoS: 1, RetainAsPublished: true}}); err != nil {
			t.Fatal(err)
		}
		rec.waitCount(t, 1)
		if _, err := outcome(t, c, Message{Topic: topic, Payload: []byte("2"), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
		got := rec.waitCount(t, 2)
		if !got[0].Retain || string(got[0].Payload) != "1" {
			t.Errorf("copy: got %+v", got[0])
		}
		if got[1].Retain != (v == V5) { // RetainAsPublished
			t.Errorf("live: got retain %t", got[1].Retain)
		}
	})
}

func TestSubscriptionOptionsAreHonoured(t *testing.T) {
	broker := brokertest.Start(t)
	rec := newRecorder()
	c := dial(t, broker.URL(), V5, func(c *Config) { c.Handler = rec })
	for _, topic := range []string{"kept", "kept2"} {
		if _, err := outcome(t, c, Message{Topic: topic, QoS: 1, Retain: true, Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Subscribe(within(t), []Filter{{Filter: "own", QoS: 1, NoLocal: true}, {Filter: "kept", QoS: 1, RetainHandling: 2},
		{Filter: "kept2", QoS: 1, RetainHandling: 1}, {Filter: "end"}}); err != nil {
		t.Fatal(err)
	}
	outcome(t, c, Message{Topic: "own", QoS: 1})
	outcome(t, c, Message{Topic: "end"})
	got := rec.wait(t, "end", func() bool { return len(rec.messages) > 0 && rec.messages[len(rec.messages)-1].Topic == "end" })
	if len(got) != 2 || got[0].Topic != "kept2" {
		t.Errorf("got %+v, want kept2 and end", got)
	}
}

func TestPropertiesComeBackAsTheyWereSent(t *testing.T) {
	broker := brokertest.Start(t)
	rec := newRecorder()
	c := dial(t, broker.URL(), V5, func(c *Config) { c.Handler = rec })
	if _, err := c.Subscribe(within(t), []Filter{{Filter: "p", QoS: 1}}); err != nil {
		t.Fatal(err)
	}
	want := &Properties{Text: true, Expires: true, Expiry: 4711, ContentType: "image/jpeg", ResponseTopic: "re/ply", Correlation: []byte{0, 1, 0xff},
		User: []UserProperty{{"a", "1"}, {"b", ""}, {"a", "2"}}}
	if _, err := outcome(t, c, Message{Topic: "p", Payload: []byte("x"), QoS: 1, Properties: want}); err != nil {
		t.Fatal(err)
	}
	if got := rec.waitCount(t, 1)[0].Properties; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := outcome(t, c, Message{Topic: "p", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if got := rec.waitCount(t, 2)[1].Properties; got != nil {
		t.Errorf("without: got %+v, want nil", got)
	}
}

func TestNoSubscribersIsToldAndNoFailure(t *testing.T) {
	broker := brokertest.Start(t)
	c := dial(t, broker.URL(), V5)
	if code, err := outcome(t, c, Message{Topic: "nobody", QoS: 1}); code != NoSubscribers || err != nil {
		t.Errorf("got %v, %v, want %v", code, err, NoSubscribers)
	}
}

func TestRefusalNamesTheReason(t *testing.T) {
	broker := brokertest.Start(t, brokertest.Conf("max_packet_size 1000", "retain_available false", "max_qos 1"))
	c := dial(t, broker.URL(), V5)
	for what, test := range map[string]struct {
		m    Message
		want ReasonCode
	}{
		"too large": {Message{Topic: "a", QoS: 1, Payload: make([]byte, 1000)}, PacketTooLarge},
		"QoS 2":     {Message{Topic: "a", QoS: 2}, QoSNotSupported},
		"retain":    {Message{Topic: "a", QoS: 1, Retain: true, Payload: []byte("x")}, RetainNotSupported},
	} {
		code, err := outcome(t, c, test.m)
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok || refusal.Reason != test.want || refusal.By != CONNACK || code != test.want {
			t.Errorf("%s: got %v, %v, want %v", what, code, err, test.want)
		}
	}
	if _, err := outcome(t, c, Message{Topic: "a", QoS: 1, Payload: make([]byte, 900)}); err != nil {
		t.Errorf("what it takes: got %v", err)
	}
	limits := c.Connack()
	if limits.MaximumPacket != 1000 || limits.Retain || limits.MaximumQoS != 1 {
		t.Errorf("limits: got %+v", limits)
	}
}

func TestSessionIsTakenUpAgain(t *testing.T) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	bothVersions(t, func(t *testing.T, v Version) {
		keep := func(rec *recorder) func(*Config) {
			return func(c *Config) {
				c.KeepSession, c.SessionExpiry, c.Handler = true, 3600, rec
			}
		}
		topic := "session/" + v.String()
		c := dial(t, broker.URL(), v, keep(newRecorder()))
		if c.Connack().SessionPresent {
			t.Error("a session before the first connection")
		}
		if _, err := c.Subscribe(within(t), []Filter{{Filter: topic, QoS: 1}}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		for i := range 50 {
			if err := sender.Publish(topic, []byte(strconv.Itoa(i)), 1, false); err != nil {
				t.Fatal(err)
			}
		}
		rec := newRecorder()
		c = dial(t, broker.URL(), v, keep(rec))
		if !c.Connack().SessionPresent {
			t.Error("the session is gone")
		}
		for i, m := range rec.waitCount(t, 50) {
			if string(m.Payload) != strconv.Itoa(i) {
				t.Fatalf("message %d: got %s", i, m.Payload)
			}
		}
		c.Close()
		c = dial(t, broker.URL(), v)
		if c.Connack().SessionPresent {
			t.Error("a clean start has a session")
		}
	})
}

// A burst in both directions over one connection, more than any window: everything is acknowledged, and arrives in order.
func TestBurstIsCompleteAndInOrder(t *testing.T) {
	broker := brokertest.Start(t)
	const n = 5000
	bothVersions(t, func(t *testing.T, v Version) {
		for qos := range byte(3) {
			rec := newRecorder()
			sub := dial(t, broker.URL(), v, func(c *Config) { c.Handler, c.ClientID = rec, fmt.Sprint("sub", qos) })
			if _, err := sub.Subscribe(within(t), []Filter{{Filter: "burst", QoS: qos}}); err != nil {
				t.Fatal(err)
			}
			// A broker may throw away what exceeds its own window at QoS 2, and only MQTT 5 tells how large that is.
			c := dial(t, broker.URL(), v, func(c *Config) { c.Window = 500 })
			var left sync.WaitGroup
			left.Add(n)
			for i := range n {
				p := NewPublication(Message{Topic: "burst", Payload: []byte(strconv.Itoa(i)), QoS: qos})
				p.Owner = owner(func(p *Publication) {
					if _, err := p.Outcome(); err != nil {
						t.Errorf("QoS %d: got %v", qos, err)
					}
					left.Done()
				})
				c.Publish(p)
			}
			left.Wait()
			for i, m := range rec.waitCount(t, n) {
				if string(m.Payload) != strconv.Itoa(i) {
					t.Fatalf("QoS %d, message %d: got %s", qos, i, m.Payload)
				}
			}
			c.Close()
			sub.Close()
		}
	})
}

// The broker's receive maximum bounds what is under way. The broker counts too, and would close the connection.
func TestWindowOfTheBrokerIsKept(t *testing.T) {
	broker := brokertest.Start(t, brokertest.Set("max_inflight_messages", "7"))
	c := dial(t, broker.URL(), V5)
	if got := c.Connack().ReceiveMaximum; got != 7 {
		t.Fatalf("receive maximum: got %d, want 7", got)
	}
	broker.Pause()
	var all []*Publication
	for {
		p := NewPublication(Message{Topic: "a", QoS: 1 + byte(len(all)%2)})
		if !c.TryPublish(p) {
			break
		}
		all = append(all, p)
	}
	if len(all) != 7 {
		t.Errorf("under way: got %d, want 7", len(all))
	}
	if p := NewPublication(Message{Topic: "a"}); !c.TryPublish(p) {
		t.Error("a message of QoS 0 waits for the window")
	}
	broker.Continue()
	for range 1000 {
		p := NewPublication(Message{Topic: "a", QoS: 2})
		c.Publish(p)
		all = append(all, p)
	}
	for i, p := range all {
		<-p.Done()
		if _, err := p.Outcome(); err != nil {
			t.Fatalf("message %d: got %v", i, err)
		}
	}
}

func TestLargeMessagesAreWholeOrSkippedInTheirPlace(t *testing.T) {
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v Version) {
		rec := newRecorder()
		c := dial(t, broker.URL(), v, func(c *Config) { c.Handler, c.MaxPayload = rec, 4<<20 })
		if _, err := c.Subscribe(within(t), []Filter{{Filter: "large", QoS: 2}}); err != nil {
			t.Fatal(err)
		}
		sizes := []int{0, 1, 100_000, 140_000, 4 << 20, 4<<20 + 1, 3 << 20, 9 << 20, 5}
		for i, size := range sizes {
			if _, err := outcome(t, c, Message{Topic: "large", QoS: byte(i % 3), Payload: bytes.Repeat([]byte{byte(i)}, size)}); err != nil {
				t.Fatal(err)
			}
		}
		got := rec.wait(t, "all", func() bool { return len(rec.messages)+len(rec.skipped) == len(sizes) })
		for i, size := range []int{0, 1, 100_000, 140_000, 4 << 20, 3 << 20, 5} {
			if len(got[i].Payload) != size || bytes.Count(got[i].Payload, got[i].Payload[:min(size, 1)]) < size {
				t.Errorf("message %d: got %d bytes, want %d", i, len(got[i].Payload), size)
			}
		}
		if want := (Skipped{Topic: "large", Size: 4<<20 + 1, QoS: 2}); rec.skipped[0] != want {
			t.Errorf("skipped: got %+v, want %+v", rec.skipped[0], want)
		}
		if c.Err() != nil {
			t.Errorf("connection: got %v", c.Err())
		}
	})
}

// A connection that hears much and says nothing stays: brokers count only what clients send.
func TestOneThatOnlyListensIsKeptAlive(t *testing.T) {
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v Version) {
		c := dial(t, broker.URL(), v, func(c *Config) { c.KeepAlive, c.ClientID = 3*time.Second, "listener"+v.String() })
		if _, err := c.Subscribe(within(t), []Filter{{Filter: "tick"}}); err != nil {
			t.Fatal(err)
		}
		sender := brokertest.Dial(t, broker.Addr())
		for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(20 * time.Millisecond) { // more than twice 4.5 s
			sender.Publish("tick", nil, 0, false)
		}
		if err := c.Err(); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeadBrokerIsNoticed(t *testing.T) {
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v Version) {
		c := dial(t, broker.URL(), v, func(c *Config) { c.KeepAlive, c.PingTime = time.Second, time.Second })
		broker.Pause()
		defer broker.Continue()
		wantErr(t, "end", ended(t, c), ErrSilent)
	})
}

func TestRefusedConnectSaysWhy(t *testing.T) {
	broker := brokertest.Start(t, brokertest.Set("allow_anonymous", "false"))
	bothVersions(t, func(t *testing.T, v Version) {
		_, err := tryDial(t, broker.URL(), v)
		refused, ok := errors.AsType[*ConnectError](err)
		if !ok || !refused.Unauthorised() || refused.OtherVersion || err.Error() != "the broker refused the connection: not authorised" {
			t.Errorf("got %#v, %v", err, err)
		}
	})
}

// Close flushes what is pending, and everything has its outcome afterwards.
func TestCloseFlushesAndSettles(t *testing.T) {
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 1)
	bothVersions(t, func(t *testing.T, v Version) {
		oracle.Forget()
		c := dial(t, broker.URL(), v)
		var all []*Publication
		for range 1000 {
			p := NewPublication(Message{Topic: "a", Payload: make([]byte, 100), QoS: byte(len(all) % 2)})
			c.Publish(p)
			all = append(all, p)
		}
		c.Close()
		for i, p := range all {
			select {
			case <-p.Done():
			default:
				t.Fatalf("message %d has no outcome", i)
			}
			if _, err := p.Outcome(); err != nil && err != ErrUnknown {
				t.Errorf("message %d: got %v", i, err)
			}
		}
		oracle.WaitCount(1000, patience)
		wantErr(t, "end", c.Err(), ErrClosed)
		if _, err := outcome(t, c, Message{Topic: "a"}); err != ErrNotSent {
			t.Errorf("after Close: got %v", err)
		}
		if _, err := c.Subscribe(within(t), []Filter{{Filter: "a"}}); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNotSent) {
			t.Errorf("SUBSCRIBE after Close: got %v", err)
		}
	})
}

func TestRoundTripComesBehindWhatWasSent(t *testing.T) {
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v Version) {
		rec := newRecorder()
		c := dial(t, broker.URL(), v, func(c *Config) { c.Handler = rec })
		if _, err := c.Subscribe(within(t), []Filter{{Filter: "a"}}); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			c.Publish(NewPublication(Message{Topic: "a"}))
			c.Ping()
			if err := c.RoundTrip(within(t)); err != nil {
				t.Fatal(err)
			}
			rec.mu.Lock()
			if got := len(rec.messages); got != i+1 {
				t.Errorf("after %d round trips: got %d messages", i+1, got)
			}
			rec.mu.Unlock()
		}
		c.Close()
		wantErr(t, "after the end", c.RoundTrip(within(t)), ErrClosed)
	})
}
