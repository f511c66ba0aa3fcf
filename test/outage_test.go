package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// health asks /readyz.
func (g *gateway) health() (int, wire.Health) {
	g.t.Helper()
	res, err := g.client.Get(g.admin + "/readyz")
	if err != nil {
		g.t.Fatalf("GET /readyz: %v", err)
	}
	defer res.Body.Close()
	var h wire.Health
	b, _ := io.ReadAll(res.Body)
	if err := json.Unmarshal(b, &h); err != nil {
		g.t.Fatalf("GET /readyz: %v: %s", err, b)
	}
	return res.StatusCode, h
}

// waitDown waits until both publishing and subscribing are known to be
// impossible. It is for gateways with one publisher connection.
func (g *gateway) waitDown() {
	g.t.Helper()
	eventually(g.t, "/readyz reports publish and subscribe as down", func() bool {
		status, h := g.health()
		return status == http.StatusServiceUnavailable && h.Checks["publish"] != "ok" && h.Checks["subscribe"] != "ok"
	})
}

// isUnavailable checks the answer to a publish while there is no broker.
func isUnavailable(t *testing.T, what string, a answer) {
	t.Helper()
	if a.status != 503 || a.problem.Code != "broker_unavailable" || !a.problem.Retryable || a.header.Get("Retry-After") == "" {
		t.Errorf("%s: got %d %s, Retry-After %q; want 503 broker_unavailable with Retry-After", what, a.status, a.body, a.header.Get("Retry-After"))
	}
}

// postFields publishes over HTTP and returns the status and the problem's code.
func (g *gateway) postFields(fields string) (status int, code string) {
	a := g.post("{" + fields + "}")
	return a.status, string(a.problem.Code)
}

// publishFields is the same over the WebSocket; it is for one publish only.
func (s *socket) publishFields(fields string) (status int, code string) {
	s.send(`{"op":"publish","id":"fields",` + fields + `}`)
	f := s.wait("the outcome", func(f frame) bool { return string(f.ID) == `"fields"` })
	if f.Problem != nil {
		return f.Problem.Status, string(f.Problem.Code)
	}
	return f.Status, ""
}

// What was sent and not acknowledged on the same connection is never called
// published, whatever happens on the next one.
func TestLostAcknowledgementIsOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		qos    int
		packet byte
		action brokertest.Action
	}{
		{"PUBACK cut", 1, brokertest.PUBACK, brokertest.CutNow},
		{"PUBREC cut", 2, brokertest.PUBREC, brokertest.CutNow},
		{"PUBCOMP cut", 2, brokertest.PUBCOMP, brokertest.CutNow},
		{"PUBACK swallowed", 1, brokertest.PUBACK, brokertest.Swallow},
		{"PUBCOMP swallowed", 2, brokertest.PUBCOMP, brokertest.Swallow},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.Start(t)
			oracle := brokertest.Dial(t, broker.Addr())
			oracle.Subscribe("#", 2)
			proxy := brokertest.StartProxy(t, broker.Addr())
			g := startReady(t, proxy.URL(), map[string]string{"GATEWAY_PUBLISH_TIMEOUT": "1s"})
			ws := g.dial("")
			for i, publish := range []func(string) (int, string){g.postFields, ws.publishFields} {
				reconnects := g.metric("gateway_broker_reconnects_total")
				var armed atomic.Bool
				armed.Store(true)
				proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
					if dir == brokertest.Down && brokertest.PacketType(packet) == tt.packet && armed.CompareAndSwap(true, false) {
						return nil, tt.action
					}
					return nil, brokertest.Pass
				})
				if status, code := publish(fmt.Sprintf(`"topic":"a","payload":%d,"qos":%d`, i, tt.qos)); status != 504 || code != "outcome_unknown" {
					t.Errorf("publish %d: got %d %s, want 504 outcome_unknown", i, status, code)
				}
				if armed.Load() {
					t.Fatal("the packet did not come by")
				}
				if tt.action == brokertest.CutNow {
					eventually(t, "the connection is made again", func() bool { return g.metric("gateway_broker_reconnects_total") > reconnects })
				}
				g.waitReady(200)
			}
			end := 100
			eventually(t, "a publish is acknowledged", func() bool { // in a second
				end++
				return g.post(fmt.Sprintf(`{"topic":"a","payload":%d}`, end)).status == 200
			})
			oracle.Wait(patience, func(m brokertest.Message) bool { return string(m.Payload) == fmt.Sprint(end) })
			seen := map[string]int{}
			for _, m := range oracle.Received() {
				if seen[string(m.Payload)]++; seen[string(m.Payload)] > 1 {
					t.Errorf("%q was sent again", m.Payload)
				}
			}
		})
	}
}

