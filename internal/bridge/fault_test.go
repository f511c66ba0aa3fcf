package bridge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// Twenty restarts under load: what was acknowledged is there, and no topic runs backwards.
func TestNothingAcknowledgedIsLostOverRestarts(t *testing.T) {
	t.Parallel()
	bothVersions(t, testNothingAcknowledgedIsLostOverRestarts)
}

func testNothingAcknowledgedIsLostOverRestarts(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t, brokertest.Persistent())
	oracle := brokertest.Dial(t, broker.Addr(), brokertest.ClientID("oracle"), brokertest.PersistentSession(),
		brokertest.AutoReconnect())
	oracle.Subscribe("#", 1)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 2, Watch: []string{"#"}}).ready(t)

	var stop atomic.Bool
	var sent atomic.Int64
	var load sync.WaitGroup
	acked := make([][]int, 4)
	for n := range acked {
		load.Go(func() {
			topic := "load/" + strconv.Itoa(n)
			for i := 0; !stop.Load(); i++ {
				if err := b.send(topic, strconv.Itoa(i), 1); err == nil {
					acked[n] = append(acked[n], i)
					sent.Add(1)
				} else if errors.Is(err, ErrNoConnection) {
					i--
					runtime.Gosched()
				}
			}
		})
	}
	for range 20 {
		n := sent.Load()
		eventually(t, "load", func() bool { return sent.Load() > n+50 })
		broker.Restart()
	}
	b.ready(t)
	stop.Store(true)
	load.Wait()
	eventually(t, "the end to be sent", func() bool { return b.send("load/end", "end", 1) == nil })
	oracle.Wait(patience, func(m brokertest.Message) bool { return m.Topic == "load/end" })

	arrived := inOrder(t, oracle.Received())
	total := 0
	for n, list := range acked {
		total += len(list)
		for _, i := range list {
			if !arrived["load/"+strconv.Itoa(n)][i] {
				t.Errorf("load/%d: %d was acknowledged and did not arrive", n, i)
			}
		}
	}
	links := alternate(t, b.rec.told())
	t.Logf("%d acknowledged over %d links", total, links)
}

// inOrder collects the numbers that came on each topic, and checks that those that came for the first time only rise.
func inOrder(t *testing.T, messages []brokertest.Message) map[string]map[int]bool {
	t.Helper()
	first := map[string]map[int]bool{}
	newest := map[string]int{}
	for _, m := range messages {
		n, err := strconv.Atoi(string(m.Payload))
		if err != nil {
			continue
		}
		if first[m.Topic] == nil {
			first[m.Topic], newest[m.Topic] = map[int]bool{}, -1
		}
		if first[m.Topic][n] {
			continue // delivered again
		}
		first[m.Topic][n] = true
		if n < newest[m.Topic] {
			t.Errorf("%s: %d came after %d", m.Topic, n, newest[m.Topic])
		}
		newest[m.Topic] = max(newest[m.Topic], n)
	}
	return first
}

// alternate checks that Up and Down take turns and that every Up but the first is lost, and counts the Ups.
func alternate(t *testing.T, events string) (ups int) {
	t.Helper()
	downs := 0
	for i, e := range strings.Split(events, ", ") {
		switch {
		case strings.HasPrefix(e, "up"):
			ups++
			if lost := e == "up lost"; lost != (i > 0) {
				t.Errorf("event %d: got %q", i, e)
			}
		case e == "down":
			downs++
		}
	}
	if ups != downs+1 || ups < 2 {
		t.Errorf("events: got %d up and %d down, want one more up", ups, downs)
	}
	return ups
}

// A peer that vanished without a word is noticed on every link, while idle and while the send buffer is full.
func TestDeadPeerIsNoticed(t *testing.T) { bothVersions(t, testDeadPeerIsNoticed) }

func testDeadPeerIsNoticed(t *testing.T, v mqtt.Version) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprintf("send buffer full %t", full), func(t *testing.T) {
			broker := brokertest.Start(t)
			b := launch(t, broker.URL(), Config{Version: v, Pool: 2, Watch: []string{"#"}, KeepAlive: time.Second}, func(b *Bridge) {
				b.timing.ping, b.timing.write = time.Second, time.Second
			}).ready(t)
			broker.Pause()
			defer broker.Continue()
			start := time.Now()
			if full {
				fill(b)
			}
			b.waitStatus(t, "down", func(s Status) bool { return !s.Publish && !s.Subscribe })
			// Silence for a second, another for the PINGRESP, and the rest is for a busy machine. A kernel alone would
			// need a quarter of an hour.
			if took, most := time.Since(start), time.Minute; took < time.Second || took > most {
				t.Errorf("noticed after %v, want about 2 s", took)
			}
			if got := b.Status().Err; got != "the broker does not answer" {
				t.Errorf("reason: got %q", got)
			}
			eventually(t, "an outcome for everything", func() bool { return b.Stats().InFlight == 0 })
			broker.Continue()
			b.ready(t)
		})
	}
}

