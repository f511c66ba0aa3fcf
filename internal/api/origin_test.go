package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

// listed is GATEWAY_ALLOWED_ORIGINS in the tests below; the gateway itself is
// http://localhost:8080 to them.
var listed = []string{"https://app.example", "http://dev.example:3000", "https://xn--bcher-kva.example"}

const self = "Host: localhost:8080"

// pages are the header lines that name the page a request comes from, and
// whether that page may use the gateway.
var pages = []struct {
	name    string
	headers []string
	allowed bool
}{
	{"no page", nil, true},
	{"own page", []string{"Origin: http://localhost:8080", "Sec-Fetch-Site: same-origin"}, true},
	{"own page behind a TLS proxy", []string{"Origin: https://localhost:8080"}, true},
	{"typed by the user", []string{"Sec-Fetch-Site: none"}, true},
	{"listed", []string{"Origin: https://app.example", "Sec-Fetch-Site: cross-site"}, true},
	{"listed with a port", []string{"Origin: http://dev.example:3000"}, true},
	{"listed IDN", []string{"Origin: https://xn--bcher-kva.example"}, true},
	{"listed, other case", []string{"Origin: HTTPS://App.Example"}, true},
	{"foreign", []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, false},
	{"foreign without Origin", []string{"Sec-Fetch-Site: cross-site"}, false},
	{"same site, other origin", []string{"Sec-Fetch-Site: same-site"}, false},
	{"invented Sec-Fetch-Site", []string{"Sec-Fetch-Site: " + canary}, false},
	{"foreign that claims same-origin", []string{"Origin: https://evil.example", "Sec-Fetch-Site: same-origin"}, false},
	{"null", []string{"Origin: null"}, false},
	{"empty", []string{"Origin:"}, false},
	{"own host, other port", []string{"Origin: http://localhost:3000"}, false},
	{"own host, no port", []string{"Origin: http://localhost"}, false},
	{"own host, port 80", []string{"Origin: http://localhost:80"}, false},
	{"listed as a suffix", []string{"Origin: https://evil-app.example"}, false},
	{"listed as a prefix", []string{"Origin: https://app.example.evil"}, false},
	{"subdomain of a listed one", []string{"Origin: https://www.app.example"}, false},
	{"listed, other scheme", []string{"Origin: http://app.example"}, false},
	{"listed, other port", []string{"Origin: https://app.example:8443"}, false},
	{"listed, wrong port", []string{"Origin: http://dev.example"}, false},
	{"listed with a trailing dot", []string{"Origin: https://app.example."}, false},
	{"listed with a path", []string{"Origin: https://app.example/"}, false},
	{"listed as user name", []string{"Origin: https://app.example@evil.example"}, false},
	{"listed in Unicode", []string{"Origin: https://bücher.example"}, false},
	{"listed IDN, homograph", []string{"Origin: https://xn--bcher-lva.example"}, false},
	{"own host as user name", []string{"Origin: http://localhost:8080@evil.example"}, false},
	{"own host behind a user name", []string{"Origin: http://evil@localhost:8080"}, false},
	{"own host with a path", []string{"Origin: http://localhost:8080/"}, false},
	{"own host with a query", []string{"Origin: http://localhost:8080?evil"}, false},
	{"own host with a fragment", []string{"Origin: http://localhost:8080#evil"}, false},
	{"own host, scheme of an extension", []string{"Origin: chrome-extension://localhost:8080"}, false},
	{"own host, no scheme", []string{"Origin: //localhost:8080"}, false},
	{"file", []string{"Origin: file://"}, false},
	{"no URL", []string{"Origin: http://[evil"}, false},
	{"two origins in one header", []string{"Origin: https://app.example https://evil.example"}, false},
	{"two origins with a comma", []string{"Origin: http://localhost:8080, https://evil.example"}, false},
	{"two headers, the first one listed", []string{"Origin: https://app.example", "Origin: https://evil.example"}, false},
	{"two headers, the first one foreign", []string{"Origin: https://evil.example", "Origin: https://app.example"}, false},
	{"two headers, both listed", []string{"Origin: https://app.example", "Origin: https://app.example"}, false},
}

