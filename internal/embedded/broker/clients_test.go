package broker

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// mosquitto runs mosquitto_pub or mosquitto_sub against the broker and returns what it prints.
func (s *server) mosquitto(name string, args ...string) string {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.addr)
	ctx, cancel := context.WithTimeout(context.Background(), raw.Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestMosquittosClients(t *testing.T) {
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			s := start(t)
			for qos := range 3 {
				s.mosquitto("mosquitto_pub", "-V", version, "-q", fmt.Sprint(qos), "-r", "-t", fmt.Sprint("m/", qos), "-m", fmt.Sprint("at ", qos))
			}
			eventually(t, "the message at QoS 0 is there", func() bool { return s.figure(func() int64 { return int64(s.retainedCount) }) == 3 })
			got := s.mosquitto("mosquitto_sub", "-V", version, "-q", "2", "-t", "m/+", "-C", "3", "-F", "%t %q %r %p")
			if want := "m/0 0 1 at 0\nm/1 1 1 at 1\nm/2 2 1 at 2\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			s.mosquitto("mosquitto_pub", "-V", version, "-t", "m/0", "-r", "-n")
			s.mosquitto("mosquitto_pub", "-V", version, "-q", "1", "-r", "-t", "m/9", "-m", strings.Repeat("x", 100_000))
			if got := s.mosquitto("mosquitto_sub", "-V", version, "-t", "m/9", "-C", "1"); len(got) != 100_001 {
				t.Errorf("got %d bytes, want 100000 and an end of line", len(got))
			}
			sub := []string{"-V", version, "-c", "-i", "kept", "-q", "1", "-t", "k/#"}
			s.mosquitto("mosquitto_sub", append(sub, "-E")...)
			s.mosquitto("mosquitto_pub", "-V", version, "-q", "1", "-t", "k/1", "-m", "meanwhile")
			if got := s.mosquitto("mosquitto_sub", append(sub, "-C", "1")...); got != "meanwhile\n" {
				t.Errorf("got %q, want what came meanwhile", got)
			}
		})
	}
}

func TestMosquittosPropertiesComeThrough(t *testing.T) {
	s := start(t)
	s.mosquitto("mosquitto_pub", "-V", "5", "-q", "1", "-r", "-t", "p", "-m", "x", "-D", "publish", "user-property", "a", "b", "-D", "publish", "user-property", "a", "c",
		"-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "answer", "-D", "publish", "correlation-data", "42", "-D", "publish", "payload-format-indicator", "1", "-D", "publish", "message-expiry-interval", "1000")
	got := s.mosquitto("mosquitto_sub", "-V", "5", "-t", "p", "-C", "1", "-D", "subscribe", "subscription-identifier", "5", "-F", "%P|%C|%R|%D|%F|%S")
	if want := "a:b a:c|text/plain|answer|42|1|5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A bridge of mosquitto with its default configuration connects, though it begins with a level of its own, and carries
// messages both ways.
func TestABridgeOfMosquittoConnects(t *testing.T) {
	s := start(t)
	bridge := brokertest.Start(t, brokertest.Conf(
		"connection built-in", "address "+s.addr, "topic up/# out 1", "topic down/# in 2", "topic state/# both 1", "restart_timeout 1"))
	inner, outer := s.subscribed(2, "#"), brokertest.Dial(t, bridge.Addr())
	outer.Subscribe("#", 2)
	if err := outer.Publish("up/1", []byte("retained"), 1, true); err != nil {
		t.Fatal(err)
	}
	inner.Wait(raw.Patience, func(m brokertest.Message) bool { return m.Topic == "up/1" && string(m.Payload) == "retained" })
	s.publish("down/1", "x", 2, false)
	outer.Wait(raw.Patience, func(m brokertest.Message) bool { return m.Topic == "down/1" && m.QoS == 2 })
	s.publish("state/1", "y", 1, true)
	outer.Wait(raw.Patience, func(m brokertest.Message) bool { return m.Topic == "state/1" })
	if got := bridge.Log(); strings.Contains(got, "refused") && !strings.Contains(got, "protocol version") {
		t.Errorf("the bridge's log:\n%s", got)
	}
}

func TestPahosClientOfVersion3(t *testing.T) {
	s := start(t)
	got := make(chan mqtt.Message, 10)
	connect := func(id string, will bool) mqtt.Client {
		t.Helper()
		o := mqtt.NewClientOptions().AddBroker("tcp://" + s.addr).SetClientID(id).SetCleanSession(false).SetAutoReconnect(false).
			SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- m })
		if will {
			o.SetWill("will", "gone", 2, true)
		}
		c := mqtt.NewClient(o)
		settled(t, c.Connect())
		t.Cleanup(func() { c.Disconnect(0) })
		return c
	}
	c := connect("c", false)
	settled(t, c.SubscribeMultiple(map[string]byte{"a/#": 2, "a/b": 1, "will": 1}, nil))
	for qos := range byte(3) {
		settled(t, c.Publish("a/b", qos, qos == 2, fmt.Sprint("at ", qos)))
		if m := receive(t, got); m.Qos() != qos || string(m.Payload()) != fmt.Sprint("at ", qos) {
			t.Errorf("got %q at QoS %d, want what was published at QoS %d", m.Payload(), m.Qos(), qos)
		}
	}
	mortal := raw.Dial(t, s.addr, 4)
	mortal.Send(raw.Connect(4, 0x0E, nil, "mortal", raw.Text("will"), raw.Text("gone")))
	mortal.Accepted()
	_ = mortal.Close()
	if m := receive(t, got); string(m.Payload()) != "gone" {
		t.Errorf("got %q, want the will", m.Payload())
	}
	s.acknowledgedAll("c")
	c.Disconnect(100)
	eventually(t, "it has disconnected", func() bool { return s.figure(func() int64 { return int64(s.offline) }) == 1 })
	s.publish("a/b", "meanwhile", 1, false)
	connect("c", false)
	if m := receive(t, got); string(m.Payload()) != "meanwhile" {
		t.Errorf("got %q, want what came meanwhile", m.Payload())
	}
}