// With the timing of production the sum is below twenty seconds.
func TestDeadPeerIsNoticedInTime(t *testing.T) {
	t.Parallel()
	d := defaultTiming(withDefaults(Config{}).KeepAlive)
	if got := d.keepAlive + d.ping; got > 15*time.Second {
		t.Errorf("idle: got %v", got)
	}
	if d.write > 5*time.Second {
		t.Errorf("send buffer full: got %v", d.write)
	}
}

// fill publishes until the lanes take no more.
func fill(b *rig) {
	payload := make([]byte, 128<<10)
	refused := 0
	for i := 0; refused < 16; i++ {
		if _, err := b.Publish(Message{Topic: strconv.Itoa(i), Payload: payload, QoS: 1}); err != nil {
			refused++
		}
	}
}

func TestRefusedConnectIsRepeatedPatiently(t *testing.T) {
	t.Parallel()
	bothVersions(t, testRefusedConnectIsRepeatedPatiently)
}

func testRefusedConnectIsRepeatedPatiently(t *testing.T, v mqtt.Version) {
	var accept atomic.Bool
	var mu sync.Mutex
	var levels []byte
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		kind, _, body, err := c.ReadPacket()
		if err != nil || kind != brokertest.CONNECT {
			return
		}
		mu.Lock()
		levels = append(levels, body[6])
		mu.Unlock()
		if !accept.Load() {
			c.Connack(map[byte]byte{4: 5, 5: 0x87}[c.Level])
			return
		}
		c.Connack(0)
		c.Serve(func(byte, byte, []byte) bool { return false })
	})
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, Username: "u", Password: "hush-hush"})
	b.waitStatus(t, "refused", func(s Status) bool { return s.Err == "the broker refused the connection: not authorised" })
	eventually(t, "more attempts", func() bool { return broker.Connections() >= 12 })
	if got := strings.Count(b.logs.String(), "level=WARN"); got != 1 {
		t.Errorf("warnings: got %d, want 1", got)
	}
	accept.Store(true)
	b.ready(t)
	mu.Lock()
	defer mu.Unlock()
	for i, level := range levels {
		if level != byte(v) {
			t.Errorf("attempt %d: got protocol level %d, want %d", i, level, v)
		}
	}
	if strings.Contains(b.logs.String(), "hush-hush") {
		t.Error("the password is in the log")
	}
}

func TestTakeoverBacksOff(t *testing.T) { bothVersions(t, testTakeoverBacksOff) }

func testTakeoverBacksOff(t *testing.T, v mqtt.Version) {
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.SUBSCRIBE {
				return false
			}
			filters, codes := c.Filters(body) // the subscriber and the control link never get further
			c.Suback(binary.BigEndian.Uint16(body), codes[:len(filters)]...)
			c.Close()
			return true
		})
	})
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, ClientID: "twin"}, func(b *Bridge) {
		b.timing.backoffFirst, b.timing.backoffTakeover = time.Millisecond, time.Hour
	})
	eventually(t, "a takeover is suspected", func() bool { return strings.Count(b.logs.String(), "possible_takeover") == 2 })
	for i := range 10 {
		if d := (&backoff{timing: defaultTiming(time.Second), stable: true, attempt: 8 + i, flaps: 4, limit: 30 * time.Second}).delay(); d < 15*time.Second {
			t.Errorf("pause in a takeover: got %v, want at least half of 30 s", d)
		}
	}
}

func TestBackoffStaysInItsBounds(t *testing.T) {
	t.Parallel()
	p := backoff{timing: defaultTiming(time.Second)}
	for n := range 100 {
		if n%2 == 0 {
			p.failed(&mqtt.ConnectError{Code: 5})
		} else {
			p.failed(&mqtt.DialError{Err: context.DeadlineExceeded})
		}
		most := min(200*time.Millisecond<<min(n, 10), p.limit)
		if d := p.delay(); d > most {
			t.Errorf("pause %d: got %v, want at most %v", n, d, most)
		}
		if p.limit > 5*time.Second {
			t.Fatalf("limit: got %v", p.limit)
		}
	}
	p.lived(time.Minute)
	if d := p.delay(); d > 200*time.Millisecond {
		t.Errorf("first pause after a long life: got %v, want at most 200ms", d)
	}
}

