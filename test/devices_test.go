package test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// withLog is the documented line by which mosquitto says who is connected.
func withLog() brokertest.Option { return brokertest.Conf("log_dest topic") }

// devices lists them, all pages, by id.
func (g *gateway) devices(query string) map[string]wire.Device {
	g.t.Helper()
	all := map[string]wire.Device{}
	last := ""
	for path := "/devices?limit=7&" + query; path != ""; {
		a := g.do(request{method: "GET", path: path})
		var page []wire.Device
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != http.StatusOK {
			g.t.Fatalf("GET %s: got %d %s", path, a.status, a.body)
		}
		for _, d := range page {
			if d.ID <= last {
				g.t.Errorf("got %q behind %q", d.ID, last)
			}
			all[d.ID], last = d, d.ID
		}
		if path, _ = strings.CutSuffix(a.header.Get("Link"), `>; rel="next"`); path != "" {
			path = "/devices" + strings.TrimPrefix(path, "<")
		}
	}
	return all
}

// deviceStates is what a WebSocket has been told, the newest of each device.
func (s *socket) deviceStates() map[string]string {
	states := map[string]string{}
	for _, f := range s.all() {
		var d wire.Device
		if f.Type == wire.TypeDevice && json.Unmarshal([]byte(f.raw), &d) == nil {
			states[d.ID] = d.State
		}
	}
	return states
}

// 200 connects, goodbyes, kills and takeovers: the gateway knows who is there,
// and agrees with the broker's own count.
func TestPresenceAgreesWithTheBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, withLog())
	g := startReady(t, broker.URL(), nil)
	ws := g.dial("")
	ws.send(`{"op":"subscribe","id":1,"devices":true}`)
	ws.wait("ack", func(f frame) bool { return f.Type == "ack" && strings.Contains(f.raw, `"devices":true`) })
	oracle := brokertest.Dial(t, broker.URL(), brokertest.ClientID("oracle"))
	oracle.Subscribe("$SYS/broker/clients/connected", 0)
	counted := func() int {
		all := oracle.Received()
		if len(all) == 0 {
			return -1
		}
		n, _ := strconv.Atoi(string(all[len(all)-1].Payload))
		return n
	}
	const own = 6 // of the gateway: four publish, one receives, one controls

	want := map[string]string{"oracle": "online"}
	there := map[string]*brokertest.Client{}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		id := fmt.Sprintf("dev-%d", random.IntN(25))
		c := there[id]
		switch {
		case c == nil:
			there[id] = brokertest.Dial(t, broker.URL(), brokertest.ClientID(id))
			want[id] = "online"
		case i%3 == 0:
			there[id] = brokertest.Dial(t, broker.URL(), brokertest.ClientID(id)) // takes over
			<-c.Lost()
		case i%3 == 1:
			c.Drop()
			there[id], want[id] = nil, "offline"
		default:
			c.Close()
			there[id], want[id] = nil, "offline"
		}
		if i%50 != 49 {
			continue
		}
		online := 0
		for _, state := range want {
			if state == "online" {
				online++
			}
		}
		eventually(t, "the gateway, its stream and the broker agree", func() bool {
			got, told := g.devices(""), ws.deviceStates()
			for id, state := range want {
				if got[id].State != state || id != "oracle" && told[id] != state {
					return false
				}
			}
			return len(got) == len(want) && counted() == online+own && g.metric(`gateway_devices{state="online"}`) == float64(online)
		})
	}
	for id, d := range g.devices("state=online") {
		if want[id] != "online" || d.Source != "log" || d.Since.IsZero() || d.LastSeen.IsZero() || !strings.HasPrefix(d.Address, "127.0.0.1:") {
			t.Errorf("got %+v, want an online device with all that is known", d)
		}
	}
	if got := g.devices("state=unknown"); len(got) != 0 {
		t.Errorf("got %v, want none that is unknown", got)
	}
}

func TestTheGatewaysOwnConnectionsAreNoDevices(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, withLog())
	g := startReady(t, broker.URL(), nil)
	own := regexp.MustCompile(`as (gw-\w+-pub0) `).FindStringSubmatch(broker.Log())
	if own == nil {
		t.Fatalf("the broker has not seen the gateway:\n%s", broker.Log())
	}
	brokertest.Dial(t, broker.URL(), brokertest.ClientID(own[1])) // the gateway takes it back
	brokertest.Dial(t, broker.URL(), brokertest.ClientID("device"))
	eventually(t, "the device is online", func() bool { return g.devices("")["device"].State == "online" })
	if got := g.devices(""); len(got) != 1 {
		t.Errorf("got %v, want the device alone", got)
	}
}