func TestOnlyOwnAndListedPagesPublish(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedOrigins = listed })
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			before := len(g.published())
			a := exchange(t, g.public, publishRequest(valid, append(p.headers, self)...))
			if p.allowed {
				if a.status != http.StatusOK {
					t.Errorf("got %d %s, want 200", a.status, a.body)
				}
				g.wantPublishes(t, before+1)
				return
			}
			a.wantProblem(t, http.StatusForbidden, "cross_origin")
			g.wantPublishes(t, before)
			// The form that needs no preflight is refused for its origin, not for its type.
			form := exchange(t, g.public, request("POST", "/publish", valid, append(p.headers, self, "Content-Type: text/plain")...))
			form.wantProblem(t, http.StatusForbidden, "cross_origin")
		})
	}
	g.cleanLog(t)
}

func TestOnlyOwnAndListedPagesOpenWebSockets(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedOrigins = listed })
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			a := g.upgrade("/ws", append(p.headers, self)...)
			if p.allowed {
				if a.status != http.StatusSwitchingProtocols {
					t.Errorf("got %d %s, want 101", a.status, a.body)
				}
				_ = a.conn.Close()
				return
			}
			a.wantProblem(t, http.StatusForbidden, "cross_origin")
		})
	}
}

// No spelling of the upgrade gets around the check of the Origin.
func TestForeignPageOpensNoWebSocketHoweverSpelt(t *testing.T) {
	g := startRig(t)
	for name, upgrade := range map[string][]string{
		"plain":            {"Connection: Upgrade", "Upgrade: websocket"},
		"other case":       {"connection: uPGRADE", "uPGRADE: WebSocket"},
		"in lists":         {"Connection: keep-alive, Upgrade", "Upgrade: foo, websocket"},
		"two headers":      {"Connection: keep-alive", "Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket"},
		"an empty one too": {"Connection: Upgrade", "Upgrade:", "Upgrade: websocket"},
	} {
		headers := append(upgrade, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+wsKey, "Origin: http://evil.example")
		a := exchange(t, g.public, request("GET", "/ws", "", headers...))
		if a.status != http.StatusForbidden {
			t.Errorf("%s: got %d %s, want 403", name, a.status, a.body)
		}
	}
}

func TestSameOriginKnowsDefaultPorts(t *testing.T) {
	g := startRig(t)
	for _, row := range []struct {
		origin, host string
		want         int
	}{
		{"http://localhost", "localhost", 200}, {"http://localhost", "localhost:80", 200}, {"http://localhost:80", "localhost", 200},
		{"https://localhost", "localhost:443", 200}, {"https://localhost:443", "localhost", 200}, {"http://[::1]:8080", "[::1]:8080", 200},
		{"http://LOCALHOST:8080", "localhost:8080", 200}, {"http://[::1]", "[::1]:80", 200},
		{"http://localhost", "localhost:443", 403}, {"https://localhost", "localhost:80", 403}, {"http://127.0.0.1", "localhost", 403},
		{"http://localhost:180", "localhost:1", 403}, {"http://localhost:8080", "localhost:80", 403}, {"http://[::1]", "[::1]:8080", 403},
	} {
		a := exchange(t, g.public, publishRequest(valid, "Origin: "+row.origin, "Host: "+row.host))
		if a.status != row.want {
			t.Errorf("Origin %s, Host %s: got %d, want %d", row.origin, row.host, a.status, row.want)
		}
	}
}

// corsHeaders lists the answer's CORS headers.
func (a *reply) corsHeaders() string {
	var b strings.Builder
	for _, name := range []string{"Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Allow-Private-Network"} {
		if v := a.header.Get("Access-Control-" + name); v != "" {
			b.WriteString(name + ": " + v + "; ")
		}
	}
	return b.String()
}