// The end takes about a second at most: with a live broker, one that stands still, and none.
func TestRunEndsSoon(t *testing.T) { bothVersions(t, testRunEndsSoon) }

func testRunEndsSoon(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	end := func(b *rig, what string) {
		start := time.Now()
		b.stop()
		took := time.Since(start)
		t.Logf("%s: %v", what, took.Round(time.Millisecond))
		if took > 5*time.Second {
			t.Errorf("%s: the end took %v", what, took)
		}
		if got := b.rec.told(); got != "up, down" {
			t.Errorf("%s: got events %q", what, got)
		}
	}
	cfg := Config{Version: v, Pool: 2, Watch: []string{"none"}}
	b := launch(t, broker.URL(), cfg).ready(t)
	p, err := b.Publish(Message{Topic: "a", QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	end(b, "live")
	if err := p.Wait(within(t)); err != nil {
		t.Errorf("under way at the end: got %v, want nil", err)
	}
	b = launch(t, broker.URL(), cfg).ready(t)
	broker.Pause()
	p, err = b.Publish(Message{Topic: "a", QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	end(b, "paused")
	wantErr(t, "no answer", p.Wait(within(t)), ErrUnknown)
	broker.Continue()
	b = launch(t, broker.URL(), cfg).ready(t)
	broker.Stop()
	b.rec.waitEvent(t, 1, "down")
	end(b, "stopped")
}

// A role keeps its client id, so that the broker drops what is left of its last connection.
func TestClientIDsStayTheSame(t *testing.T) { bothVersions(t, testClientIDsStayTheSame) }

func testClientIDsStayTheSame(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	proxy.Cut()
	eventually(t, "new links", func() bool { return b.Stats().Reconnects == 3 })
	for _, role := range []string{"sub0", "pub0", "ctl0"} {
		broker.WaitLogCount(" as "+b.prefix+"-"+role+" ", 2)
	}
}

// Slots that are thrown out as soon as they get through do not listen to each other, or they would never pause.
func TestFlappingSlotsDoNotWakeEachOther(t *testing.T) {
	t.Parallel()
	bothVersions(t, testFlappingSlotsDoNotWakeEachOther)
}

func testFlappingSlotsDoNotWakeEachOther(t *testing.T, v mqtt.Version) {
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) == nil {
			c.Serve(func(kind, _ byte, _ []byte) bool {
				if kind == brokertest.SUBSCRIBE {
					c.Close()
				}
				return false
			})
		}
	})
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1}, func(b *Bridge) {
		b.timing.backoffFirst, b.timing.backoffMax = time.Hour, time.Hour
	})
	eventually(t, "both thrown out", func() bool { return strings.Count(b.logs.String(), `msg="link down"`) == 2 })
	b.wakeOthers(b.roles[2]) // as if another had got through
	b.waitStatus(t, "publishing", func(s Status) bool { return s.Publish })
	if got := broker.Connections(); got != 3 {
		t.Errorf("connections: got %d, want one of each role", got)
	}
	if len(b.roles[0].wake) == 0 || len(b.roles[1].wake) == 0 {
		t.Error("a role was woken")
	}
}

// Status turns false at once with a loss, and says when.
func TestStatusFollowsTheBroker(t *testing.T) { bothVersions(t, testStatusFollowsTheBroker) }

func testStatusFollowsTheBroker(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	before := time.Now()
	b := launch(t, broker.URL(), Config{Version: v, Pool: 2, Watch: []string{"#"}}).ready(t)
	up := b.Status()
	if up.Err != "" || up.Since.Before(before) {
		t.Errorf("status while up: got %+v", up)
	}
	changed := b.Changed()
	broker.Kill()
	select {
	case <-changed:
	case <-within(t).Done():
		t.Fatal("Changed is not closed")
	}
	b.waitStatus(t, "down", func(s Status) bool { return !s.Publish && !s.Subscribe })
	down := b.Status()
	if down.Err == "" || !down.Since.After(up.Since) {
		t.Errorf("status while down: got %+v", down)
	}
	if strings.Contains(down.Err, "127.0.0.1") {
		t.Errorf("the address is in %q", down.Err)
	}
	broker.StartAgain()
	b.ready(t)
	b.rec.waitEvent(t, 1, "up lost")
	if got, want := b.rec.told(), "up, down, up lost"; got != want {
		t.Errorf("events: got %q, want %q", got, want)
	}
}
