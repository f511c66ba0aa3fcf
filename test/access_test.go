package test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/access"
	vulture "github.com/vulturepi/gateway/internal/gateway"
	"github.com/vulturepi/gateway/wire"
)

// Keys of the principals below.
var (
	fleetKey, piKey, operatorKey, expiringKey = access.NewKey(), access.NewKey(), access.NewKey(), access.NewKey()
)

// accessRules are those of most tests.
func accessRules(more string) string {
	return fmt.Sprintf(`
anonymous:
  subscribe: ["public/#"]
principals:
  - name: fleet
    key_sha256: ["%s"]
    subscribe: ["fleet/#", "other/#"]
    publish: ["fleet/#"]
    retain: ["fleet/+/config"]
    deny: ["fleet/+/secret/#"]
  - name: pi-3
    key_sha256: ["%s"]
    publish: ["fleet/{principal}/#"]
    retain: ["#"]
    subscribe: ["fleet/{principal}/#"]
  - name: root
    key_sha256: ["%s"]
    subscribe: ["#"]
    publish: ["#"]
    retain: ["#"]
    operator: true
%s`, access.DigestOf(fleetKey), access.DigestOf(piKey), access.DigestOf(operatorKey), more)
}

// withAccess is the environment of a gateway that asks for keys, and the path
// of its access file.
func withAccess(t testing.TB, rules string) (env map[string]string, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "access.yaml")
	writeRules(t, file, rules)
	return map[string]string{"GATEWAY_AUTH": "keys", "GATEWAY_ACCESS_FILE": file}, file
}

func writeRules(t testing.TB, file, rules string) {
	t.Helper()
	if err := os.WriteFile(file+".tmp", []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		t.Fatal(err)
	}
}

// asking starts a gateway with the built-in broker that asks for keys.
func asking(t testing.TB, env map[string]string, options ...vulture.Option) *gateway {
	t.Helper()
	all, _ := withAccess(t, accessRules(""))
	maps.Copy(all, env)
	g := start(t, all, options...)
	g.waitReady(http.StatusOK)
	return g
}

func bearer(key string) map[string]string { return map[string]string{"Authorization": "Bearer " + key} }

func bearerJSON(key string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}
}

// as sends a request with a key and fails unless the answer is that one.
func (g *gateway) as(key, method, path, body string, status int, code wire.Code) answer {
	g.t.Helper()
	r := request{method: method, path: path, body: body, header: bearerJSON(key)}
	if key == "" {
		r.header = jsonHeader
	}
	a := g.do(r)
	if a.status != status || a.problem.Code != code {
		g.t.Errorf("%s %s: got %d %s, want %d %s", method, path, a.status, a.body, status, code)
	}
	return a
}

// dialAs opens a WebSocket with headers.
func (g *gateway) dialAs(query string, header map[string]string) *socket {
	g.t.Helper()
	h := http.Header{}
	for name, value := range header {
		h.Set(name, value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, g.ws+query, &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}, HTTPHeader: h})
	if err != nil {
		g.t.Fatalf("WebSocket %s: %v (%v)", query, err, res)
	}
	s := &socket{t: g.t, conn: conn, header: res.Header, change: make(chan struct{})}
	go s.read()
	g.t.Cleanup(func() { _ = conn.CloseNow() })
	s.wait("welcome", func(f frame) bool { return f.Type == "welcome" })
	return s
}

// closedWith waits for the end of the connection, which must have that code.
func (s *socket) closedWith(code wire.CloseCode) {
	s.t.Helper()
	if got := s.closed(); got != int(code) {
		s.t.Errorf("got close code %d, want %d; frames: %s", got, code, lastFrames(s.all()))
	}
}

