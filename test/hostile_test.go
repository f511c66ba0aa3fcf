package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// poison are topics and filters that a broker cuts the connection for, or that
// must not reach it for another reason.
var poison = []string{
	"$share/g/a", "$share/g", "$share", "$sharex", "$queue/a", "$SYS/x", "$CONTROL/dynamic-security/v1", "a\x00b", "a\x01b", "a\nb", "a\tb", "a\x1fb", "a\x7fb", "a\u0080b", "a\u009fb",
	"a\ufffeb", "a\uffffb", "a\ufdd0b", "a\U0001fffeb", strings.Repeat("a", 65535), strings.Repeat("a", 65541), strings.Repeat("/", 201), "",
}

var (
	poisonTopics = append([]string{
		"a/+", "a/#", "+", "#", "a+b", "a\u202eb", "a\u200bb", "\ufeffa", strings.Repeat("a", 1025), strings.Repeat("a/", 32) + "a",
	}, poison...)
	poisonFilters = append([]string{"a+", "+a/b", "a/b#", "a/#/b", "##", "$SYS/#", strings.Repeat("+/", 200) + "+", strings.Repeat("a", 4097)}, poison...)
)

func TestPoisonTopicsDoNotTouchTheBrokerConnection(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 1)
	g := startReady(t, broker.URL(), nil)
	ws := g.dial("?topic=ok")
	ws.wait("ack", func(f frame) bool { return f.Type == "ack" })
	connections, reconnects := broker.Connections(), g.metric("gateway_broker_reconnects_total")
	for i, topic := range poisonTopics {
		name, _ := json.Marshal(topic)
		if a := g.post(fmt.Sprintf(`{"topic":%s,"payload":"x"}`, name)); a.status != 422 && a.status != 403 {
			t.Errorf("publish to %.20q: got %d %s, want 422 or 403", topic, a.status, a.body)
		}
		ws.send(fmt.Sprintf(`{"op":"publish","id":%d,"topic":%s,"payload":"x"}`, i, name))
		ws.wait("the refusal", func(f frame) bool { return f.Type == "error" && string(f.ID) == strconv.Itoa(i) })
	}
	for _, raw := range []string{"a\xffb", "a\xc0\xafb", "a\xed\xa0\x80b"} {
		if a := g.post(`{"topic":"` + raw + `","payload":"x"}`); a.status != 400 {
			t.Errorf("publish to %q: got %d, want 400", raw, a.status)
		}
	}
	for i, filter := range poisonFilters {
		name, _ := json.Marshal(filter)
		ws.send(fmt.Sprintf(`{"op":"subscribe","id":%d,"topics":[%s]}`, i, name))
		ack := ws.wait("the ack", func(f frame) bool { return f.Type == "ack" && string(f.ID) == strconv.Itoa(i) })
		if ack.Results[0].OK {
			t.Errorf("filter %.20q is accepted", filter)
		}
	}
	if a := g.post(`{"topic":"ok","payload":"x"}`); a.status != 200 {
		t.Errorf("a good publish afterwards: got %d %s, want 200", a.status, a.body)
	}
	if m := ws.waitMessages(1); len(m) != 1 || m[0].Topic != "ok" {
		t.Errorf("got messages %s, want the one on ok", lastFrames(m))
	}
	if got := oracle.WaitCount(1, patience); len(got) != 1 || got[0].Topic != "ok" {
		t.Errorf("the broker saw %v, want only the message on ok", got)
	}
	if got := broker.Connections(); got != connections {
		t.Errorf("the broker accepted %d connections, want %d as before", got, connections)
	}
	if got := g.metric("gateway_broker_reconnects_total"); got != reconnects {
		t.Errorf("got %v reconnects, want %v as before", got, reconnects)
	}
	if log := broker.Log(); strings.Contains(log, "malformed") || strings.Contains(log, "protocol error") {
		t.Errorf("the broker complains:\n%s", tail(log, 2000))
	}
}

// memory gives the bytes that a process has resident now, and had at its worst.
func memory(t *testing.T, pid int) (now, worst int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = kb << 10
		case "VmHWM:":
			worst = kb << 10
		}
	}
	return now, worst
}

// jump is how much more memory a process may take over a hostile broker.
const jump = 24 << 20

