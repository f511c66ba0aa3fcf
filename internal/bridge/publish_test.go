package bridge

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

func TestPublishReachesTheBrokerAtEveryQoS(t *testing.T) {
	t.Parallel()
	bothVersions(t, testPublishReachesTheBrokerAtEveryQoS)
}

func testPublishReachesTheBrokerAtEveryQoS(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 2)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 4, Watch: []string{"#"}}).ready(t)
	for qos, payload := range []string{"zero", "one", "two"} {
		if err := b.send("a/b", payload, byte(qos)); err != nil {
			t.Errorf("QoS %d: got %v, want nil", qos, err)
		}
		got, err := oracle.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Payload) != payload || got.QoS != byte(qos) {
			t.Errorf("got %q at QoS %d, want %q at %d", got.Payload, got.QoS, payload, qos)
		}
		b.rec.waitMessage(t, "a/b", payload)
	}
	if n := b.Stats().InFlight; n != 0 {
		t.Errorf("in flight: got %d, want 0", n)
	}
}

func TestPublishIsUnknownWhenTheAcknowledgementIsLost(t *testing.T) {
	t.Parallel()
	bothVersions(t, testPublishIsUnknownWhenTheAcknowledgementIsLost)
}

func testPublishIsUnknownWhenTheAcknowledgementIsLost(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 1)
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	for _, test := range []struct {
		qos  byte
		kind byte
	}{{1, brokertest.PUBACK}, {2, brokertest.PUBREC}, {2, brokertest.PUBCOMP}} {
		proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
			if dir == brokertest.Down && brokertest.PacketType(packet) == test.kind {
				return nil, brokertest.CutNow
			}
			return nil, brokertest.Pass
		})
		wantErr(t, "outcome", b.send("a", "swallowed", test.qos), ErrUnknown)
		proxy.Hook(nil)
		eventually(t, "publishing after the cut", func() bool { return b.send("a", "after", test.qos) == nil })
	}
}

// The acknowledgement of a publication that was given up comes while another one waits: it is no answer to that.
func TestLateAcknowledgementAnswersNobodyElse(t *testing.T) {
	t.Parallel()
	bothVersions(t, testLateAcknowledgementAnswersNobodyElse)
}

func testLateAcknowledgementAnswersNobodyElse(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	for i := range 10 { // what the gateway itself has sent so far has lower packet ids, on a link of its own
		if err := b.send("before", strconv.Itoa(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for qos, kind := range map[byte]byte{1: brokertest.PUBACK, 2: brokertest.PUBCOMP} {
		var id atomic.Pointer[[]byte] // of the newest publication on the topic late
		var late []byte
		var acks atomic.Int32
		proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
			_, behind, found := bytes.Cut(packet, []byte("\x00\x04late"))
			switch is := brokertest.PacketType(packet); {
			case dir == brokertest.Up && is == brokertest.PUBLISH && found:
				now := bytes.Clone(behind[:2])
				id.Store(&now)
			case dir == brokertest.Down && is == kind && id.Load() != nil && bytes.Equal(packet[2:4], *id.Load()):
				if acks.Add(1) == 1 {
					late = bytes.Clone(packet)
					return nil, brokertest.Swallow
				}
				return late, brokertest.Pass
			}
			return nil, brokertest.Pass
		})
		var open [2]*Publication
		for i := range open {
			var err error
			if open[i], err = b.Publish(Message{Topic: "late", QoS: qos}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the acknowledgement to come by", func() bool { return acks.Load() == int32(i+1) })
			if i == 0 {
				wantErr(t, "given up", open[0].Wait(ended), ErrUnknown)
			}
		}
		if err := b.send("behind", "x", qos); err != nil {
			t.Errorf("QoS %d, behind the late acknowledgement: got %v, want nil", qos, err)
		}
		wantErr(t, "the other", open[1].Wait(ended), ErrUnknown)
	}
	if got := b.Stats().Reconnects; got != 0 {
		t.Errorf("reconnects: got %d, want 0", got)
	}
}

func TestPublishWithoutABrokerFailsAtOnce(t *testing.T) {
	t.Parallel()
	bothVersions(t, testPublishWithoutABrokerFailsAtOnce)
}

func testPublishWithoutABrokerFailsAtOnce(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 2, Watch: []string{"#"}}).ready(t)
	broker.Stop()
	b.waitStatus(t, "down", func(s Status) bool { return !s.Publish && !s.Subscribe && s.Err == "connection refused" })
	for _, qos := range []byte{0, 1, 2} {
		eventually(t, "both lanes down", func() bool {
			_, a := b.Publish(Message{Topic: "a", QoS: qos})
			return a == ErrNoConnection
		})
		_, err := b.Publish(Message{Topic: "a", QoS: qos})
		wantErr(t, "publish", err, ErrNoConnection)
	}
	_, err := b.Retained(within(t), "#")
	wantErr(t, "retained", err, ErrNoConnection)
}

func TestPublishRefusesWhatWouldCostTheConnection(t *testing.T) {
	t.Parallel()
	bothVersions(t, testPublishRefusesWhatWouldCostTheConnection)
}