// When the gateway has not seen what has happened, it says so.
func TestPresenceIsUnknownAfterTheBrokerWasLost(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, withLog())
	proxy := brokertest.StartProxy(t, broker.Addr())
	g := startReady(t, proxy.URL(), nil)
	stays := brokertest.Dial(t, broker.URL(), brokertest.ClientID("stays"))
	leaves := brokertest.Dial(t, broker.URL(), brokertest.ClientID("leaves"))
	eventually(t, "both are online", func() bool { return len(g.devices("state=online")) == 2 })
	stream := g.open(t, "/events?devices=true&format=ndjson", nil)
	stream.line("the ack")
	proxy.Cut()
	leaves.Close()
	for !strings.Contains(stream.line("unknown devices"), `"id":"stays","state":"unknown"`) {
	}
	g.waitReady(http.StatusOK)
	for _, id := range []string{"stays", "leaves"} {
		if d := g.devices("")[id]; d.State != "unknown" || d.Reason != "broker_connection_lost" {
			t.Errorf("%s: got %+v, want unknown", id, d)
		}
	}
	stays.Drop()
	eventually(t, "the next thing that is told counts", func() bool { return g.devices("")["stays"].State == "offline" })
}

// Without the log, and beside it, a last will says who is there.
func TestPresenceByLastWill(t *testing.T) {
	t.Parallel()
	for _, watch := range []string{"#", ""} {
		t.Run("watch "+watch, func(t *testing.T) {
			broker := brokertest.Start(t)
			device := brokertest.Dial(t, broker.URL())
			if err := device.Publish("tele/kept/LWT", []byte("Online"), 1, true); err != nil {
				t.Fatal(err)
			}
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": watch, "GATEWAY_DEVICE_TOPICS": "tele/{id}/LWT=Online|Offline,tele/{id}/#"})
			eventually(t, "what the broker keeps is known", func() bool { return g.devices("")["kept"].State == "online" })
			tell := func(topic, payload string) {
				t.Helper()
				if err := device.Publish(topic, []byte(payload), 1, false); err != nil {
					t.Fatal(err)
				}
			}
			tell("tele/kept/LWT", "Offline")
			eventually(t, "it is offline", func() bool { return g.devices("")["kept"].State == "offline" })
			eventually(t, "it is seen", func() bool {
				tell("tele/seen/SENSOR", "1")
				d := g.devices("")["seen"]
				return d.State == "unknown" && d.Source == "seen" && !d.LastSeen.IsZero()
			})
		})
	}
}

func TestRequestToADeviceThatIsOffline(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, withLog())
	g := startReady(t, broker.URL(), nil)
	watcher := brokertest.Dial(t, broker.URL(), brokertest.ClientID("watcher"))
	watcher.Subscribe("cmnd/#", 1)
	c := brokertest.Dial(t, broker.URL(), brokertest.ClientID("pi/3"))
	eventually(t, "it is online", func() bool { return g.devices("")["pi/3"].State == "online" })
	c.Drop()
	eventually(t, "it is offline", func() bool { return g.devices("")["pi/3"].State == "offline" })
	a := g.do(request{method: "POST", path: "/request/cmnd/x?reply=stat/x&device=pi/3", body: "x"})
	if a.status != http.StatusConflict || a.problem.Code != wire.CodeDeviceOffline || !a.problem.Retryable {
		t.Errorf("got %d %s, want 409 device_offline", a.status, a.body)
	}
	ws := g.dial("")
	ws.send(`{"op":"request","id":1,"topic":"cmnd/x","payload":"x","reply":"stat/x","device":"pi/3"}`)
	if f := ws.wait("error", func(f frame) bool { return f.Type == "error" }); f.Problem.Code != wire.CodeDeviceOffline {
		t.Errorf("got %s, want device_offline", f.raw)
	}
	if got := watcher.Count(); got != 0 {
		t.Errorf("got %d messages, want that nothing was sent", got)
	}
	// Of whom nothing is known, the request finds out.
	a = g.do(request{method: "POST", path: "/request/cmnd/x?reply=stat/x&device=other&timeout=1s", body: "x"})
	if a.status != http.StatusGatewayTimeout {
		t.Errorf("got %d %s, want 504", a.status, a.body)
	}
	if one := g.do(request{method: "GET", path: "/devices/" + url.PathEscape("pi/3")}); one.status != http.StatusOK || !strings.Contains(one.body, `"id":"pi/3","state":"offline"`) {
		t.Errorf("got %d %s, want the device", one.status, one.body)
	}
	if one := g.do(request{method: "GET", path: "/devices/other"}); one.status != http.StatusNotFound || one.problem.Code != wire.CodeDeviceNotSeen {
		t.Errorf("got %d %s, want 404 device_not_seen", one.status, one.body)
	}
}

