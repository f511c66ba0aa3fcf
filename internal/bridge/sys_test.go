package bridge

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// On the bare configuration a burst loses messages at QoS 1, and that is announced.
func TestBrokerDropsAreAnnounced(t *testing.T) { bothVersions(t, testBrokerDropsAreAnnounced) }

func testBrokerDropsAreAnnounced(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t, brokertest.Bare(), brokertest.Conf("sys_interval 1"))
	sender := brokertest.Dial(t, broker.Addr())
	release := make(chan struct{})
	rec := newRecorder()
	rec.hold = func(Message) { <-release } // a subscriber that is too slow for a moment
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, Receiver: rec, SubscribeQoS: QoS1}).ready(t)
	eventually(t, "first figures", func() bool { return b.Stats().Sys["broker_uptime_seconds"] > 0 })
	var last <-chan error
	for i := range 5000 {
		last = sender.PublishAsync("a", []byte(strconv.Itoa(i)), 1, false)
	}
	if err := <-last; err != nil {
		t.Fatal(err)
	}
	close(release)
	rec.waitEvent(t, 1, "dropped")
	if got := rec.told(); !strings.HasPrefix(got, "up, dropped") || strings.Contains(got, "certain") {
		t.Errorf("events: got %q", got)
	}
	if !strings.Contains(b.logs.String(), "the broker has dropped messages") {
		t.Error("the log does not say so")
	}
	if b.Stats().Sys["broker_messages_dropped_total"] == 0 {
		t.Errorf("figures: got %v", b.Stats().Sys)
	}
}

func TestDroppedCounterIsReadWithinOneLifeOfTheBroker(t *testing.T) {
	t.Parallel()
	rec := newRecorder()
	l := newInbound(withDefaults(Config{Receiver: rec}), "", new(software), new(counters))
	l.rise(false)
	s := newSys(l, withDefaults(Config{}).Log)
	for i, step := range []struct {
		reading string
		drops   int // announced so far
		excuse  int
	}{
		{"1000", 0, 0}, // where it stood before us
		{"1000", 0, 0},
		{"1001", 1, 0},
		{"1005", 2, 0},
		{"3", 3, 0}, // a new life, in which there were some
		{"3", 3, 0},
		{"4", 4, 0},
		{"104", 4, 100}, // our own doing
		{"105", 5, 0},
		{"what", 5, 0},
		{"0", 5, 0}, // a new life
		{"1", 6, 0},
	} {
		if step.excuse > 0 {
			s.excuse(step.excuse)
		}
		s.got(Message{Topic: sysDropped, Payload: []byte(step.reading), Retain: i == 0})
		rec.mu.Lock()
		if got := rec.count("dropped"); got != step.drops {
			t.Errorf("after %s: got %d announcements, want %d", step.reading, got, step.drops)
		}
		rec.mu.Unlock()
	}
}

// A fetch that overflows the broker's queue of the control link has lost nothing for anybody.
func TestOverflowOfAFetchIsNotAnnounced(t *testing.T) {
	t.Parallel()
	bothVersions(t, testOverflowOfAFetchIsNotAnnounced)
}

func testOverflowOfAFetchIsNotAnnounced(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t, brokertest.Bare(), brokertest.Conf("sys_interval 1"))
	retain(t, broker, 5000)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"other"}}).ready(t)
	waitControl(t, b)
	eventually(t, "first figures", func() bool { return b.Stats().Sys["broker_uptime_seconds"] > 0 })
	before := b.Stats().Sys["broker_messages_dropped_total"]
	got, err := b.Retained(within(t), "#")
	if err != nil {
		t.Fatal(err)
	}
	complete(t, got, 5000)
	eventually(t, "the broker to count", func() bool { return b.Stats().Sys["broker_messages_dropped_total"] > before })
	if got, want := b.rec.told(), "up"; got != want {
		t.Errorf("events: got %q, want %q", got, want)
	}
}

// A broker that publishes the counter only when it changes says nothing until it drops something; what comes then is news.
func TestFirstLiveReadingOfTheDroppedCounterIsARise(t *testing.T) {
	t.Parallel()
	rec := newRecorder()
	l := newInbound(withDefaults(Config{Receiver: rec}), "", new(software), new(counters))
	l.rise(false)
	start := time.Now()
	s := newSys(l, withDefaults(Config{}).Log)
	if got, ok := s.figures()["broker_messages_dropped_total"]; got != 0 || !ok {
		t.Errorf("before any reading: got %v, %t", got, ok)
	}
	s.got(Message{Topic: sysDropped, Payload: []byte("0")})
	if got := rec.count("dropped"); got != 0 {
		t.Errorf("at 0: got %d announcements", got)
	}
	s = newSys(l, withDefaults(Config{}).Log)
	s.got(Message{Topic: sysDropped, Payload: []byte("50")})
	if got := rec.count("dropped"); got != 1 {
		t.Errorf("at 50: got %d announcements, want 1", got)
	}
	if since := rec.since; since.Before(start.Add(-time.Second)) || since.After(time.Now()) {
		t.Errorf("since: got %v", since)
	}
}

// What the broker counts while a fetch is under way is judged when that has said what it has caused.
func TestDropsOfAFetchUnderWayAreItsOwn(t *testing.T) {
	t.Parallel()
	rec := newRecorder()
	l := newInbound(withDefaults(Config{Receiver: rec}), "", new(software), new(counters))
	l.rise(false)
	s := newSys(l, withDefaults(Config{}).Log)
	s.got(Message{Topic: sysDropped, Payload: []byte("5"), Retain: true})
	s.hold()
	s.got(Message{Topic: sysDropped, Payload: []byte("100")})
	s.excuse(95)
	s.release()
	if got := rec.count("dropped"); got != 0 {
		t.Errorf("its own: got %d announcements", got)
	}
	s.hold()
	s.got(Message{Topic: sysDropped, Payload: []byte("100")})
	s.got(Message{Topic: sysDropped, Payload: []byte("101")})
	if got := rec.count("dropped"); got != 0 {
		t.Errorf("meanwhile: got %d announcements", got)
	}
	s.release()
	if got := rec.count("dropped"); got != 1 {
		t.Errorf("another's: got %d announcements, want 1", got)
	}
}

// A broker such as mosquitto 2.1 publishes its figures only when something wakes it in the right second.
func TestSignsOfLifeWakeTheBrokersFigures(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	pings := map[int]int{}
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		_, _, body, err := c.ReadPacket()
		if err != nil {
			return
		}
		c.Connack(0)
		control := bytes.Contains(body, []byte("-ctl0"))
		c.Serve(func(kind, _ byte, _ []byte) bool {
			if kind == brokertest.PINGREQ && control {
				mu.Lock()
				pings[c.Number]++
				mu.Unlock()
				c.Publish(0, sysDropped, []byte("7"), 0, false)
			}
			return false
		})
	})
	b := launch(t, broker.URL(), Config{Pool: 1, Watch: []string{"#"}}, func(b *Bridge) { b.timing.beat = 20 * time.Millisecond })
	b.rec.waitEvent(t, 1, "dropped")
	if d := defaultTiming(time.Minute).beat; d > time.Second {
		t.Errorf("between signs of life: got %v, want a second at most", d)
	}
}