func TestCORSAnswersListedOriginsOnly(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedOrigins = listed })
	const methods = "Allow-Methods: GET, HEAD, POST, PUT, DELETE; Allow-Headers: Authorization, Baggage, Cache-Control, Content-Encoding, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Mqtt-User-Property, Pragma, Prefer, Traceparent, Tracestate, X-Request-Id, X-Requested-With; "
	preflight := "Access-Control-Request-Method: POST"
	for _, row := range []struct {
		name, method string
		headers      []string
		status       int
		want         string
	}{
		{"preflight of a listed page", "OPTIONS", []string{"Origin: https://app.example", preflight}, 204, "Allow-Origin: https://app.example; " + methods},
		{"read by a listed page", "GET", []string{"Origin: https://app.example"}, 405, "Allow-Origin: https://app.example; "},
		{"publish of a listed page", "POST", []string{"Origin: http://dev.example:3000"}, 415, "Allow-Origin: http://dev.example:3000; "},
		{"OPTIONS that is no preflight", "OPTIONS", []string{"Origin: https://app.example"}, 405, "Allow-Origin: https://app.example; "},
		{"preflight of a foreign page", "OPTIONS", []string{"Origin: https://evil.example", preflight}, 405, ""},
		{"preflight for a private network", "OPTIONS", []string{"Origin: https://evil.example", preflight, "Access-Control-Request-Private-Network: true"}, 405, ""},
		{"preflight with foreign headers", "OPTIONS", []string{"Origin: https://app.example", preflight, "Access-Control-Request-Headers: x-" + canary}, 204, "Allow-Origin: https://app.example; " + methods},
		{"preflight of null", "OPTIONS", []string{"Origin: null", preflight}, 405, ""},
		{"preflight without Origin", "OPTIONS", []string{preflight}, 405, ""},
		{"read by a foreign page", "GET", []string{"Origin: https://evil.example"}, 405, ""},
		{"read by a look-alike", "GET", []string{"Origin: https://app.example.evil"}, 405, ""},
		{"publish of a foreign page", "POST", []string{"Origin: https://evil.example"}, 403, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := exchange(t, g.public, request(row.method, "/publish", "", row.headers...))
			if a.status != row.status || a.corsHeaders() != row.want {
				t.Errorf("got %d %q, want %d %q", a.status, a.corsHeaders(), row.status, row.want)
			}
			if row.status != 403 && !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin") {
				t.Errorf("got Vary %q, want Origin in it", a.header.Values("Vary"))
			}
		})
	}
}

// A page of the gateway's own, behind a proxy that changes Host, is told so.
func TestRewrittenHostIsNamed(t *testing.T) {
	g := startRig(t)
	for site, want := range map[string]string{"same-origin": "Host", "cross-site": "GATEWAY_ALLOWED_ORIGINS"} {
		a := exchange(t, g.public, request("POST", "/publish", "{}", "Origin: https://gateway.example", "Sec-Fetch-Site: "+site))
		a.wantProblem(t, http.StatusForbidden, wire.CodeCrossOrigin)
		if !strings.Contains(string(a.body), want) {
			t.Errorf("%s: got %s, want %q in it", site, a.body, want)
		}
	}
}

// Load balancers ask as HTTP/1.0, without Host.
// HAProxy asks with HTTP/1.0, without a Host, and with OPTIONS unless it is told
// another method.
func TestProbesNeedNoHost(t *testing.T) {
	g := startRig(t)
	for _, addr := range []string{g.public, g.admin} {
		for _, path := range []string{"/livez", "/readyz"} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				if a := exchange(t, addr, method+" "+path+" HTTP/1.0\r\n\r\n"); a.status != http.StatusOK {
					t.Errorf("%s %s: got %d %s, want 200", method, path, a.status, a.body)
				}
			}
		}
	}
	exchange(t, g.public, "GET /topics HTTP/1.0\r\n\r\n").wantProblem(t, http.StatusBadRequest, wire.CodeInvalidHost)
	exchange(t, g.public, "GET /livez HTTP/1.0\r\nHost: evil.example\r\n\r\n").wantProblem(t, http.StatusMisdirectedRequest, wire.CodeHostNotAllowed)
}

func TestWithoutListedOriginsThereIsNoCORS(t *testing.T) {
	g := startRig(t)
	for _, origin := range []string{"https://app.example", "http://localhost", "null", "*", ""} {
		for _, method := range []string{"OPTIONS", "GET", "POST"} {
			a := exchange(t, g.public, request(method, "/publish", "", "Origin: "+origin, "Access-Control-Request-Method: POST"))
			if got := a.corsHeaders(); got != "" || a.status == http.StatusNoContent {
				t.Errorf("%s with Origin %q: got %d %q, want no CORS headers", method, origin, a.status, got)
			}
		}
	}
}