// A device may publish what is far too large, may have the broker keep it, and
// the broker may owe it to a session: it costs the gateway no memory and
// nobody the messages behind it.
func TestHugeMessageFromADeviceStopsNothing(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		size  int64
		flags []string
		env   map[string]string
	}{
		"10 MB":                   {10 << 20, []string{"-q", "1"}, nil},
		"100 MB":                  {100 << 20, []string{"-q", "1"}, nil},
		"100 MB retained":         {100 << 20, []string{"-q", "0", "-r"}, nil},
		"100 MB for a session":    {100 << 20, []string{"-q", "1"}, map[string]string{"GATEWAY_MQTT_CLIENT_ID": "stable"}},
		"100 MB, nothing watched": {100 << 20, []string{"-q", "1", "-r"}, map[string]string{"GATEWAY_WATCH": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.Start(t)
			env := map[string]string{"GATEWAY_MQTT_URL": broker.URL()}
			maps.Copy(env, row.env)
			p, g := launchReady(t, env)
			ws := g.dial("?topic=%23")
			ws.wait("ack", func(f frame) bool { return f.Type == "ack" })
			file := filepath.Join(t.TempDir(), "huge")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, row.size); err != nil {
				t.Fatal(err)
			}
			before, _ := memory(t, p.pid())
			program(t, "mosquitto_pub", append(row.flags, "-h", "127.0.0.1", "-p", strconv.Itoa(broker.Port()), "-t", "huge", "-f", file)...)
			ws.wait("gap", func(f frame) bool { return f.Type == "gap" })
			n := 0
			eventually(t, "a message arrives again", func() bool {
				n++
				g.post(fmt.Sprintf(`{"topic":"ok","payload":"%d"}`, n))
				return len(ws.messages()) > 0
			})
			late := g.dial("?topic=%23") // asks for the retained messages
			late.wait("ack", func(f frame) bool { return f.Type == "ack" && f.Results[0].OK })
			if a := g.post(`{"topic":"late","payload":"x"}`); a.status != 200 {
				t.Errorf("publish afterwards: got %d %s, want 200", a.status, a.body)
			}
			for _, s := range []*socket{ws, late} {
				s.wait("the message on late", func(f frame) bool { return f.Topic == "late" })
			}
			if _, worst := memory(t, p.pid()); worst-before > jump {
				t.Errorf("the gateway grew by %d MiB, want at most %d", (worst-before)>>20, jump>>20)
			}
			// A link that broke over the message, and was made again, breaks no more.
			reconnects := g.metric("gateway_broker_reconnects_total")
			g.post(`{"topic":"end","payload":"x"}`)
			late.wait("the message on end", func(f frame) bool { return f.Topic == "end" })
			if n := g.metric("gateway_broker_reconnects_total"); n > reconnects {
				t.Errorf("got %v reconnects and no end, want %v", n, reconnects)
			}
		})
	}
}

// The largest PUBLISH that MQTT can announce; its sender goes away, or goes on
// with something else that no broker says.
func TestBrokerThatAnnouncesTooMuchTakesNoMemory(t *testing.T) {
	t.Parallel()
	announced := append([]byte{brokertest.PUBLISH << 4, 0xff, 0xff, 0xff, 0x7f, 0, 4}, "huge"...)
	for name, evil := range map[string][]byte{
		"huge PUBLISH":            append(announced, make([]byte, 1<<20)...),
		"huge PUBLISH, no topic":  {brokertest.PUBLISH << 4, 0xff, 0xff, 0xff, 0x7f},
		"huge SUBACK":             {brokertest.SUBACK << 4, 0xff, 0xff, 0xff, 0x7f, 0, 1},
		"length of five bytes":    {brokertest.PUBLISH << 4, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"packet of no known type": {0xf0, 0},
		"SUBACK nobody asked for": {brokertest.SUBACK << 4, 5, 0xff, 0xff, 0, 0, 0},
		"topic beyond its packet": {brokertest.PUBLISH << 4, 4, 0xff, 0xff, 'a', 'b'},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int32 // once to a link that publishes, once to the one that subscribes
			fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
				if c.AcceptConnect(0) != nil {
					return
				}
				_ = c.Serve(func(_, _ byte, body []byte) bool {
					if !bytes.Contains(body, []byte("trigger")) || sent.Add(1) > 2 {
						return false
					}
					_ = c.Write(evil)
					c.Reset()
					return true
				})
			})
			p, g := launchReady(t, map[string]string{"GATEWAY_MQTT_URL": fake.URL(), "GATEWAY_WATCH": ""})
			before, _ := memory(t, p.pid())
			g.post(`{"topic":"trigger","payload":"x"}`)
			g.dial("?topic=trigger").wait("ack", func(f frame) bool { return f.Type == "ack" })
			if sent.Load() < 2 {
				t.Errorf("%d links got the evil packet, want 2", sent.Load())
			}
			eventually(t, "publishing works again", func() bool { return g.post(`{"topic":"a","payload":"x"}`).status == 200 })
			g.waitReady(http.StatusOK)
			if _, worst := memory(t, p.pid()); worst-before > jump {
				t.Errorf("the gateway grew by %d MiB, want at most %d", (worst-before)>>20, jump>>20)
			}
		})
	}
}