// acknowledgedAll waits until a client has acknowledged all that it was sent: what it has not is sent again.
func (s *server) acknowledgedAll(id string) {
	s.t.Helper()
	eventually(s.t, "all is acknowledged", func() bool { return s.figure(func() int64 { return int64(len(s.sessions[id].flight)) }) == 0 })
}

func settled(t *testing.T, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(raw.Patience) || token.Error() != nil {
		t.Fatalf("paho: %v", token.Error())
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(raw.Patience):
		t.Fatalf("nothing came in %v", raw.Patience)
		panic("not reached")
	}
}

func TestPahosClientOfVersion5(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), raw.Patience)
	defer cancel()
	got := make(chan *paho.Publish, 10)
	connect := func(id string, clean bool) (*paho.Client, *paho.Connack) {
		t.Helper()
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		c := paho.NewClient(paho.ClientConfig{Conn: nc, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) { got <- p.Packet; return true, nil },
		}})
		expiry, maximum := uint32(600), uint16(5)
		ack, err := c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: clean, KeepAlive: 30, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, ReceiveMaximum: &maximum}})
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
		return c, ack
	}
	c, ack := connect("c", true)
	if ack.SessionPresent || *ack.Properties.MaximumPacketSize != uint32(DefaultLimits().Packet) {
		t.Errorf("got CONNACK %+v, want no session and the maximum packet size", ack)
	}
	id := 9
	suback, err := c.Subscribe(ctx, &paho.Subscribe{Properties: &paho.SubscribeProperties{SubscriptionIdentifier: &id},
		Subscriptions: []paho.SubscribeOptions{{Topic: "a/#", QoS: 2, RetainAsPublished: true}, {Topic: "other", QoS: 1}}})
	if err != nil || fmt.Sprint(suback.Reasons) != "[2 1]" {
		t.Fatalf("SUBSCRIBE: got %v, error %v, want the reasons 2 and 1", suback, err)
	}
	for qos := range byte(3) {
		p := &paho.Publish{Topic: "a/b", QoS: qos, Retain: true, Payload: []byte("x"), Properties: &paho.PublishProperties{ContentType: "text/plain", User: paho.UserProperties{{Key: "k", Value: "v"}}}}
		res, err := c.Publish(ctx, p)
		if err != nil || qos > 0 && res.ReasonCode != 0 {
			t.Fatalf("QoS %d: got %+v, error %v, want reason 0", qos, res, err)
		}
		m := receive(t, got)
		if m.QoS != qos || !m.Retain || m.Properties.ContentType != "text/plain" || m.Properties.User.Get("k") != "v" || *m.Properties.SubscriptionIdentifier != 9 {
			t.Errorf("QoS %d: got %+v with %+v, want it as it was published", qos, m, m.Properties)
		}
	}
	if res, err := c.Publish(ctx, &paho.Publish{Topic: "nobody", QoS: 1}); err != nil || res.ReasonCode != 0x10 {
		t.Errorf("nobody has subscribed: got %+v, error %v, want reason 0x10", res, err)
	}
	s.acknowledgedAll("c")
	if err := c.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has disconnected", func() bool { return s.figure(func() int64 { return int64(s.offline) }) == 1 })
	for i := range 20 {
		s.publish("a/b", fmt.Sprint(i), 1, false)
	}
	if _, ack := connect("c", false); !ack.SessionPresent {
		t.Error("got no session, want the one of before")
	}
	for i := range 20 { // more than its receive maximum
		if m := receive(t, got); string(m.Payload) != fmt.Sprint(i) {
			t.Errorf("got %q, want message %d", m.Payload, i)
		}
	}
}
