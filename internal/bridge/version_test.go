package bridge

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	embedded "github.com/vulturepi/gateway/internal/embedded/broker"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// Brokers that do not know MQTT 5 say so in several ways; all are spoken to in 3.1.1, without a pause.
func TestOlderVersionIsSpokenWhereTheNewerIsRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(c *brokertest.FakeConn){
		"reason 0x84":                   func(c *brokertest.FakeConn) { c.Connack(0x84) },
		"return code 1":                 func(c *brokertest.FakeConn) { c.Write([]byte{brokertest.CONNACK << 4, 2, 0, 1}) },
		"accepted in the form of 3.1.1": func(c *brokertest.FakeConn) { c.Write([]byte{brokertest.CONNACK << 4, 2, 0, 0}) },
		"closed":                        func(*brokertest.FakeConn) {},
		"reset":                         func(c *brokertest.FakeConn) { c.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
				if _, _, _, err := c.ReadPacket(); err != nil {
					return
				}
				if c.Level == 5 {
					refuse(c)
					return
				}
				c.Connack(0)
				c.Serve(nil)
			})
			b := launch(t, broker.URL(), Config{Pool: 2, Watch: []string{"#"}}).ready(t)
			if got := b.Stats().Version; got != mqtt.V311 {
				t.Errorf("version: got %s", got)
			}
			if _, err := b.Publish(Message{Topic: "a", Properties: &Properties{ContentType: "x"}}); err != ErrNeedsMQTT5 {
				t.Errorf("properties: got %v, want %v", err, ErrNeedsMQTT5)
			}
		})
	}
}

func TestNewerVersionIsSpokenWhereItCanBe(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	b := launch(t, broker.URL(), Config{Pool: 1, Watch: []string{"#"}}).ready(t)
	if got := b.Stats().Version; got != mqtt.V5 || !strings.Contains(b.logs.String(), "the broker speaks MQTT") {
		t.Errorf("version: got %s", got)
	}
	want := &Properties{ContentType: "text/plain", User: []UserProperty{{Name: "a", Value: "b"}}}
	p, err := b.Publish(Message{Topic: "p", QoS: 1, Properties: want})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	b.rec.waitMessage(t, "p", "")
	if got := b.rec.seen()[0].Properties; got == nil || got.ContentType != want.ContentType || len(got.User) != 1 {
		t.Errorf("properties: got %+v", got)
	}
	// A restart is no reason to think that it speaks less.
	broker.Restart()
	b.rec.waitEvent(t, 2, "up")
	b.ready(t)
	if got := b.Stats().Version; got != mqtt.V5 {
		t.Errorf("version after a restart: got %s", got)
	}
}

// What a version is configured for is not tried otherwise.
func TestConfiguredVersionIsNotGivenUp(t *testing.T) {
	t.Parallel()
	var older atomic.Bool
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		c.ReadPacket()
		older.CompareAndSwap(false, c.Level == 4)
		c.Connack(0x84)
	})
	b := launch(t, broker.URL(), Config{Version: mqtt.V5})
	eventually(t, "some attempts", func() bool { return broker.Connections() > 5 })
	if got, want := b.Status().Err, "the broker does not speak MQTT 5"; got != want || older.Load() {
		t.Errorf("got %q, want %q; 3.1.1 tried: %t", got, want, older.Load())
	}
}

// A broker that was away may come back as another, which closes on what the first one spoke; one that closes without having
// been away has other reasons.
func TestBrokerThatWasAwayMayComeBackAsAnOlderOne(t *testing.T) {
	t.Parallel()
	v := &versions{log: slog.New(slog.DiscardHandler)}
	v.worked(mqtt.V5)
	if v.failed(mqtt.V5, mqtt.ErrClosedOnConnect) || v.choose() != mqtt.V5 {
		t.Error("closed: 3.1.1 is tried")
	}
	v.failed(mqtt.V5, &mqtt.DialError{Err: errors.ErrUnsupported})
	if !v.failed(mqtt.V5, mqtt.ErrClosedOnConnect) || v.choose() != mqtt.V311 {
		t.Error("closed after it was away: 3.1.1 is not tried")
	}
	v.worked(mqtt.V311)
	v.failed(mqtt.V311, &mqtt.DialError{Err: errors.ErrUnsupported})
	if v.choose() != mqtt.V5 {
		t.Error("away again: 5 is not tried")
	}
}

// A broker may close the connection on what one CONNECT asks for, a kept session, and take all others.
func TestOlderVersionIsSpokenWhereOneConnectIsClosedOn(t *testing.T) {
	t.Parallel()
	others := make(chan struct{})
	var once sync.Once
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		_, _, body, err := c.ReadPacket()
		if err != nil {
			return
		}
		if clean := body[7]&2 != 0; c.Level == 5 && !clean {
			<-others
			return
		}
		c.Connack(0)
		c.Serve(func(kind, _ byte, _ []byte) bool {
			if kind == brokertest.SUBSCRIBE && c.Level == 5 {
				once.Do(func() { close(others) })
			}
			return false
		})
	})
	b := launch(t, broker.URL(), Config{Pool: 1, Watch: []string{"#"}, ClientID: "stable"}).ready(t)
	if got := b.Stats().Version; got != mqtt.V5 {
		t.Errorf("version of the others: got %s, want 5", got)
	}
}

