package bridge

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// scripted starts a fake broker that is polite, and lets act speak once on the subscriber's link, when everything on it
// has been subscribed.
func scripted(t *testing.T, act func(c *brokertest.FakeConn)) *brokertest.Fake {
	var acted atomic.Bool
	return brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		kind, _, body, err := c.ReadPacket()
		if err != nil || kind != brokertest.CONNECT {
			return
		}
		c.Connack(0)
		subscriber := bytes.Contains(body, []byte("-sub0"))
		c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.SUBSCRIBE || !subscriber || acted.Swap(true) {
				return false
			}
			if filters, _ := c.Filters(body); filters[0] == versionTopic {
				acted.Store(false) // not yet
				return false
			}
			filters, _ := c.Filters(body)
			c.Suback(binary.BigEndian.Uint16(body), bytes.Repeat([]byte{1}, len(filters))...)
			act(c)
			return true
		})
	})
}

// residentMiB is the memory of this process.
func residentMiB(t *testing.T) int {
	stat, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatalf("memory: %v", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(stat))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

func TestHugePacketEndsTheLinkAtItsHeader(t *testing.T) {
	bothVersions(t, testHugePacketEndsTheLinkAtItsHeader)
}

func testHugePacketEndsTheLinkAtItsHeader(t *testing.T, v mqtt.Version) {
	before := residentMiB(t)
	closed := make(chan bool, 1)
	broker := scripted(t, func(c *brokertest.FakeConn) {
		c.Write([]byte{brokertest.PUBLISH << 4, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a'}) // 256 MiB
		_, _, _, err := c.ReadPacket()
		closed <- err != nil
	})
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}})
	select {
	case ok := <-closed:
		if !ok {
			t.Error("the link was not closed")
		}
	case <-within(t).Done():
		t.Fatal("the link was not closed")
	}
	eventually(t, "a second link", func() bool { return b.Stats().Reconnects >= 1 })
	b.ready(t)
	if grown := residentMiB(t) - before; grown > 64 {
		t.Errorf("memory grew by %d MiB", grown)
	}
}

func TestOversizeMessageIsSkippedInItsPlace(t *testing.T) {
	t.Parallel()
	bothVersions(t, testOversizeMessageIsSkippedInItsPlace)
}

func testOversizeMessageIsSkippedInItsPlace(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, MaxPayload: 1000}).ready(t)
	const before = 4 // the sender's, and all three links
	eventually(t, "all links are up", func() bool { return broker.Connections() == before })
	for qos := range byte(3) {
		topic := "q" + strconv.Itoa(int(qos))
		for _, size := range []int{1000, 1001, 3 << 20, 999} {
			if err := sender.Publish(topic, make([]byte, size), qos, false); err != nil {
				t.Fatal(err)
			}
		}
		b.rec.wait(t, topic, func() bool { return len(b.rec.byTopic[topic]) == 2 })
		if got := b.rec.on(topic); len(got[0]) != 1000 || len(got[1]) != 999 {
			t.Errorf("%s: got sizes %d and %d", topic, len(got[0]), len(got[1]))
		}
	}
	if got, want := b.rec.told(), "up"+strings.Repeat(", too large", 6); got != want {
		t.Errorf("events: got %q, want %q", got, want)
	}
	if got := b.Stats().Oversize; got != 6 {
		t.Errorf("oversize: got %d, want 6", got)
	}
	if got := broker.Connections(); got != before {
		t.Errorf("connections: got %d, want %d", got, before)
	}
	if !strings.Contains(b.logs.String(), "topic=q0 bytes=1001") {
		t.Error("the log does not name the topic")
	}
}

// The order is kept between what is delivered and what is skipped.
func TestOversizeIsAnnouncedBetweenItsNeighbours(t *testing.T) {
	t.Parallel()
	bothVersions(t, testOversizeIsAnnouncedBetweenItsNeighbours)
}

func testOversizeIsAnnouncedBetweenItsNeighbours(t *testing.T, v mqtt.Version) {
	broker := scripted(t, func(c *brokertest.FakeConn) {
		for n := range uint16(40) {
			c.Publish(2*n+1, "small", []byte(strconv.Itoa(int(n))), 1, false)
			c.Publish(2*n+2, "large", make([]byte, 5000), 1, false)
		}
	})
	var order []int // messages seen before each announcement
	rec := &ordered{recorder: newRecorder()}
	rec.onDrop = func(messages int) { order = append(order, messages) }
	launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, MaxPayload: 1000, Receiver: rec})
	rec.waitEvent(t, 40, "too large")
	for i, n := range order {
		if n != i+1 {
			t.Fatalf("announcement %d came after %d messages", i+1, n)
		}
	}
}

type ordered struct {
	*recorder
	onDrop func(messages int)
}

func (o *ordered) Message(m Message) {
	if m.TooLarge > 0 {
		o.onDrop(len(o.seen()))
	}
	o.recorder.Message(m)
}

