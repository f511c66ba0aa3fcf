package broker

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// subscribed is a client of 3.1.1 that holds filters at a QoS.
func (s *server) subscribed(qos byte, filters ...string) *brokertest.Client {
	s.t.Helper()
	c := brokertest.Dial(s.t, s.addr)
	for _, f := range filters {
		if got := c.Subscribe(f, qos); got != qos {
			s.t.Fatalf("SUBSCRIBE %s: got %#x, want %d", f, got, qos)
		}
	}
	return c
}

func (s *server) publish(topic, payload string, qos byte, retain bool) {
	s.t.Helper()
	c := brokertest.Dial(s.t, s.addr)
	defer c.Close()
	if err := c.Publish(topic, []byte(payload), qos, retain); err != nil {
		s.t.Fatalf("PUBLISH %s: %v", topic, err)
	}
	if qos == 0 { // the client is closed behind it, and so it has been handled
		c.Close()
	}
}

// until is what a client has received before a message with that payload.
func until(t testing.TB, c *brokertest.Client, payload string) []brokertest.Message {
	t.Helper()
	c.Wait(raw.Patience, func(m brokertest.Message) bool { return string(m.Payload) == payload })
	var before []brokertest.Message
	for _, m := range c.Received() {
		if string(m.Payload) == payload {
			return before
		}
		before = append(before, m)
	}
	return before
}

func TestMessagesComeAtTheLowerQoSOfBoth(t *testing.T) {
	s := start(t)
	for granted := range byte(3) {
		c := s.subscribed(granted, fmt.Sprint("to/", granted))
		for published := range byte(3) {
			s.publish(fmt.Sprint("to/", granted), "x", published, false)
			got := c.WaitCount(int(published)+1, raw.Patience)[published]
			if want := min(granted, published); got.QoS != want || string(got.Payload) != "x" || got.Retain || got.Dup {
				t.Errorf("granted %d, published %d: got %+v, want x at QoS %d", granted, published, got, want)
			}
		}
	}
}

func TestOverlappingFiltersDeliverOneCopyAtTheHighestQoS(t *testing.T) {
	s := start(t)
	c := brokertest.Dial(t, s.addr)
	for i, filter := range []string{"a/#", "a/+", "#", "a/b"} {
		c.Subscribe(filter, []byte{0, 2, 1, 0}[i])
	}
	s.publish("a/b", "1", 2, false)
	s.publish("end", "end", 1, false)
	if got := until(t, c, "end"); payloads(got) != "1" || got[0].QoS != 2 {
		t.Errorf("got %+v, want one copy at QoS 2", got)
	}

	five := s.client(5, "five")
	for i, filter := range []string{"a/#", "a/+", "x", "a/b"} {
		five.Send(raw.Subscribe(1, raw.Props(raw.Join([]byte{11}, raw.Varint(i*200+1))), filter, 0))
		five.WantType(0x90)
	}
	s.publish("a/b", "2", 0, false)
	p := hex.EncodeToString(five.WantType(0x30))
	for _, id := range []string{"0b01", "0bc901", "0bd904"} {
		if !strings.Contains(p, id) {
			t.Errorf("got %s, want the subscription identifier %s in it", p, id)
		}
	}
	if strings.Contains(p, "0b9103") {
		t.Errorf("got %s, want no identifier of a subscription that does not match", p)
	}
}

func TestNoLocalKeepsOwnMessagesAway(t *testing.T) {
	s := start(t)
	c := s.client(5, "c")
	c.Send(raw.Subscribe(1, raw.Props(), "a/#", 4), raw.Subscribe(2, raw.Props(), "b/#", 0), raw.Publish(0, "a/1", 0, raw.Props(), "own"), raw.Publish(0, "b/1", 0, raw.Props(), "own"))
	c.Want("90040001"+"0000", "90040002"+"0000", hex.EncodeToString(raw.Publish(0, "b/1", 0, raw.Props(), "own")))
	s.publish("a/1", "of another", 0, false)
	c.Want(hex.EncodeToString(raw.Publish(0, "a/1", 0, raw.Props(), "of another")))
	c.Ping()
}