func TestSubscribeQoSFollowsTheBroker(t *testing.T) {
	t.Parallel()
	mosquitto := brokertest.Start(t)
	unknown := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) == nil {
			c.Serve(nil)
		}
	})
	for _, test := range []struct {
		name, url string
		cfg       Config
		want      byte
	}{
		{"mosquitto", mosquitto.URL(), Config{}, 0},
		{"built-in", builtIn(t), Config{}, 0},
		{"unknown", unknown.URL(), Config{}, 1},
		{"kept session", mosquitto.URL(), Config{ClientID: "stable"}, 1},
		{"told 1", mosquitto.URL(), Config{SubscribeQoS: QoS1}, 1},
		{"told 0", unknown.URL(), Config{SubscribeQoS: QoS0}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Watch = []string{"#"}
			b := launch(t, test.url, test.cfg).ready(t)
			if got := b.Stats(); got.SubscribeQoS != test.want {
				t.Errorf("got %d, want %d; broker %q", got.SubscribeQoS, test.want, got.Broker)
			}
			if test.url == unknown.URL() {
				return
			}
			if err := b.send("a", "x", 1); err != nil {
				t.Fatal(err)
			}
			b.rec.waitMessage(t, "a", "x")
			if got := b.rec.seen()[0].QoS; got != test.want {
				t.Errorf("delivered at QoS %d, want %d", got, test.want)
			}
		})
	}
}

// builtIn is the gateway's own broker.
func builtIn(t *testing.T) string {
	b, err := embedded.New(embedded.Options{Log: slog.New(slog.DiscardHandler), Limits: embedded.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return "mqtt://" + l.Addr().String()
}

// A burst of QoS 1 messages from ten publishers arrives whole with the bare documented configuration, and from the built-in
// broker, and nothing is announced as lost.
func TestBurstArrivesWholeWithTheBareConfiguration(t *testing.T) {
	t.Parallel()
	for _, size := range []int{40, 4000} {
		t.Run("mosquitto, "+strconv.Itoa(size), func(t *testing.T) {
			burst(t, brokertest.Start(t, brokertest.Bare(), brokertest.Conf("sys_interval 1")).URL(), size)
		})
		t.Run("built-in, "+strconv.Itoa(size), func(t *testing.T) { burst(t, builtIn(t), size) })
	}
}

func burst(t *testing.T, url string, size int) {
	const publishers, each = 10, 2000
	rec := newRecorder()
	var got, wrong atomic.Int32
	next := make([]int32, publishers)
	rec.hold = func(m Message) {
		n, _ := strconv.Atoi(strings.TrimPrefix(m.Topic, "burst/"))
		if i, _ := strconv.Atoi(strings.TrimSpace(string(m.Payload[:10]))); int32(i) != next[n] {
			wrong.Add(1)
		}
		next[n]++
		got.Add(1)
	}
	b := launch(t, url, Config{Pool: 1, Watch: []string{"#"}, Receiver: quiet{rec}}).ready(t)
	var all sync.WaitGroup
	for n := range publishers {
		c := brokertest.Dial(t, strings.TrimPrefix(url, "mqtt://"))
		all.Go(func() {
			payload := []byte(strings.Repeat(" ", size))
			var last <-chan error
			for i := range each {
				last = c.PublishAsync("burst/"+strconv.Itoa(n), append([]byte(pad(i)), payload[10:]...), 1, false)
			}
			if err := <-last; err != nil && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Behind a socket that stays full mosquitto keeps 1000 packets, and how much fits into the socket is the
	// machine's to say. So of a burst of many megabytes what is missing must be announced, if anything is.
	large := size > 1000
	eventually(t, "all messages", func() bool {
		return got.Load() == publishers*each || large && strings.Contains(rec.told(), "dropped")
	})
	t.Logf("%d of %d", got.Load(), publishers*each)
	if got.Load() < publishers*each {
		return
	}
	if wrong.Load() > 0 {
		t.Errorf("%d out of order", wrong.Load())
	}
	if err := fenced(b); err != nil {
		t.Fatal(err)
	}
	if got := rec.told(); got != "up" {
		t.Errorf("events: got %q", got)
	}
}

func pad(i int) string {
	s := strconv.Itoa(i)
	return s + strings.Repeat(" ", 10-len(s))
}

// quiet keeps no messages.
type quiet struct{ *recorder }

func (q quiet) Message(m Message) { q.hold(m) }
func (q quiet) Rest()             {}
