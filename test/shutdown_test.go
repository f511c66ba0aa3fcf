package test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// The order of a stop: /readyz says no, new work is refused, publishes in
// flight end as they really end, then the WebSockets are closed.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	for name, overHTTP := range map[string]int{"WebSocket": 0, "HTTP and WebSocket": 20} {
		t.Run(name, func(t *testing.T) {
			broker := brokertest.Start(t)
			proxy := brokertest.StartProxy(t, broker.Addr())
			oracle := brokertest.Dial(t, broker.Addr())
			oracle.Subscribe("#", 1)
			g := startReady(t, proxy.URL(), nil)
			ws := g.dial("")
			proxy.Stall(false, true) // no acknowledgement comes through
			answers := publishBoth(t, g, ws, overHTTP, 20)
			oracle.WaitCount(overHTTP+20, patience)

			stopped := make(chan error, 1)
			go func() { stopped <- g.shutdown() }()
			g.waitReady(503)
			if _, h := g.health(); h.Checks["shutdown"] == "" {
				t.Errorf("/readyz: got %v, want it to say that the gateway goes down", h)
			}
			ws.send(`{"op":"publish","id":"late","topic":"late","payload":1}`)
			if f := ws.wait("the late publish", func(f frame) bool { return string(f.ID) == `"late"` }); f.Problem == nil || f.Problem.Code != "shutting_down" {
				t.Errorf("late publish: got %s, want shutting_down", f.raw)
			}
			select {
			case err := <-stopped:
				t.Fatalf("Run ended before the publishes did: %v", err)
			default:
			}
			proxy.Heal()
			answers()
			if err := <-stopped; err != nil {
				t.Errorf("Run: got %v, want nil", err)
			}
			if got := ws.closed(); got != 1001 {
				t.Errorf("WebSocket: got close code %d, want 1001", got)
			}
			if ok := countPublished(ws.all()); ok != 20 {
				t.Errorf("WebSocket: got %d outcomes before the end, want 20: %s", ok, lastFrames(ws.all()))
			}
		})
	}
}

// publishBoth publishes over HTTP and over a WebSocket without waiting. The
// function waits for the answers of HTTP, which must be 200.
func publishBoth(t *testing.T, g *gateway, ws *socket, overHTTP, overWS int) (answers func()) {
	t.Helper()
	var inFlight sync.WaitGroup
	for i := range overHTTP {
		inFlight.Go(func() {
			a, err := g.tryPost(fmt.Sprintf(`{"topic":"http/%d","payload":%d}`, i, i))
			if err != nil || a.status != http.StatusOK {
				t.Errorf("publish %d: got %d %s (%v), want 200", i, a.status, a.body, err)
			}
		})
	}
	for i := range overWS {
		ws.send(fmt.Sprintf(`{"op":"publish","id":%d,"topic":"ws/%d","payload":%d}`, i, i, i))
	}
	return inFlight.Wait
}

func TestShutdownClosesManyWebSocketsSoon(t *testing.T) {
	t.Parallel()
	// A stop that waited for its timeout would take longer than the test waits.
	g := startReady(t, brokertest.Start(t).URL(), map[string]string{"GATEWAY_SHUTDOWN_TIMEOUT": "1h"})
	var all []*leanSocket
	for range 200 {
		all = append(all, g.dialLean("?topic=a", func([]byte) {}))
	}
	eventually(t, "all have subscribed", func() bool { return g.metric("gateway_subscriptions") == 200 })
	go func() { // a polite client closes after the close frame
		for _, s := range all {
			<-s.done
			_ = s.conn.Close()
		}
	}()
	g.stopped(t)
	for i, s := range all {
		if s.ended(t); s.code != 1001 {
			t.Errorf("WebSocket %d: got close code %d (%v), want 1001", i, s.code, s.err)
		}
	}
}

func TestSIGTERMEndsTheProcess(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	for name, env := range map[string]map[string]string{
		"mosquitto": {"GATEWAY_MQTT_URL": broker.URL(), "GATEWAY_SHUTDOWN_TIMEOUT": "1h"},
		"built-in":  {"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0", "GATEWAY_SHUTDOWN_TIMEOUT": "1h"},
	} {
		t.Run(name, func(t *testing.T) {
			p, g := launchReady(t, env)
			ws := g.dial("?topic=a")
			ws.wait("ack", func(f frame) bool { return f.Type == "ack" })
			g.post(`{"topic":"a","payload":1}`)
			ws.waitMessages(1)
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if got := p.exit(); got != 0 {
				t.Errorf("exit status: got %d, want 0", got)
			}
			if got := ws.closed(); got != 1001 {
				t.Errorf("WebSocket: got close code %d, want 1001", got)
			}
			if got := p.stderr.String(); !strings.Contains(got, `"complete":true`) {
				t.Errorf("the log does not end with a complete stop: %s", tail(got, 500))
			}
			if name == "built-in" {
				isGone(t, p.brokerAddr())
			}
		})
	}
}

// However the gateway ends, its broker does not stay behind.
func TestBuiltInBrokerDiesWithTheGateway(t *testing.T) {
	t.Parallel()
	p, _ := launchReady(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0"})
	addr := p.brokerAddr()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.exit()
	isGone(t, addr)
}

func TestKilledBuiltInBrokerComesBack(t *testing.T) {
	t.Parallel()
	g := startAt(t, "", nil)
	ws := g.dial("")
	ws.subscribe("a")
	g.post(`{"topic":"a","payload":1}`)
	ws.waitMessages(1)
	if err := syscall.Kill(g.brokerPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ws.wait("connected false", func(f frame) bool { return f.Type == "broker" && !f.Connected })
	ws.wait("connected true", func(f frame) bool { return f.Type == "broker" && f.Connected })
	g.waitReady(200)
	if a := g.post(`{"topic":"a","payload":2}`); a.status != 200 {
		t.Errorf("afterwards: got %d %s, want 200", a.status, a.body)
	}
	ws.waitMessages(2)
	if got, want := kinds(ws.all()), "message broker:false gap broker:true message"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