func TestTopicsThatFallSilent(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_SILENT": "fleet/+/heartbeat=1s"})
	ws := g.dial("")
	ws.send(`{"op":"subscribe","id":1,"devices":true}`)
	ws.wait("ack", func(f frame) bool { return f.Type == "ack" })
	c := brokertest.Dial(t, broker.URL())
	beat := func() {
		t.Helper()
		if err := c.Publish("fleet/1/heartbeat", nil, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	ws.wait("silence", func(f frame) bool { return f.Type == "silent" && f.Topic == "fleet/1/heartbeat" })
	if got := g.metric(`gateway_topics_silent{pattern="fleet/+/heartbeat"}`); got != 1 {
		t.Errorf("got %v silent, want 1", got)
	}
	if got := g.metric(`gateway_topic_last_seen_timestamp_seconds{pattern="fleet/+/heartbeat"}`); got < 1e9 {
		t.Errorf("got %v, want a time", got)
	}
	beat()
	ws.wait("it is back", func(f frame) bool { return f.Type == "back" && f.Topic == "fleet/1/heartbeat" })
}

func TestDevicesTakeNoOptionsOfTopics(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	for path, code := range map[string]wire.Code{
		"/events?devices=true&topic=a": wire.CodeUnknownParameter, "/events?devices=yes": wire.CodeInvalidParameter,
		"/events?devices=true&format=text": wire.CodeInvalidParameter, "/events?devices=true&since=1m": wire.CodeUnknownParameter,
		"/devices?state=gone": wire.CodeInvalidParameter, "/devices?limit=0": wire.CodeInvalidParameter, "/devices?x=1": wire.CodeUnknownParameter,
	} {
		if a := g.do(request{method: "GET", path: path}); a.problem.Code != code {
			t.Errorf("%s: got %d %s, want %s", path, a.status, a.body, code)
		}
	}
	ws := g.dial("")
	for i, op := range []string{
		`{"op":"subscribe","id":%d,"devices":true,"topics":["a"]}`, `{"op":"subscribe","id":%d,"devices":1}`, `{"op":"subscribe","id":%d,"devices":true,"since":"1m"}`,
		`{"op":"ping","id":%d,"devices":true}`, `{"op":"publish","id":%d,"topic":"a","payload":1,"device":"x"}`,
	} {
		ws.send(fmt.Sprintf(op, i))
		ws.wait("error", func(f frame) bool { return f.Type == "error" && string(f.ID) == strconv.Itoa(i) })
	}
	ws.send(`{"op":"subscribe","id":"s","devices":true}`)
	ws.send(`{"op":"unsubscribe","id":"u","devices":true}`)
	ws.wait("ack", func(f frame) bool { return string(f.ID) == `"u"` && strings.Contains(f.raw, `"devices":false`) })
}

// Many streams that come and go leave nothing behind.
func TestStreamsOfDevicesEnd(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, withLog())
	g := startReady(t, broker.URL(), nil)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			c, err := brokertest.TryDial(t, broker.URL(), brokertest.ClientID(fmt.Sprint("d", i)))
			if err == nil {
				defer c.Close()
			}
			res, err := g.client.Get(g.url + "/events?devices=true&snapshot=true")
			if err == nil {
				_, _ = res.Body.Read(make([]byte, 10))
				_ = res.Body.Close()
			}
		})
	}
	all.Wait()
	eventually(t, "no stream is left", func() bool { return g.metric(`gateway_subscribers{transport="ndjson"}`) == 0 })
	g.stopped(t)
}

// The built-in broker says who is there by itself.
func TestPresenceAtTheBuiltInBroker(t *testing.T) {
	t.Parallel()
	p, g := launchReady(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0"})
	addr := p.brokerAddr()
	state := func(want, reason string) func() bool {
		return func() bool {
			d := g.devices("")["pi-3"]
			return d.State == want && d.Reason == reason && d.Address != ""
		}
	}
	c := brokertest.Dial(t, addr, brokertest.ClientID("pi-3"))
	eventually(t, "it is online", state("online", "connected"))
	again := brokertest.Dial(t, addr, brokertest.ClientID("pi-3"))
	<-c.Lost()
	eventually(t, "it was taken over", state("online", "taken_over"))
	again.Drop()
	eventually(t, "it was lost", state("offline", "connection_lost"))
	brokertest.Dial(t, addr, brokertest.ClientID("pi-3")).Close()
	eventually(t, "it has said goodbye", state("offline", "disconnected"))
	if got := g.devices(""); len(got) != 1 {
		t.Errorf("got %v, want pi-3 alone: the gateway's own connections do not count", got)
	}
}

func TestStreamOfDevicesOverHTTP2(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	g := start(t, a.env())
	g.waitReady(http.StatusOK)
	g.secure(a, true)
	s := g.open(t, "/events?devices=true&snapshot=true", map[string]string{"Accept": "text/event-stream"})
	if s.res.ProtoMajor != 2 {
		t.Fatalf("got %s, want HTTP/2", s.res.Proto)
	}
	for !strings.Contains(s.line("the end of the snapshot"), "event: snapshot_end") {
	}
	_ = s.res.Body.Close()
	eventually(t, "no stream is left", func() bool {
		res, err := http.Get(g.admin + "/metrics")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return strings.Contains(string(b), `gateway_subscribers{transport="sse"} 0`)
	})
}