func TestBrokerOutageIsSaidEverywhere(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	// A publish that waited for the broker instead would wait longer than the test.
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_POOL": "1", "GATEWAY_PUBLISH_TIMEOUT": "10m", "GATEWAY_SHUTDOWN_TIMEOUT": "15m"})
	ws := g.dial("?topic=a")
	ws.wait("ack", func(f frame) bool { return f.Type == "ack" })
	g.post(`{"topic":"a","payload":"before"}`)
	last := ws.waitMessages(1)[0].Cursor
	broker.Stop()
	g.waitDown()
	checkDown(t, g, ws)

	late := g.dial("")
	if f := late.wait("broker", func(f frame) bool { return f.Type == "broker" }); f.Connected {
		t.Errorf("who comes during the outage: got %s, want connected false", f.raw)
	}
	late.subscribe("a")
	broker.StartAgain()
	g.waitReady(200)
	if a := g.post(`{"topic":"a","payload":"after"}`); a.status != 200 {
		t.Fatalf("afterwards: got %d %s", a.status, a.body)
	}
	for name, s := range map[string]*socket{"who was there": ws, "who came during the outage": late} {
		s.wait("the message after", func(f frame) bool { return string(f.Payload) == `"after"` })
		if got, want := kinds(s.all()), map[bool]string{true: "message broker:false gap broker:true message", false: "broker:false ack gap broker:true message"}[s == ws]; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		gap := s.wait("gap", func(f frame) bool { return f.Type == "gap" })
		if gap.Reason != wire.GapBrokerConnectionLost || gap.After != last || gap.Before == last || gap.Before == "" {
			t.Errorf("%s: got %s, want broker_connection_lost after %s", name, gap.raw, last)
		}
	}
}

// checkDown checks what clients see while the broker is known to be gone.
func checkDown(t *testing.T, g *gateway, ws *socket) {
	t.Helper()
	for _, qos := range []string{"0", "1", "2"} {
		a := g.post(`{"topic":"a","payload":1,"qos":` + qos + `}`)
		isUnavailable(t, "QoS "+qos, a)
		ws.send(`{"op":"publish","id":"down` + qos + `","topic":"a","payload":1,"qos":` + qos + `}`)
		f := ws.wait("the outcome", func(f frame) bool { return string(f.ID) == `"down`+qos+`"` })
		if f.Type != "error" || f.Problem == nil || f.Problem.Code != "broker_unavailable" {
			t.Errorf("WebSocket, QoS %s: got %s, want broker_unavailable", qos, f.raw)
		}
	}
	for _, base := range []string{g.url, g.admin} {
		if got := g.get(base + "/livez"); !strings.Contains(got, "alive") {
			t.Errorf("/livez: got %s, want alive", got)
		}
		res, err := g.client.Get(base + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("/readyz: got %d, want 503 with Retry-After", res.StatusCode)
		}
	}
	if got := g.metric("gateway_broker_connected"); got != 0 {
		t.Errorf("gateway_broker_connected: got %v, want 0", got)
	}
}