func testPublishRefusesWhatWouldCostTheConnection(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	before := broker.Connections()
	for _, topic := range []string{"", "a/+", "#", "a\x00b", "a\x01", "\xff", "\ufffe", "$SYS/x", "$gateway/x",
		strings.Repeat("a/", 200) + "a", strings.Repeat("a", 65536)} {
		_, err := b.Publish(Message{Topic: topic, QoS: 1})
		wantErr(t, "topic "+strings.ToValidUTF8(topic[:min(len(topic), 10)], "?"), err, ErrInvalid)
	}
	_, err := b.Publish(Message{Topic: "a", QoS: 3})
	wantErr(t, "QoS 3", err, ErrInvalid)
	if err := b.send("a", "x", 1); err != nil {
		t.Error(err)
	}
	if got := broker.Connections(); got != before {
		t.Errorf("connections: got %d, want %d", got, before)
	}
}

func TestPublishIsBoundedByWhatHasNoAnswer(t *testing.T) {
	t.Parallel()
	bothVersions(t, testPublishIsBoundedByWhatHasNoAnswer)
}

func testPublishIsBoundedByWhatHasNoAnswer(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if dir == brokertest.Down && brokertest.PacketType(packet) == brokertest.PUBACK {
			return nil, brokertest.Swallow
		}
		return nil, brokertest.Pass
	})
	var open []*Publication
	for range laneMessages {
		p, err := b.Publish(Message{Topic: "a", QoS: 1})
		if err != nil {
			t.Fatalf("publication %d: %v", len(open), err)
		}
		open = append(open, p)
	}
	_, err := b.Publish(Message{Topic: "a", QoS: 1})
	wantErr(t, "one too many", err, ErrOverloaded)
	if got := b.Stats().InFlight; got != laneMessages {
		t.Errorf("in flight: got %d, want %d", got, laneMessages)
	}
	ended, cancel := context.WithCancel(context.Background())
	b.rec.wait(t, "delivery of all", func() bool { return len(b.rec.messages) == laneMessages })
	cancel()
	wantErr(t, "ctx ended", open[0].Wait(ended), ErrUnknown)
	proxy.Cut()
	for _, p := range open {
		wantErr(t, "cut", p.Wait(within(t)), ErrUnknown)
	}
	if got := b.Stats().InFlight; got != 0 {
		t.Errorf("in flight after the cut: got %d, want 0", got)
	}
}

// One topic stays in order however much is under way, over a pool of lanes.
func TestPublishKeepsTheOrderOfATopic(t *testing.T) {
	t.Parallel()
	bothVersions(t, testPublishKeepsTheOrderOfATopic)
}

func testPublishKeepsTheOrderOfATopic(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 2)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 4, Watch: []string{"none"}}).ready(t)
	const topics, each = 8, 400
	var open []*Publication
	for i := range each {
		for n := range topics {
			for {
				p, err := b.Publish(Message{Topic: "t/" + strconv.Itoa(n), Payload: []byte(strconv.Itoa(i)), QoS: 1})
				if err == nil {
					open = append(open, p)
					break
				}
				wantErr(t, "publish", err, ErrOverloaded)
				open[0].Wait(within(t)) // makes room
				open = open[1:]
			}
		}
	}
	next := make([]int, topics)
	for _, m := range oracle.WaitCount(topics*each, patience) {
		n, _ := strconv.Atoi(m.Topic[2:])
		if got := string(m.Payload); got != strconv.Itoa(next[n]) {
			t.Fatalf("%s: got %s, want %d", m.Topic, got, next[n])
		}
		next[n]++
	}
}

// Bytes that never left are not "unknown": the caller may safely repeat them.
func TestPublishThatNeverLeftIsNotSent(t *testing.T) {
	t.Parallel()
	bothVersions(t, testPublishThatNeverLeftIsNotSent)
}

func testPublishThatNeverLeftIsNotSent(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}, func(b *Bridge) {
		b.timing.write = 1e9
	}).ready(t)
	broker.Pause()
	payload := make([]byte, 200<<10)
	var all []*Publication
	for { // until even the kernel takes no more
		p, err := b.Publish(Message{Topic: "a", Payload: payload, QoS: byte(len(all) % 2)})
		if err != nil {
			break
		}
		all = append(all, p)
	}
	counts := map[error]int{}
	for i, p := range all {
		err := p.Wait(within(t))
		counts[err]++
		if err == nil && i%2 == 1 {
			t.Errorf("QoS 1 publication %d: got nil from a broker that stood still", i)
		}
	}
	broker.Continue()
	t.Logf("%d publications: %v", len(all), counts)
	if counts[ErrNotSent] == 0 || counts[ErrUnknown] == 0 || counts[nil] == 0 {
		t.Errorf("outcomes: got %v, want some of each", counts)
	}
	// What was said not to be sent must not arrive. The broker now reads what the kernel had, and nothing else.
	eventually(t, "publishing after the stall", func() bool { return b.send("a", "end", 1) == nil })
	b.rec.waitMessage(t, "a", "end")
	if got, most := len(b.rec.on("a"))-1, counts[nil]+counts[ErrUnknown]; got > most {
		t.Errorf("arrived: got %d, want at most %d", got, most)
	}
}

// A publication that still waits when its caller gives up is taken back.
func TestPublishGivenUpInTheQueueIsNotSent(t *testing.T) {
	t.Parallel()
	l := newLane(0, laneBytes, new(counters))
	l.out = &outlet{queue: make(chan *Publication, laneMessages), waiting: 1} // one before it
	p, err := l.submit(Message{Topic: "a"})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	wantErr(t, "outcome", p.Wait(ended), ErrNotSent)
	if got := l.open.Load(); got != 0 {
		t.Errorf("open: got %d, want 0", got)
	}
}
