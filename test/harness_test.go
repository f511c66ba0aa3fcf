package test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/config"
	vulture "github.com/vulturepi/gateway/internal/gateway"
	"github.com/vulturepi/gateway/internal/hub"
)

// gateway is the whole program, running inside the test on free ports.
type gateway struct {
	t         testing.TB
	url       string // of the public listener
	admin     string
	ws        string
	brokerPID int
	client    *http.Client
	said      *output
	log       *vulture.Log // writes to said; nil for a process

	stop context.CancelFunc
	done chan error
}

func newGateway(t testing.TB) *gateway {
	g := &gateway{t: t, client: newClient(0), said: &output{}, done: make(chan error, 1)}
	t.Cleanup(g.client.CloseIdleConnections)
	return g
}

// environment guards the process's, of which a configuration is made.
var environment sync.Mutex

// variables are env, and what every test wants: free ports, a log that can be
// read, limits that a busy machine does not reach, and a password that must
// stand nowhere.
func variables(env map[string]string) map[string]string {
	all := map[string]string{
		"GATEWAY_HTTP_ADDR": "127.0.0.1:0", "GATEWAY_ADMIN_ADDR": "127.0.0.1:0",
		"GATEWAY_LOG_FORMAT": "json", "GATEWAY_LOG_LEVEL": "debug",
		"GATEWAY_PUBLISH_TIMEOUT": "2m", "GATEWAY_SHUTDOWN_TIMEOUT": "150s", "GATEWAY_MQTT_KEEPALIVE": "120s",
	}
	if env["GATEWAY_MQTT_URL"] == "" {
		all["GATEWAY_EMBEDDED_ADDR"] = "127.0.0.1:0"
	}
	maps.Copy(all, env)
	return withCanaries(all)
}

// configuration is what a gateway makes of the variables in env, and of no
// others.
func configuration(t testing.TB, env map[string]string) *config.Config {
	t.Helper()
	all := variables(env)
	environment.Lock()
	defer environment.Unlock()
	for name, value := range all {
		_ = os.Setenv(name, value)
		defer os.Unsetenv(name)
	}
	cfg, _, err := config.Load()
	if err != nil {
		t.Fatalf("configuration: %v", err)
	}
	return cfg
}

// unhurried are limits of time that a busy machine does not reach: for the head
// of a request, and for retained messages, without which a subscription would
// begin. No stream is asked for signs of life.
func unhurried() []vulture.Option {
	return []vulture.Option{
		vulture.WithHTTP(func(s *http.Server) { s.ReadHeaderTimeout = patience }),
		vulture.WithHub(func(o *hub.Options) { o.KeepAlive, o.FetchTime = 10_000*time.Hour, patience }),
	}
}

// start runs the gateway with env, and waits until it listens. It ends with
// the test. Without GATEWAY_MQTT_URL it starts the built-in broker.
func start(t testing.TB, env map[string]string, options ...vulture.Option) *gateway {
	t.Helper()
	if env["GATEWAY_MQTT_URL"] == "" {
		gatewayBinary(t)
	}
	cfg := configuration(t, env)
	g := newGateway(t)
	g.log = vulture.NewLog(cfg.LogFormat, cfg.LogLevel, g.said)
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	listening := make(chan vulture.Addresses, 1)
	go func() {
		g.done <- vulture.Run(ctx, cfg, "dev", g.log, func(a vulture.Addresses) { listening <- a }, append(unhurried(), options...)...)
	}()
	select {
	case a := <-listening:
		g.at(a.HTTP, a.Admin)
		g.brokerPID = a.BrokerPID
	case err := <-g.done:
		t.Fatalf("the gateway did not start: %v\n%s", err, g.logged())
	}
	t.Cleanup(func() {
		g.birds()
		_ = g.shutdown()
		g.log.Close()
		sealed(t, "the log", g.said.String())
		if t.Failed() {
			t.Logf("gateway log (end):\n%s", tail(g.said.String(), 8000))
		}
	})
	return g
}

// startReady is start with a broker, and waits until the gateway is ready.
func startReady(t testing.TB, brokerURL string, env map[string]string, options ...vulture.Option) *gateway {
	t.Helper()
	all := map[string]string{"GATEWAY_MQTT_URL": brokerURL}
	maps.Copy(all, env)
	g := start(t, all, options...)
	g.waitReady(http.StatusOK)
	return g
}

// startBuiltIn is the same with the built-in broker, as for whoever types make
// run.
func startBuiltIn(t testing.TB, env map[string]string) *gateway {
	t.Helper()
	g := start(t, env)
	g.waitReady(http.StatusOK)
	return g
}

// at says where the gateway is, by host and port.
func (g *gateway) at(public, admin string) {
	g.url, g.ws = "http://"+public, "ws://"+public+"/ws"
	if admin != "" {
		g.admin = "http://" + admin
	}
}

// host is the public listener's host and port.
func (g *gateway) host() string { return strings.TrimPrefix(g.url, "http://") }

// logged is the log so far.
func (g *gateway) logged() string {
	if g.log != nil {
		g.log.Flush(patience)
	}
	return g.said.String()
}

// shutdown stops the gateway as SIGTERM does and returns what Run returned.
func (g *gateway) shutdown() error {
	g.stop()
	err, open := <-g.done
	if open {
		close(g.done)
	}
	return err
}

// stopped stops the gateway, which must not take as long as the shutdown
// timeout that a test sets.
func (g *gateway) stopped(t testing.TB) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- g.shutdown() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	case <-time.After(patience):
		t.Fatal("the gateway does not stop")
	}
}

func (g *gateway) waitReady(status int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("/readyz answers %d", status), func() bool {
		res, err := g.client.Get(g.admin + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == status
	})
}

// metrics reads all samples of /metrics, by name and labels as written there.
func (g *gateway) metrics() map[string]float64 {
	g.t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(g.get(g.admin + "/metrics")) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			if err != nil {
				g.t.Fatalf("metric %s: %v", line, err)
			}
			all[line[:at]] = v
		}
	}
	return all
}

// metric reads one sample from /metrics; labels are written as there.
func (g *gateway) metric(name string) float64 {
	g.t.Helper()
	for line := range strings.Lines(g.get(g.admin + "/metrics")) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err != nil {
				g.t.Fatalf("metric %s: %v", name, err)
			}
			return v
		}
	}
	return 0
}
