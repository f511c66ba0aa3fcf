package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// ask sends one request named id and returns the status.
func (g *gateway) ask(id, method, path, body string, header http.Header) int {
	g.t.Helper()
	req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header[k] = v
	}
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("X-Request-Id", id)
	res, err := g.client.Do(req)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	res.Body.Close()
	if got := res.Header.Get("X-Request-Id"); got != id {
		g.t.Errorf("%s %s: got request id %q, want %q", method, path, got, id)
	}
	return res.StatusCode
}

func TestEachRequestLeavesOneLineWithItsRoute(t *testing.T) {
	t.Parallel()
	p, g := launchReady(t, map[string]string{"GATEWAY_MQTT_URL": brokertest.Start(t).URL()})
	upgrade := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	tests := map[string]struct {
		method, path, body string
		header             http.Header
		status             int
		route, logged      string // as the log has them
	}{
		"publish":  {"POST", "/publish", `{"topic":"a","payload":1}`, nil, 200, "/publish", "POST"},
		"bad":      {"POST", "/publish", `{`, nil, 400, "/publish", "POST"},
		"unknown":  {"GET", "/a/secret/path?x=1", "", nil, 404, "none", "GET"},
		"method":   {"BREW", "/publish", "", nil, 405, "", "other"},
		"live":     {"GET", "/livez", "", nil, 200, "/livez", "GET"},
		"spec":     {"HEAD", "/openapi.yaml", "", nil, 200, "/openapi.yaml", "HEAD"},
		"docs":     {"GET", "/docs/", "", nil, 200, "/docs/*", "GET"},
		"upgrade":  {"GET", "/ws?topic=a", "", upgrade, 101, "/ws", "GET"},
		"noupgrad": {"GET", "/ws", "", nil, 426, "/ws", "GET"},
		"foreign":  {"POST", "/publish", `{}`, http.Header{"Origin": {"https://evil.example"}}, 403, "", "POST"},
		"rebound":  {"GET", "/topics", "", http.Header{"Host": {"evil.example"}}, 421, "", "GET"},
	}
	for id, tt := range tests {
		if got := g.ask(id, tt.method, tt.path, tt.body, tt.header); got != tt.status {
			t.Errorf("%s %s: got status %d, want %d", tt.method, tt.path, got, tt.status)
		}
	}
	lines := map[string][]logLine{}
	eventually(t, "all requests are in the log", func() bool {
		clear(lines)
		for _, l := range logLines(t, p.stderr.String()) {
			if l.Msg == "request" {
				lines[l.RequestID] = append(lines[l.RequestID], l)
			}
		}
		for id := range tests {
			if len(lines[id]) == 0 {
				return false
			}
		}
		return true
	})
	for id, tt := range tests {
		if n := len(lines[id]); n != 1 {
			t.Errorf("%s %s: got %d lines, want 1", tt.method, tt.path, n)
		}
		l := lines[id][0]
		if l.Status != tt.status || l.Method != tt.logged || tt.route != "" && l.Route != tt.route || l.Remote != "127.0.0.1" || l.TookMS == nil {
			t.Errorf("%s %s: got %+v, want method %s, route %q, status %d", tt.method, tt.path, l, tt.logged, tt.route, tt.status)
		}
		want := map[string]string{"bad": "invalid_json", "unknown": "not_found", "method": "method_not_allowed", "noupgrad": "upgrade_required", "foreign": "cross_origin", "rebound": "host_not_allowed"}[id]
		if l.Code != want || (l.Origin == "https://evil.example") != (id == "foreign") || (l.Host == "evil.example") != (id == "rebound") {
			t.Errorf("%s %s: got code %q, origin %q, host %q, want code %q", tt.method, tt.path, l.Code, l.Origin, l.Host, want)
		}
		if strings.Contains(l.Route, "secret") {
			t.Errorf("%s %s: got route %q, want no path", tt.method, tt.path, l.Route)
		}
	}
}

// What is secret is not in the log, at any level, nor in the metrics or in an
// answer; not even when it is wrong.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	const canary = "canary7f3a9c"
	refuse := brokertest.StartFake(t, func(c *brokertest.FakeConn) { _ = c.AcceptConnect(4) })
	for name, brokerURL := range map[string]string{"accepted": brokertest.Start(t).URL(), "refused": refuse.URL()} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"GATEWAY_MQTT_URL": brokerURL, "GATEWAY_MQTT_USERNAME": "gateway", "GATEWAY_MQTT_PASSWORD": canary}
			g := start(t, env)
			status := 200
			if name == "refused" {
				status = 503
				eventually(t, "every link was refused", func() bool { return refuse.Connections() >= 6 })
			}
			g.waitReady(status)
			secret := http.Header{"Authorization": {"Bearer " + canary}, "Cookie": {"k=" + canary}, "Referer": {"http://x/?" + canary}, "User-Agent": {canary}}
			g.ask("a", "POST", "/publish?token="+canary, `{"topic":"a","payload":"`+canary+`"}`, secret)
			g.ask("b", "POST", "/publish", `{"topic":"a","payload":"`+canary+`","x":1}`, secret)
			g.ask("c", "POST", "/publish", `{"topic":"a","payload":"`+canary+`"}`, secret)
			g.ask("d", "GET", "/ws?ticket="+canary, "", secret)
			g.ask("e", "GET", "/"+canary, "", secret)
			ws := g.dial("?topic=a")
			ws.send(`{"op":"auth","id":1,"token":"` + canary + `"}`)
			ws.wait("the answer", func(f frame) bool { return string(f.ID) == "1" })
			for what, text := range map[string]string{
				"log": g.logged(), "metrics": g.get(g.admin + "/metrics"), "readyz": g.get(g.admin + "/readyz"), "frames": lastFrames(ws.all()),
			} {
				for line := range strings.Lines(text) {
					// The answer to an unknown field or parameter names it, never its value.
					if strings.Contains(line, canary) && !strings.Contains(line, `"type":"message"`) {
						t.Errorf("%s: %s", what, line)
					}
				}
			}
			logLines(t, g.logged())
		})
	}
}