func TestEveryRouteNeedsCredentials(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, "principals: []\n")
	g := start(t, env)
	g.waitReady(http.StatusOK)
	for _, r := range []request{
		{method: "POST", path: "/publish", header: jsonHeader, body: `{"topic":"a","payload":1}`},
		{method: "POST", path: "/publish/batch", header: jsonHeader, body: `[]`},
		{method: "POST", path: "/request/a?reply=b", body: "x"},
		{method: "GET", path: "/devices"}, {method: "GET", path: "/devices/x"}, {method: "GET", path: "/events?devices=true"},
		{method: "GET", path: "/topics"}, {method: "HEAD", path: "/topics"},
		{method: "GET", path: "/topics/a"}, {method: "PUT", path: "/topics/a", body: "x"}, {method: "POST", path: "/topics/a", body: "x"},
		{method: "DELETE", path: "/topics/a"}, {method: "GET", path: "/events?topic=a"}, {method: "GET", path: "/history?filter=a"},
	} {
		a := g.do(r)
		if a.status != http.StatusUnauthorized || r.method != "HEAD" && a.problem.Code != wire.CodeUnauthenticated {
			t.Errorf("%s %s: got %d %s, want 401", r.method, r.path, a.status, a.body)
		}
		if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="gateway"` {
			t.Errorf("%s %s: got WWW-Authenticate %q", r.method, r.path, got)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/docs", "/openapi.yaml", "/asyncapi.yaml", "/docs/errors"} {
		if a := g.do(request{method: "GET", path: path}); a.status != http.StatusOK {
			t.Errorf("GET %s: got %d, want 200: it needs no credentials", path, a.status)
		}
	}
}

// Whatever is wrong with credentials, the answer is the same.
func TestRefusedLoginsAllLookTheSame(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, accessRules(fmt.Sprintf("  - name: late\n    key_sha256: [\"%s\"]\n    expires: 2020-01-01T00:00:00Z\n", access.DigestOf(expiringKey))))
	g := start(t, env)
	g.waitReady(http.StatusOK)
	said := map[string]bool{}
	for _, header := range []string{
		"Bearer " + access.NewKey(), "Bearer " + expiringKey, "Bearer x", "Bearer", "Basic x", "Basic YTpi", "Digest y", "Bearer " + fleetKey + "x",
	} {
		a := g.do(request{method: "GET", path: "/topics", header: map[string]string{"Authorization": header, "X-Request-Id": "same"}})
		said[fmt.Sprint(a.status, a.body, a.header.Get("WWW-Authenticate"))] = true
	}
	if len(said) != 1 {
		t.Errorf("got different answers: %v", said)
	}
	if n := g.metric(`gateway_auth_total{outcome="refused",via="key"}`); n != 8 {
		t.Errorf("got %g refused logins in the metrics, want 8", n)
	}
}

func TestBasicPasswordIsAKey(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	req, err := http.NewRequest("GET", g.url+"/topics?filter=fleet/%23", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("anybody", fleetKey)
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("got %d, want 200", res.StatusCode)
	}
}

func TestKeyInURLIsRefused(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	for _, path := range []string{"/topics?token=x", "/events?topic=a&access_token=x", "/topics?after=" + fleetKey, "/topics/a/" + fleetKey, "/events?topic=a&API_KEY=1"} {
		g.as(fleetKey, "GET", path, "", http.StatusBadRequest, wire.CodeTokenInURL)
	}
}

func TestFailedLoginsHaveToWait(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	failed := func() answer { return g.do(request{method: "GET", path: "/topics", header: bearer("gwk_wrong")}) }
	for n := range 10 {
		if a := failed(); a.status != http.StatusUnauthorized {
			t.Fatalf("failure %d: got %d, want 401", n+1, a.status)
		}
	}
	last := failed()
	if last.status != http.StatusTooManyRequests || last.problem.Code != wire.CodeRateLimited || last.header.Get("Retry-After") == "" {
		t.Errorf("after ten failures: got %d %s Retry-After %q, want 429 rate_limited", last.status, last.body, last.header.Get("Retry-After"))
	}
	// Others at the address who need no credentials are let in as before.
	if a := g.do(request{method: "GET", path: "/topics?filter=public/%23"}); a.status != http.StatusOK {
		t.Errorf("without credentials: got %d, want 200", a.status)
	}
	if g.metric(`gateway_rate_limited_total{kind="logins"}`) == 0 {
		t.Error("the metrics do not count it")
	}
	// A good key is not called bad: it may be shown again later.
	s := g.dial("")
	s.send(`{"op":"auth","token":"` + fleetKey + `"}`)
	if f := s.wait("error", func(f frame) bool { return f.Type == wire.TypeError }); f.Problem.Code != wire.CodeRateLimited {
		t.Errorf("a good key on a WebSocket: got %s, want rate_limited", f.raw)
	}
	s.closedWith(wire.CloseRate)
}

// WebSockets that have not said who they are have a quarter of the places, and
// no longer than until they do.
func TestStrangersLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, strings.Replace(accessRules(""), `subscribe: ["public/#"]`, "subscribe: []", 1))
	env["GATEWAY_MAX_CONNECTIONS"] = "8"
	g := start(t, env)
	g.waitReady(http.StatusOK)
	first, second := g.dial(""), g.dial("")
	if _, err := g.tryDial(""); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a third that has not said who it is: got %v, want 503", err)
	}
	g.dialAs("", bearer(fleetKey))
	first.send(`{"op":"auth","id":1,"token":"` + fleetKey + `"}`)
	first.wait("ack", func(f frame) bool { return f.Type == "ack" })
	g.dial("")
	_ = second.conn.CloseNow()
	eventually(t, "there is room again", func() bool {
		s, err := g.tryDial("")
		return err == nil && s != nil
	})
}

func TestWebSocketSaysWhoItIsFirst(t *testing.T) {
	t.Parallel()
	env, _ := withAccess(t, strings.Replace(accessRules(""), `subscribe: ["public/#"]`, "subscribe: []", 1))
	g := start(t, env)
	g.waitReady(http.StatusOK)

	s := g.dial("?topic=fleet/%23")
	s.send(`{"op":"auth","id":4,"token":"` + fleetKey + `"}`)
	ack := s.wait("ack", func(f frame) bool { return f.Type == "ack" && string(f.ID) == "4" })
	if !strings.Contains(ack.raw, `"principal":"fleet"`) {
		t.Errorf("got %s, want the principal", ack.raw)
	}
	if ack := s.wait("ack of the URL's filter", func(f frame) bool { return f.Type == "ack" && len(f.Results) == 1 }); !ack.Results[0].OK {
		t.Errorf("got %s, want fleet/# in force", ack.raw)
	}
	s.send(`{"op":"auth","id":5,"token":"` + piKey + `"}`)
	s.closedWith(wire.CloseCredentials) // a connection is one principal's

	s = g.dial("")
	s.send(`{"op":"auth","id":4,"token":"gwk_wrong"}`)
	if f := s.wait("error", func(f frame) bool { return f.Type == "error" }); f.Problem.Code != wire.CodeUnauthenticated {
		t.Errorf("got %s, want unauthenticated", f.raw)
	}
	s.closedWith(wire.CloseCredentials)

	s = g.dial("")
	s.send(`{"op":"subscribe","topics":["a"]}`)
	s.closedWith(wire.CloseCredentials)

	s = g.dial("") // says nothing
	s.closedWith(wire.CloseUnknown)
}

// Rights that change count on open streams.
func TestChangedRightsReachOpenStreams(t *testing.T) {
	t.Parallel()
	env, file := withAccess(t, accessRules(""))
	g := start(t, env)
	g.waitReady(http.StatusOK)
	s := g.dialAs("", bearer(fleetKey))
	s.subscribe("fleet/#", "other/#")
	gone := g.dialAs("", bearer(piKey))
	gone.subscribe("fleet/pi-3/#")
	events := g.openEvents(t, "/events?topic=other/%23&format=ndjson", fleetKey)
	sse := g.openEvents(t, "/events?topic=other/%23&format=sse", fleetKey)

	rules := strings.Replace(accessRules(""), `"fleet/#", "other/#"`, `"fleet/#"`, 1)
	rules = strings.Replace(rules, access.DigestOf(piKey).String(), access.DigestOf("another").String(), 1)
	writeRules(t, file, rules)
	f := s.wait("error", func(f frame) bool { return f.Type == "error" })
	if f.Problem.Code != wire.CodeFilterForbidden || !strings.Contains(f.Problem.Detail, "other/#") {
		t.Errorf("got %s, want filter_forbidden for other/#", f.raw)
	}
	gone.closedWith(wire.CloseRights)
	if got := events.rest(); !strings.HasSuffix(strings.TrimSpace(got), `{"type":"expired"}`) {
		t.Errorf("NDJSON: got %q, want expired at the end", got)
	}
	if got := sse.rest(); !strings.Contains(got, "event: expired\n") {
		t.Errorf("SSE: got %q, want event: expired", got)
	}
	g.as(operatorKey, "POST", "/topics/other/x", "1", 200, "")
	g.as(operatorKey, "POST", "/topics/fleet/x", "1", 200, "")
	s.wait("fleet/x", func(f frame) bool { return f.Topic == "fleet/x" })
	for _, f := range s.messages() {
		if f.Topic == "other/x" {
			t.Errorf("got %s, which is not granted any more", f.raw)
		}
	}
	if n := g.metric(`gateway_access_reloads_total{outcome="ok"}`); n != 1 {
		t.Errorf("got %g reloads in the metrics, want 1", n)
	}
	writeRules(t, file, "principles: []\n")
	eventually(t, "the refused file is counted", func() bool { return g.metric(`gateway_access_reloads_total{outcome="refused"}`) == 1 })
	g.as(fleetKey, "GET", "/topics?filter=fleet/%23", "", 200, "") // the old rules stay
}

func TestStreamEndsWhenItsCredentialsExpire(t *testing.T) {
	t.Parallel()
	env, file := withAccess(t, accessRules(""))
	g := start(t, env)
	g.waitReady(http.StatusOK)
	s := g.dialAs("?topic=fleet/%23", bearer(fleetKey))
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	end := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)
	writeRules(t, file, strings.Replace(accessRules(""), `    publish: ["fleet/#"]`, "    expires: "+end+"\n    publish: [\"fleet/#\"]", 1))
	s.closedWith(wire.CloseExpired)
	g.as(fleetKey, "GET", "/topics?filter=fleet/%23", "", 401, wire.CodeUnauthenticated)
}

// openStream is an open response.
type openStream struct {
	t   testing.TB
	res *http.Response
}

// openEvents opens a stream with a key.
func (g *gateway) openEvents(t testing.TB, path, key string) *openStream {
	t.Helper()
	req, err := http.NewRequest("GET", g.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: got %d, want 200", path, res.StatusCode)
	}
	return &openStream{t, res}
}

// rest reads to the end of the stream.
func (s *openStream) rest() string {
	s.t.Helper()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := s.res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}