func TestMalformedPacketsEndTheLinkOnly(t *testing.T) {
	t.Parallel()
	bothVersions(t, testMalformedPacketsEndTheLinkOnly)
}

func testMalformedPacketsEndTheLinkOnly(t *testing.T, v mqtt.Version) {
	for name, packet := range map[string][]byte{
		"SUBACK for nothing":     {brokertest.SUBACK << 4, 5, 0, 99, 0, 1, 1},
		"PUBLISH cut short":      {brokertest.PUBLISH << 4, 3, 0, 9, 'a'},
		"PUBLISH without a name": {brokertest.PUBLISH << 4, 1, 0},
		"QoS 3":                  {brokertest.PUBLISH<<4 | 6, 5, 0, 1, 'a', 0, 1},
		"SUBSCRIBE":              {brokertest.SUBSCRIBE<<4 | 2, 6, 0, 1, 0, 1, 'a', 0},
		"reserved type":          {0xf0, 0},
		"length of five bytes":   {brokertest.PUBLISH << 4, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"PUBACK of 1 byte":       {brokertest.PUBACK << 4, 1, 0},
		"PUBACK of 1 MiB":        {brokertest.PUBACK << 4, 0x80, 0x80, 0x40},
	} {
		t.Run(name, func(t *testing.T) {
			broker := scripted(t, func(c *brokertest.FakeConn) { c.Write(packet) })
			b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}})
			eventually(t, "a second link", func() bool { return b.Stats().Reconnects >= 1 })
			b.ready(t)
		})
	}
}

func TestTooManySubackCodesAreSurvived(t *testing.T) {
	t.Parallel()
	bothVersions(t, testTooManySubackCodesAreSurvived)
}

func testTooManySubackCodesAreSurvived(t *testing.T, v mqtt.Version) {
	var sent atomic.Bool
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.SUBSCRIBE || sent.Swap(true) {
				return false
			}
			c.Suback(binary.BigEndian.Uint16(body), make([]byte, 100)...)
			return true
		})
	})
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}})
	eventually(t, "a second link", func() bool { return b.Stats().Reconnects == 1 })
	b.ready(t)
}

// Unwanted messages are acknowledged, or the broker's window would fill and nothing would come any more.
func TestStrayMessagesDoNotStall(t *testing.T) { bothVersions(t, testStrayMessagesDoNotStall) }

func testStrayMessagesDoNotStall(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1}, func(b *Bridge) { b.inbound.only = []string{"wanted"} }).ready(t)
	// A subscription that nobody here knows of: what it brings is stray.
	if err := b.Want(within(t), "stray/#"); err != nil {
		t.Fatal(err)
	}
	if err := b.Want(within(t), "wanted"); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := sender.Publish("stray/x", nil, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10_000 {
		sender.PublishAsync("wanted", []byte(strconv.Itoa(i)), 1, false)
	}
	b.rec.waitMessage(t, "wanted", "9999")
	if got := b.rec.on("wanted"); len(got) != 10_000 || len(b.rec.on("stray/x")) != 0 {
		t.Errorf("got %d wanted and %d stray", len(got), len(b.rec.on("stray/x")))
	}
}

// A payload that is left out keeps its place among the retained copies too.
func TestRetainedCopyThatIsTooLargeIsTold(t *testing.T) {
	t.Parallel()
	bothVersions(t, testRetainedCopyThatIsTooLargeIsTold)
}

func testRetainedCopyThatIsTooLargeIsTold(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	for topic, size := range map[string]int{"kept/small": 10, "kept/large": 5000} {
		if err := sender.Publish(topic, make([]byte, size), 1, true); err != nil {
			t.Fatal(err)
		}
	}
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, MaxPayload: 1000}).ready(t)
	waitControl(t, b)
	got, err := b.Retained(within(t), "kept/+")
	if err != nil || len(got) != 2 || got[0].Topic != "kept/large" || got[0].TooLarge != 5000 || got[0].Payload != nil || !got[0].Retain ||
		got[1].TooLarge != 0 || len(got[1].Payload) != 10 {
		t.Errorf("got %+v, %v", got, err)
	}
	copies := 0
	if v == mqtt.V311 { // with MQTT 5 the stream is asked for without
		copies = 1
		b.rec.waitEvent(t, 1, "too large")
		if m := b.rec.tooLarge[0]; m.Topic != "kept/large" || m.TooLarge != 5000 || !m.Retain {
			t.Errorf("in the stream: got %+v", m)
		}
	}
	if err := sender.Publish("kept/large", make([]byte, 6000), 1, true); err != nil {
		t.Fatal(err)
	}
	b.rec.wait(t, "the live one", func() bool { return len(b.rec.tooLarge) > copies })
	if m := b.rec.tooLarge[copies]; m.TooLarge != 6000 || m.Retain || m.Retained != (v == mqtt.V5) {
		t.Errorf("live: got %+v", m)
	}
}