func TestTheRetainFlagIsOnCopiesAndWhereItIsAskedFor(t *testing.T) {
	s := start(t)
	c := s.client(5, "c")
	c.Send(raw.Subscribe(1, raw.Props(), "plain", 0), raw.Subscribe(1, raw.Props(), "as/published", 8))
	c.Want("900400010000", "900400010000")
	s.publish("plain", "x", 0, true)
	s.publish("as/published", "x", 0, true)
	s.publish("as/published", "y", 0, false)
	c.Want(hex.EncodeToString(raw.Publish(0, "plain", 0, raw.Props(), "x")),
		hex.EncodeToString(raw.Publish(1, "as/published", 0, raw.Props(), "x")),
		hex.EncodeToString(raw.Publish(0, "as/published", 0, raw.Props(), "y")))
	late := s.client(5, "late")
	late.Send(raw.Subscribe(1, raw.Props(), "+/#", 0))
	late.Want("900400010000",
		hex.EncodeToString(raw.Publish(1, "as/published", 0, raw.Props(), "x")),
		hex.EncodeToString(raw.Publish(1, "plain", 0, raw.Props(), "x")))
	late.Ping()
}

func TestRetainedMessagesAreReplacedAndCleared(t *testing.T) {
	s := start(t)
	for _, m := range [][2]string{{"r/1", "old"}, {"r/1", "new"}, {"r/2", "gone"}, {"r/2", ""}, {"r/3", "3"}, {"$r/4", "hidden"}, {"r", "r"}} {
		s.publish(m[0], m[1], 1, true)
	}
	s.publish("r/3", "not retained", 1, false)
	for filter, want := range map[string]string{"#": "r new 3", "r/#": "r new 3", "r/+": "new 3", "r/1": "new", "r/2": "", "+": "r", "$r/#": "hidden"} {
		c := s.subscribed(1, filter, "end")
		s.publish("end", "end", 1, false)
		got := until(t, c, "end")
		if payloads(got) != want {
			t.Errorf("%s: got %q, want %q", filter, payloads(got), want)
		}
		for _, m := range got {
			if !m.Retain || m.QoS != 1 {
				t.Errorf("%s: got %+v, want it retained, at QoS 1", filter, m)
			}
		}
	}
}

func TestRetainHandlingSaysWhenCopiesAreSent(t *testing.T) {
	s := start(t)
	s.publish("r", "x", 0, true)
	copied := hex.EncodeToString(raw.Publish(1, "r", 0, raw.Props(), "x"))
	c := s.client(5, "c")
	for _, tt := range []struct {
		options byte
		copies  bool
	}{{0x20, false}, {0x10, false}, {0x00, true}, {0x00, true}} {
		c.Send(raw.Subscribe(1, raw.Props(), "r", tt.options))
		c.Want("900400010000")
		if tt.copies {
			c.Want(copied)
		}
		c.Ping()
	}
	other := s.client(5, "other")
	other.Send(raw.Subscribe(1, raw.Props(), "r", 0x10)) // new
	other.Want("900400010000", copied)
	other.Ping()
	other.Send(raw.Subscribe(1, raw.Props(), "$share/g/r", 0)) // 4.8.2: never
	other.Want("900400010000")
	other.Ping()
}

