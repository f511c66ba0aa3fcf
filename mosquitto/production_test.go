package mosquitto_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// startProduction runs production.conf with a password file for the users
// gateway, lamp1 and lamp2; each has its name as its password.
func startProduction(t *testing.T) *brokertest.Broker {
	t.Helper()
	passwords := filepath.Join(t.TempDir(), "passwords")
	for i, user := range []string{"gateway", "lamp1", "lamp2"} {
		args := []string{"-b", passwords, user, user}
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if out, err := exec.CommandContext(t.Context(), "mosquitto_passwd", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
	}
	acl, err := filepath.Abs("production.acl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(acl); err != nil {
		t.Fatal(err)
	}
	return brokertest.Start(t, brokertest.ConfFile(production),
		brokertest.Set("password_file", passwords), brokertest.Set("acl_file", acl), brokertest.Conf("sys_interval 1"))
}

func dialAs(t *testing.T, b *brokertest.Broker, user string) *brokertest.Client {
	t.Helper()
	return brokertest.Dial(t, b.URL(), brokertest.Credentials(user, user))
}

func publish(t *testing.T, c *brokertest.Client, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		if err := c.Publish(topic, []byte("x"), 1, false); err != nil {
			t.Fatalf("publish to %s: %v", topic, err)
		}
	}
}

func waitTopic(t *testing.T, c *brokertest.Client, topic string) {
	t.Helper()
	c.Wait(patience, func(m brokertest.Message) bool { return m.Topic == topic })
}

// only reports every received topic for which allowed is false.
func only(t *testing.T, c *brokertest.Client, who string, allowed func(topic string) bool) {
	t.Helper()
	for _, m := range c.Received() {
		if !allowed(m.Topic) {
			t.Errorf("%s received %s", who, m.Topic)
		}
	}
}

func TestProductionRefusesStrangers(t *testing.T) {
	b := startProduction(t)
	if _, err := brokertest.TryDial(t, b.URL()); err != brokertest.ConnackError(5) {
		t.Errorf("anonymous: got %v, want CONNACK 5", err)
	}
	if _, err := brokertest.TryDial(t, b.URL(), brokertest.Credentials("lamp1", "wrong")); err != brokertest.ConnackError(5) {
		t.Errorf("wrong password: got %v, want CONNACK 5", err)
	}
	if _, err := brokertest.TryDial(t, b.URL(), brokertest.Credentials("nobody", "x")); err != brokertest.ConnackError(5) {
		t.Errorf("unknown user: got %v, want CONNACK 5", err)
	}
	dialAs(t, b, "lamp1")
}

func TestProductionKeepsDevicesApart(t *testing.T) {
	b := startProduction(t)
	gateway, lamp1, lamp2 := dialAs(t, b, "gateway"), dialAs(t, b, "lamp1"), dialAs(t, b, "lamp2")
	gateway.Subscribe("#", 1)
	lamp1.Subscribe("#", 1)
	lamp1.Subscribe("devices/lamp1/#", 1)

	publish(t, lamp2, "devices/lamp1/set", "other/topic", "devices/lamp2/state")
	publish(t, gateway, "secret/topic", "devices/lamp1/set", "devices/lamp1/end")
	waitTopic(t, lamp1, "devices/lamp1/end")
	waitTopic(t, gateway, "devices/lamp1/end")

	only(t, lamp1, "lamp1", func(topic string) bool { return strings.HasPrefix(topic, "devices/lamp1/") })
	if got := lamp1.Count(); got != 2 {
		t.Errorf("lamp1 received %d messages, want the 2 that the gateway sent: %+v", got, lamp1.Received())
	}
	only(t, gateway, "gateway", func(topic string) bool { return topic != "other/topic" })
	waitTopic(t, gateway, "devices/lamp2/state")
}

func TestProductionHidesTheBroker(t *testing.T) {
	b := startProduction(t)
	gateway, lamp1 := dialAs(t, b, "gateway"), dialAs(t, b, "lamp1")
	for _, filter := range []string{"$SYS/#", "$SYS/broker/log/#", "$gateway/#", "$CONTROL/#", "devices/lamp1/#"} {
		lamp1.Subscribe(filter, 1)
	}
	for _, filter := range []string{"$SYS/#", "$gateway/#", "$CONTROL/#"} {
		gateway.Subscribe(filter, 1)
	}
	publish(t, lamp1, "$CONTROL/dynamic-security/v1", "$gateway/fence", "devices/lamp1/state")
	publish(t, gateway, "$CONTROL/dynamic-security/v1", "$gateway/fence")
	waitTopic(t, gateway, "$gateway/fence")

	// Two rounds of counters have passed when the uptime came twice after the
	// retained one.
	seen := 0
	gateway.Wait(patience, func(m brokertest.Message) bool {
		if m.Topic == "$SYS/broker/uptime" && !m.Retain {
			seen++
		}
		return seen == 2
	})
	publish(t, gateway, "devices/lamp1/end")
	waitTopic(t, lamp1, "devices/lamp1/end")

	only(t, lamp1, "lamp1", func(topic string) bool { return strings.HasPrefix(topic, "devices/lamp1/") })
	fences := 0
	only(t, gateway, "gateway", func(topic string) bool {
		if topic == "$gateway/fence" {
			fences++
		}
		return !strings.HasPrefix(topic, "$CONTROL/") && !strings.HasPrefix(topic, "$SYS/broker/log/")
	})
	if fences != 1 {
		t.Errorf("gateway received %d fences, want only its own", fences)
	}
}

func TestProductionLosesNothingInABurst(t *testing.T) {
	const n = 20_000
	b := startProduction(t)
	p := brokertest.StartProxy(t, b.URL())
	s := brokertest.Dial(t, p.URL(), brokertest.Credentials("gateway", "gateway"))
	if code := s.Subscribe("#", 1); code != 1 {
		t.Fatalf("SUBACK: got %#x, want 1", code)
	}
	p.Stall(false, true)
	c := dialAs(t, b, "lamp1")
	acks := make([]<-chan error, n)
	for i := range n {
		acks[i] = c.PublishAsync("devices/lamp1/state", []byte("x"), 1, false)
	}
	for _, ack := range acks {
		if err := <-ack; err != nil {
			t.Fatal(err)
		}
	}
	p.Heal()
	s.WaitCount(n, patience)
}