// A client that takes its time over a request holds up nobody else, and is sent
// away: an answer comes for what was whole enough to be one.
func TestSlowClientsHoldNobodyAndEnd(t *testing.T) {
	t.Parallel()
	_, g := launchReady(t, map[string]string{"GATEWAY_MQTT_URL": brokertest.Start(t).URL()})
	if a := g.post(`{"topic":"ok","payload":"x"}`); a.status != 200 {
		t.Fatalf("got %d %s, want 200", a.status, a.body)
	}
	const head = "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
	starts := []string{"", "POST /publish HTTP/1.1\r\nHo", head, head + "\r\n", head + "\r\n{", head + "Expect: 100-continue\r\n\r\n"}
	idle := g.metric("go_goroutines")
	beside := 0 // publishes that were answered while the last slow client was there
	// net/http has been seen to answer one of a thousand by itself, on a machine that is very busy.
	var plain atomic.Int64
	var all sync.WaitGroup
	for i := range 200 {
		c := g.connect(t, starts[i%len(starts)])
		gone := make(chan struct{})
		all.Go(func() {
			defer close(gone)
			said, err := io.ReadAll(c.r)
			if i%len(starts) < 3 || bytes.Contains(said, []byte(`"code":"request_timeout"`)) {
				return
			}
			if !bytes.HasSuffix(said, []byte("\r\n\r\n400 Bad Request")) || plain.Add(1) > 3 {
				t.Errorf("slow body %d: got %.200q %v, want 408 request_timeout", i, said, err)
			}
		})
		if a := g.post(`{"topic":"ok","payload":"x"}`); a.status != 200 {
			t.Fatalf("publish %d beside slow clients: got %d %s, want 200", i, a.status, a.body)
		}
		select {
		case <-gone:
		default:
			beside++
		}
		if i%len(starts) == 4 { // a byte now and then helps no longer than the body may take
			_, _ = c.Write([]byte{' '})
		}
	}
	all.Wait()
	if beside == 0 {
		t.Error("no publish was answered before the slow clients were gone")
	}
	eventually(t, "no goroutine is left", func() bool { return g.metric("go_goroutines") <= idle })
}

// The limits that the listener itself sets, before any route.
func TestOversizedHeadsAreRefused(t *testing.T) {
	t.Parallel()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"})
	admin := &gateway{url: g.admin}
	for name, row := range map[string]struct {
		raw    string
		status int
	}{
		"header of 64 KiB":       {"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"200 headers of 200 B":   {"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 200)+"\r\n", 200) + "\r\n", 431},
		"path of 20 KiB":         {"GET /" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414},
		"filters of 20 KiB":      {"GET /ws?topic=" + strings.Repeat("a&topic=", 2500) + "a HTTP/1.1\r\nHost: localhost\r\n\r\n", 414},
		"filters of 1 MiB":       {"GET /ws?topic=" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431},
		"header that never ends": {"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("a", 1<<20), 431},
	} {
		for _, listener := range []*gateway{g, admin} {
			if listener == admin && row.status == 414 {
				continue
			}
			if a := listener.connect(t, row.raw).answer(); a.status != row.status {
				t.Errorf("%s: got %d %s, want %d", name, a.status, a.body, row.status)
			}
		}
	}
}