// kinds are the types of the frames that tell about the stream.
func kinds(frames []frame) string {
	var all []string
	acked := false
	for _, f := range frames {
		switch f.Type {
		case "broker":
			all = append(all, fmt.Sprint("broker:", f.Connected))
		case "ack":
			if acked = len(all) > 0; acked { // the first thing of all goes without saying
				all = append(all, "ack")
			}
		case "message", "gap":
			all = append(all, f.Type)
		}
	}
	return strings.Join(all, " ")
}

func TestRefusedConnectIsSaidAndTriedAgain(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	var mu sync.Mutex
	levels := map[string]int{} // by protocol name and level
	refuse.Store(true)
	fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		kind, _, body, err := c.ReadPacket()
		if err != nil || kind != brokertest.CONNECT {
			return
		}
		mu.Lock()
		n := 2 + int(body[1])
		levels[fmt.Sprint(string(body[2:n]), body[n])]++
		mu.Unlock()
		if refuse.Load() {
			_ = c.Write([]byte{brokertest.CONNACK << 4, 2, 0, 5})
			return
		}
		_ = c.Write([]byte{brokertest.CONNACK << 4, 2, 0, 0})
		_ = c.Serve(nil)
	})
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": fake.URL(), "GATEWAY_MQTT_POOL": "2"})
	// Every link has been refused more than once.
	eventually(t, "ten connections", func() bool { return fake.Connections() >= 10 })
	status, h := g.health()
	if status != 503 || h.Status != "not_ready" || !strings.Contains(h.Checks["publish"], "not authorised") {
		t.Errorf("/readyz: got %d %v, want 503 and the reason", status, h)
	}
	isUnavailable(t, "refused", g.post(`{"topic":"a","payload":1}`))
	if got := warnings(g.logged(), "not authorised"); got != 1 {
		t.Errorf("warnings with the reason in the log: got %d, want 1 for all attempts", got)
	}
	refuse.Store(false)
	g.waitReady(200)
	if a := g.post(`{"topic":"a","payload":1}`); a.status != 200 {
		t.Errorf("afterwards: got %d %s, want 200", a.status, a.body)
	}
	mu.Lock()
	defer mu.Unlock()
	if levels["MQTT4"] == 0 || levels["MQTT5"] == 0 || len(levels) != 2 {
		t.Errorf("protocol levels tried: got %v, want MQTT 5, and 3.1.1 of those before it", levels)
	}
}

// warnings counts the lines of a log above the level INFO that hold text.
func warnings(log, text string) int {
	n := 0
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) && (strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`)) {
			n++
		}
	}
	return n
}

// A broker that hangs holds nobody longer than the publish timeout.
func TestHangingBrokerHoldsNobody(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 2)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_PUBLISH_TIMEOUT": "1s"})
	ws := g.dial("")
	broker.Pause()
	defer broker.Continue()
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			a, err := g.tryPost(fmt.Sprintf(`{"topic":"a/%d","payload":1,"qos":%d}`, i, 1+i%2))
			if err != nil || a.status != 504 && a.status != 503 {
				t.Errorf("got %d %s (%v), want 504 or 503", a.status, a.body, err)
			}
		})
	}
	ws.send(`{"op":"publish","id":1,"topic":"ws","payload":1}`)
	ws.sync() // the reader does not wait for the outcome
	if f := ws.wait("the outcome", func(f frame) bool { return string(f.ID) == "1" }); f.Problem == nil || f.Problem.Code != "outcome_unknown" {
		t.Errorf("WebSocket: got %s, want outcome_unknown", f.raw)
	}
	all.Wait()
	if got := g.get(g.url + "/livez"); !strings.Contains(got, "alive") {
		t.Errorf("/livez: got %s, want alive", got)
	}
	broker.Continue()
	g.waitReady(200)
	eventually(t, "a publish is acknowledged again", func() bool { return g.post(`{"topic":"end","payload":1}`).status == 200 })
}
