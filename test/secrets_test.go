package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
)

// Whatever callers show, and wherever they show it, stands in no log, no metric
// and no answer; nor does what they publish.
func TestSecretsOfCallersStandNowhere(t *testing.T) {
	t.Parallel()
	audit := filepath.Join(t.TempDir(), "audit.log")
	g := asking(t, map[string]string{"GATEWAY_AUDIT_LOG": audit})
	const payload = "canary-of-a-payload"
	unknown := access.NewKey()
	var said strings.Builder // all that the gateway answers
	ask := func(r request) {
		t.Helper()
		a := g.do(r)
		fmt.Fprintln(&said, a.header, a.body)
	}
	ticket := g.ticketOf(operatorKey, "", nil) // before logins have to wait
	for _, key := range []string{fleetKey, unknown, unknown + "x", "eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOjF9.canary"} {
		for _, header := range []map[string]string{bearer(key), {"Authorization": "Basic " + key}, {"Authorization": key}} {
			ask(request{method: "GET", path: "/topics?filter=fleet/%23", header: header})
			ask(request{method: "POST", path: "/topics/fleet/x", header: header, body: payload})
			ask(request{method: "POST", path: "/topics/elsewhere", header: header, body: payload})
		}
		ask(request{method: "GET", path: "/topics?token=" + key})
		ask(request{method: "GET", path: "/events?topic=a&ticket=" + key})
		ask(request{method: "GET", path: "/topics/" + key})
		s := g.dial("")
		s.send(fmt.Sprintf(`{"op":"auth","id":1,"token":%q}`, key))
		s.wait("an answer", func(f frame) bool { return f.Type == "ack" || f.Type == "error" })
		if key == fleetKey {
			s.send(`{"op":"publish","id":2,"topic":"elsewhere","payload":"` + payload + `"}`)
			s.wait("a refusal", func(f frame) bool { return f.Type == "error" })
		} else {
			s.closed()
		}
		for _, f := range s.all() {
			said.WriteString(f.raw)
		}
	}
	ask(request{method: "GET", path: "/events?topic=a&format=xml&ticket=" + ticket})
	metrics := g.get(g.admin + "/metrics")
	g.stopped(t)
	lines, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range map[string]string{"the log": g.logged(), "the metrics": metrics, "an answer": said.String(), "the audit log": string(lines)} {
		for _, secret := range []string{fleetKey, operatorKey, unknown, ticket, "canary", access.DigestOf(fleetKey).String()} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %q", place, secret)
			}
		}
	}
	if !strings.Contains(g.logged(), "login refused") || !strings.Contains(string(lines), `"action":"login"`) {
		t.Error("the logs do not have the refused logins at all")
	}
}

// A client of HTTP/2 that does not read costs neither memory without bound nor
// anybody else's time.
func TestStalledStreamOverHTTP2HurtsNobody(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	env := a.env()
	env["GATEWAY_CLIENT_QUEUE_BYTES"], env["GATEWAY_MAX_PAYLOAD_BYTES"] = "65536", "16384"
	g := start(t, env)
	g.waitReady(http.StatusOK)
	g.secure(a, true)
	stalled, err := g.client.Get(g.url + "/events?topic=a&overflow=close")
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Body.Close()
	reading, err := g.client.Get(g.url + "/events?topic=a&format=text&since=1h")
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Body.Close()
	got := make(chan int)
	go func() {
		n, buf := 0, make([]byte, 32<<10)
		for n < 400*16_000 {
			read, err := reading.Body.Read(buf)
			if n += read; err != nil {
				break
			}
		}
		got <- n
	}()
	body := strings.Repeat("x", 16_000)
	for range 400 { // on the same connection
		if res := g.do(request{method: "POST", path: "/topics/a", body: body}); res.status != http.StatusOK {
			t.Fatalf("publish: got %d %s, want 200", res.status, res.body)
		}
	}
	if n := <-got; n < 400*16_000 {
		t.Errorf("the client that reads got %d bytes, want all %d", n, 400*16_000)
	}
	eventually(t, "the client that does not read is cut off", func() bool { return g.metric(`gateway_subscribers{transport="ndjson"}`) == 0 })
}