// The gateway relies on this order: what it publishes behind a SUBSCRIBE comes back behind the copies.
func TestCopiesComeBeforeWhatIsPublishedBehindTheSubscribe(t *testing.T) {
	const n = 3*page + 10
	s := start(t)
	p := brokertest.Dial(t, s.addr)
	for i := range n {
		if err := p.Publish(fmt.Sprintf("many/%05d", i), []byte("x"), 0, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Publish("sync", nil, 1, false); err != nil {
		t.Fatal(err)
	}
	c := s.client(4, "c")
	c.Send(raw.Subscribe(1, nil, "fence", 1), raw.Subscribe(2, nil, "many/#", 1), raw.Publish(2, "fence", 3, nil, "behind"))
	copies := 0
	for {
		p := c.Next()
		if p[0] == 0x32 {
			break
		}
		if p[0] == 0x31 {
			copies++
		}
	}
	if copies != n {
		t.Errorf("got %d copies before the message behind the SUBSCRIBE, want %d", copies, n)
	}
}

func TestTheBrokersOwnTopicsAreNotForClients(t *testing.T) {
	s := start(t)
	sub := s.subscribed(1, "$SYS/#", "#")
	sub.Wait(raw.Patience, func(m brokertest.Message) bool { return m.Topic == "$SYS/broker/uptime" })
	five, four := s.client(5, "five"), s.client(4, "four")
	for _, topic := range []string{"$SYS", "$SYS/broker/uptime", "$share/g/a"} {
		five.Send(raw.Publish(2, topic, 1, raw.Props(), "forged"), raw.Publish(4, topic, 2, raw.Props(), "forged"), raw.Publish(0, topic, 0, raw.Props(), "forged"))
		five.Want("4003000187", "5003000287")
		four.Send(raw.Publish(2, topic, 1, nil, "forged"), raw.Publish(0, topic, 0, nil, "forged"))
		four.Want("40020001")
	}
	five.Ping()
	four.Ping()
	s.publish("$SYSTEM/is/allowed", "x", 1, false)
	s.publish("end", "end", 1, false)
	for _, m := range until(t, sub, "end") {
		if string(m.Payload) == "forged" || !strings.HasPrefix(m.Topic, "$SYS/") {
			t.Errorf("got %s %q, want the broker's own messages only", m.Topic, m.Payload)
		}
	}
}

func TestASharedSubscriptionDividesMessages(t *testing.T) {
	s := start(t)
	one, two, all := s.subscribed(1, "$share/g/s/#", "end"), s.subscribed(1, "$share/g/s/#", "end"), s.subscribed(1, "s/#", "end")
	other := s.subscribed(1, "$share/h/s/#", "s/+", "end") // of another group, and without one
	const n = 10
	for i := range n {
		s.publish("s/x", fmt.Sprint(i), 1, false)
	}
	s.publish("end", "end", 1, false)
	counts := []int{len(until(t, one, "end")), len(until(t, two, "end")), len(until(t, all, "end")), len(until(t, other, "end"))}
	if want := []int{n / 2, n / 2, n, 2 * n}; fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("got %v messages, want %v", counts, want)
	}
	one.Close()
	two.Forget()
	s.publish("s/x", "alone", 1, false)
	two.WaitCount(1, raw.Patience)
	if err := two.Unsubscribe("$share/g/s/#"); err != nil {
		t.Fatal(err)
	}
	s.publish("s/x", "nobody", 1, false)
	s.publish("end", "over", 1, false)
	if got := payloads(until(t, two, "over")); got != "alone" {
		t.Errorf("got %q, want only what came while it was subscribed", got)
	}
}

func TestAMessageAtQoS2IsDeliveredOnce(t *testing.T) {
	s := start(t)
	sub := s.subscribed(2, "q", "end")
	c := s.client(4, "c")
	for range 3 { // as long as there is no PUBREL it is the same message
		c.Send(raw.Publish(4, "q", 7, nil, "once"))
		c.Want("50020007")
	}
	c.Send([]byte{0x62, 2, 0, 7}, []byte{0x62, 2, 0, 7})
	c.Want("70020007", "70020007")
	c.Send(raw.Publish(4, "q", 7, nil, "another"))
	c.Want("50020007")
	s.publish("end", "end", 1, false)
	if got := payloads(until(t, sub, "end")); got != "once another" {
		t.Errorf("got %q, want each once", got)
	}
}

func TestMessagesExpire(t *testing.T) {
	s := start(t)
	c := s.client(5, "c")
	c.Send(raw.Publish(3, "e/short", 1, raw.Props(raw.Prop32(2, 1)), "short"), raw.Publish(3, "e/long", 2, raw.Props(raw.Prop32(2, 1000), raw.User("a", "b")), "long"))
	c.Want("4003000110", "4003000210")
	eventually(t, "the message that has expired is removed", func() bool {
		return s.figure(func() int64 { return int64(s.retainedCount) }) == 1
	})
	c.Send(raw.Subscribe(1, raw.Props(), "e/#", 0))
	c.Want("900400010000")
	p := c.WantType(0x31)
	left := uint32(0)
	if at := strings.Index(string(p), "\x02\x00"); at > 0 { // the property comes behind those that are passed on
		left = uint32(p[at+3])<<8 | uint32(p[at+4])
	}
	if left == 0 || left >= 1000 || left < 900 {
		t.Errorf("got %x with %d seconds left, want a few less than 1000", p, left)
	}
	c.Ping()
}

func TestTheBrokerPublishesItsFigures(t *testing.T) {
	s := start(t)
	s.publish("r", "x", 1, true)
	eventually(t, "the publisher has left", func() bool { return s.figure(func() int64 { return int64(len(s.conns)) }) == 0 })
	s.mu.Lock()
	s.publishSys()
	s.mu.Unlock()
	c := s.subscribed(0, "$SYS/broker/+/+", "$SYS/broker/+", "$SYS/broker/publish/messages/+")
	for topic, want := range map[string]string{
		"$SYS/broker/publish/messages/received": "1", "$SYS/broker/publish/messages/dropped": "0",
		"$SYS/broker/retained messages/count": "1", "$SYS/broker/clients/connected": "0",
	} {
		m := c.Wait(raw.Patience, func(m brokertest.Message) bool { return m.Topic == topic })
		if string(m.Payload) != want || !m.Retain {
			t.Errorf("%s: got %q, retained %v, want %q as a retained message", topic, m.Payload, m.Retain, want)
		}
	}
}
