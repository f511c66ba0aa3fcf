package test

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/spectest"
)

// checks are those of /readyz.
func (g *gateway) checks(t *testing.T) (status string, checks map[string]string) {
	t.Helper()
	health := spectest.Decode[struct {
		Status string
		Checks map[string]string
	}](t, g.do(request{method: "GET", path: "/readyz"}).body)
	return health.Status, health.Checks
}

// What the gateway speaks with its broker, and that it has a broker, is said
// once.
func TestVersionAndConnectionAreTold(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	for setting, want := range map[string]string{"auto": "5", "5": "5", "4": "3.1.1"} {
		g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": setting})
		if status, checks := g.checks(t); status != "ready" || checks["mqtt_version"] != want {
			t.Errorf("%s: got %s %v, want ready and version %s", setting, status, checks, want)
		}
		log := g.logged()
		if !strings.Contains(log, `"msg":"the broker speaks MQTT","version":"`+want+`"`) {
			t.Errorf("%s: the log does not name the version: %s", setting, tail(log, 2000))
		}
		if n := strings.Count(log, `"msg":"connected to the broker"`); n != 1 {
			t.Errorf("%s: connected is logged %d times, want once: %s", setting, n, tail(log, 4000))
		}
		env := map[string]string{"GATEWAY_MQTT_URL": broker.URL(), "GATEWAY_MQTT_VERSION": setting}
		p := launch(t, env, "check")
		if status := p.exit(); status != 0 || !strings.Contains(p.stdout.String(), "MQTT version: "+want+"\n") || strings.Contains(p.stdout.String(), "warning") {
			t.Errorf("%s: check: got %d %s, want 0, the version, and no warning", setting, status, p.stdout.String())
		}
	}
}

// A broker that lets the gateway in and denies it everything, or closes the
// connection on a message that it denies, is found out, and what to grant is
// said.
func TestSelfTestIsTold(t *testing.T) {
	t.Parallel()
	closing := brokertest.StartProxy(t, brokertest.Start(t).Addr())
	closing.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if dir == brokertest.Up && brokertest.PacketType(packet) == brokertest.PUBLISH && bytes.Contains(packet, []byte("$gateway/")) {
			return nil, brokertest.CutNow
		}
		return nil, brokertest.Pass
	})
	for name, url := range map[string]string{
		"denies": brokertest.Start(t, accessFile(t, "topic deny #\n")).URL(),
		"closes": closing.URL(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, map[string]string{"GATEWAY_MQTT_URL": url})
			eventually(t, "the warning stands in /readyz", func() bool {
				status, checks := g.checks(t)
				return status == "degraded" && strings.Contains(checks["self_test"], "$gateway/#")
			})
			if log := g.logged(); !strings.Contains(log, "read and write on $gateway/#") {
				t.Errorf("the log has no warning: %s", tail(log, 2000))
			}
			p := launch(t, map[string]string{"GATEWAY_MQTT_URL": url}, "check")
			if status := p.exit(); status != 0 || !strings.Contains(p.stdout.String(), "warning: ") || !strings.Contains(p.stdout.String(), "$gateway/#") {
				t.Errorf("check: got %d %s, want 0 and a warning", status, p.stdout.String())
			}
		})
	}
}

// Why the broker has ended the connection stands in the log and in /readyz.
func TestDisconnectReasonIsTold(t *testing.T) {
	t.Parallel()
	var leaving atomic.Bool
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if leaving.Load() {
			_, _, _, _ = c.ReadPacket()
			_, _, _, _ = c.ReadPacket() // says nothing, until the gateway gives up
			return
		}
		if c.AcceptConnect(0) != nil {
			return
		}
		_ = c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.PUBLISH || !bytes.Contains(body, []byte("leave")) {
				return false
			}
			leaving.Store(true)
			_ = c.Write([]byte{brokertest.DISCONNECT << 4, 2, 0x98, 0})
			c.Close()
			return true
		})
	})
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": "5", "GATEWAY_MQTT_POOL": "1"})
	g.do(request{method: "POST", path: "/topics/leave?qos=0", body: "1"})
	g.waitReady(http.StatusServiceUnavailable)
	const want = "the broker ended the connection: administrative action"
	if _, checks := g.checks(t); checks["publish"] != want {
		t.Errorf("/readyz: got %v, want %s", checks, want)
	}
	if log := g.logged(); !strings.Contains(log, `"err":"`+want+`"`) {
		t.Errorf("the log does not say why: %s", tail(log, 2000))
	}
}

// A broker that closes the connection on a filter has refused it: who asks for
// it is told so, and others go on.
func TestFilterThatEndsTheConnectionIsRefused(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		_ = c.Serve(func(kind, _ byte, body []byte) bool {
			if kind == brokertest.SUBSCRIBE && bytes.Contains(body, []byte("secret")) {
				c.Close()
			}
			return false
		})
	})
	for _, version := range []string{"4", "5"} {
		g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": version, "GATEWAY_WATCH": ""})
		g.dial("?topic=open").wait("ack", func(f frame) bool { return f.Type == "ack" })
		eventually(t, "the filter is refused", func() bool {
			got := g.do(request{method: "GET", path: "/events?topic=secret"})
			return got.status == 403 && strings.Contains(got.body, `"code":"filter_refused"`)
		})
		ack := g.dial("").subscribeAs(1, "secret", "other")
		if r := ack.Results; len(r) != 2 || r[0].Code != "filter_refused" || !r[1].OK {
			t.Errorf("MQTT %s: got %s, want the first refused and the other one not", version, ack.raw)
		}
	}
}
