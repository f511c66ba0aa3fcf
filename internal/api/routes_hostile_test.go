package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/vulturepi/gateway/wire"
)

func TestWrongMethodNamesTheRightOnes(t *testing.T) {
	g := startRig(t)
	for path, allow := range map[string]string{
		"/publish": "POST", "/ws": "GET", "/livez": "GET, HEAD, OPTIONS", "/openapi.yaml": "GET, HEAD", "/docs/errors": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO", "get", "PROPFIND"} {
			if strings.Contains(allow, method) {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				a := exchange(t, g.public, request(method, path, ""))
				if got := a.header.Get("Allow"); got != allow {
					t.Errorf("got Allow %q, want %q", got, allow)
				}
				if method == "HEAD" {
					if a.status != http.StatusMethodNotAllowed || len(a.body) > 0 {
						t.Errorf("got %d and %d bytes, want 405 without a body", a.status, len(a.body))
					}
					return
				}
				a.wantProblem(t, http.StatusMethodNotAllowed, "method_not_allowed")
			})
		}
	}
	g.wantPublishes(t, 0)
}

func TestUnknownMethodOnUnknownPathIsNotFound(t *testing.T) {
	g := startRig(t)
	for _, method := range []string{"GET", "POST", "OPTIONS", "FOO"} {
		exchange(t, g.public, request(method, "/nothing", "")).wantProblem(t, http.StatusNotFound, "not_found")
	}
}

func TestPathsAreTakenAsTheyAre(t *testing.T) {
	g := startRig(t)
	for _, path := range []string{
		"/publish/", "//publish", "/%2e/publish", "/./publish", "/x/../publish", "/publish/.", "/%70ublish", "/PUBLISH", "/publish;x",
		"/publish%00", "/publish%2f", "/publish%20", "/.%2e/publish", "/publish/..;/", "/\\publish", "/ws/", "//ws", "//evil.example/publish",
		"/livez/", "/metrics", "/debug/pprof/", "/debug/vars", "/.git/config", "/%c0%ae%c0%ae/etc/passwd", "/" + canary,
	} {
		for _, method := range []string{"GET", "POST"} {
			a := exchange(t, g.public, request(method, path, valid, "Content-Type: application/json"))
			if a.status != http.StatusNotFound || a.header.Get("Location") != "" {
				t.Errorf("%s %s: got %d, Location %q, want 404 and no redirect", method, path, a.status, a.header.Get("Location"))
			}
			a.wantProblem(t, http.StatusNotFound, "not_found")
		}
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

func TestDocsServeNothingElse(t *testing.T) {
	g := startRig(t)
	for _, path := range []string{
		"/docs/../metrics", "/docs/%2e%2e/metrics", "/docs/..%2fmetrics", "/docs/../../etc/passwd", "/docs//evil.example", "/docs/%00",
		"/docs/" + strings.Repeat("a/", 2000), "/docs/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/docs/errors/", "/docs/errors/../../metrics", "/docs/\\\\evil.example",
	} {
		a := g.get(path)
		if a.status >= 500 || bytes.Contains(a.body, []byte("go_goroutines")) || bytes.Contains(a.body, []byte("root:")) {
			t.Errorf("GET %.60s: got %d %.200s", path, a.status, a.body)
		}
		if to := a.header.Get("Location"); strings.HasPrefix(to, "//") || strings.Contains(to, ":") || strings.HasPrefix(to, "\\") {
			t.Errorf("GET %.60s: redirects to %q, want nothing outside", path, to)
		}
	}
}

func TestLongURIIsRefused(t *testing.T) {
	g := startRig(t)
	long := strings.Repeat("x", maxURI)
	for _, target := range []string{"/" + long, "/publish?topic=" + long, "/ws?topic=" + long, "/docs/" + long, "/livez?" + long} {
		a := exchange(t, g.public, request("GET", target, ""))
		a.wantProblem(t, http.StatusRequestURITooLong, "uri_too_long")
	}
	short := "/" + strings.Repeat("x", maxURI-1)
	exchange(t, g.public, request("GET", short, "")).wantProblem(t, http.StatusNotFound, "not_found")
	g.cleanLog(t)
}

// everyRoute lists method and path of the routes of h, with something for each
// parameter.
func everyRoute(t *testing.T, h http.Handler) [][2]string {
	t.Helper()
	routes := [][2]string{{"GET", "/nothing"}, {"OPTIONS", "/publish"}, {"FOO", "/publish"}}
	err := chi.Walk(h.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		route = strings.NewReplacer("*", "x", "{", "", "}", "").Replace(route)
		routes = append(routes, [2]string{method, route})
		return nil
	})
	if err != nil || len(routes) < 6 {
		t.Fatalf("routes: %v %v", routes, err)
	}
	return routes
}

func TestForeignHostIsRefusedOnEveryRoute(t *testing.T) {
	g := startRig(t, func(o *Options) { o.PProf = true })
	for addr, handler := range map[string]http.Handler{g.public: g.server.Public(), g.admin: g.server.Admin()} {
		for _, r := range everyRoute(t, handler) {
			method, path := r[0], r[1]
			for _, more := range [][]string{nil, {
				"Origin: http://evil.example", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wsKey,
			}, {"X-Forwarded-Host: localhost", "Forwarded: host=localhost"}} {
				a := exchange(t, addr, request(method, path, "", append(more, "Host: evil.example")...))
				if a.status != http.StatusMisdirectedRequest {
					t.Errorf("%s %s with a foreign Host and %q: got %d, want 421", method, path, more, a.status)
				}
				if method != "HEAD" {
					a.wantProblem(t, http.StatusMisdirectedRequest, "host_not_allowed")
				}
			}
		}
	}
	g.wantPublishes(t, 0)
}

func TestHostMustBeOurs(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedHosts = []string{"gw.example", "box.example:9000"} })
	own := ""
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			own = n.IP.String()
		}
	}
	rows := map[string]int{
		"localhost": 200, "LocalHost:1": 200, "localhost.": 200, "127.0.0.1": 200, "127.0.0.1:8080": 200, "127.7.7.7": 200, "[::1]": 200, "[::1]:8080": 200,
		"gw.example": 200, "GW.EXAMPLE:8443": 200, "gw.example.:80": 200, "box.example": 200,
		"evil.example": 421, "localhost.evil.example": 421, "evil.example:127.0.0.1": 400, "evil-localhost": 421, "localhostx": 421,
		"127.0.0.1.nip.io": 421, "127.0.0.1.evil.example:8080": 421, "gw.example.evil.example": 421, "evilgw.example": 421, "sub.gw.example": 421,
		"0.0.0.0": 421, "0.0.0.0:8080": 421, "[::]": 421, "192.0.2.1": 421, "[2001:db8::1]": 421, "8.8.8.8:80": 421,
		"0": 421, "2130706433": 421, "0x7f.1": 421, "localhost..": 421, "user@localhost": 400, "gw.example@evil.example": 400, "*": 421, "%6cocalhost": 421,
		"a b": 400, "local host": 400, "localhost/": 400, "gw.example,evil.example": 421, "": 400, "xn--gw-example": 421, "gw。example": 400,
		"localhost:abc": 400, "localhost:": 400, "localhost:0": 400, "localhost:99999": 400, "localhost:65536": 400, "localhost:65535": 200, "localhost:-1": 400,
		"localhost:+1": 400, "localhost:8080:8080": 400, "localhost:80 ": 200, "127.0.0.1:80:80": 400, "127.0.0.1:": 400, "127.0.0.1:x": 400, ":80": 400, ".": 400,
		"::1": 400, "::1]": 400, "[::1": 400, "[::1]x": 400, "[::1]:": 400, "[::1]:x": 400, "[::1]]": 400, "[[::1]]": 400, "[]": 400, "[localhost]": 400, "[127.0.0.1]": 400,
		"[::1%25lo]": 400, "[::ffff:127.0.0.1]": 200, "localhost%": 400, "localhost%2e": 421, "gw.example:x": 400, "evil.example:x": 400,
	}
	if own != "" {
		rows[own], rows[own+":8080"] = 200, 200
	}
	for host, want := range rows {
		t.Run(host, func(t *testing.T) {
			a := exchange(t, g.public, request("GET", "/livez", "", "Host: "+host))
			if a.status != want {
				t.Errorf("got %d %s, want %d", a.status, a.body, want)
			}
			if want == http.StatusMisdirectedRequest && !a.open() {
				t.Error("the connection is closed, want it open")
			}
			if want == http.StatusBadRequest && a.header.Get("X-Request-Id") != "" { // otherwise net/http has refused it
				a.wantProblem(t, want, wire.CodeInvalidHost)
			}
		})
	}
	g.cleanLog(t)
}

func TestHostIsOneHeader(t *testing.T) {
	g := startRig(t)
	for name, raw := range map[string]string{
		"missing":             "GET /livez HTTP/1.1\r\n\r\n",
		"missing in HTTP/1.0": "GET /topics HTTP/1.0\r\n\r\n",
		"twice":               "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
	} {
		if a := exchange(t, g.public, raw); a.status != http.StatusBadRequest {
			t.Errorf("Host %s: got %d, want 400", name, a.status)
		}
	}
	// In the absolute form the target's host counts (RFC 9112 section 3.2.2).
	a := exchange(t, g.public, "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
	a.wantProblem(t, http.StatusMisdirectedRequest, "host_not_allowed")
}

func TestLabelsComeFromClosedSets(t *testing.T) {
	g := startRig(t)
	series := func() int {
		n := 0
		for line := range bytes.Lines(exchange(t, g.admin, request("GET", "/metrics", "")).body) {
			if bytes.HasPrefix(line, []byte("gateway_")) {
				n++
			}
		}
		return n
	}
	round := func(i int) {
		for _, raw := range []string{
			request("GET", fmt.Sprintf("/%s%d", canary, i), ""), request(fmt.Sprintf("FOO%d", i), "/publish", ""),
			request("GET", fmt.Sprintf("/docs/x%d", i), ""), request("GET", fmt.Sprintf("/livez/%d", i), "", fmt.Sprintf("Host: h%d.example", i)),
			publishRequest(fmt.Sprintf(`{"topic":"t/%d","payload":"x"}`, i)), request(fmt.Sprintf("BAR%d", i), fmt.Sprintf("/x%d", i), ""),
		} {
			exchange(t, g.public, raw)
		}
	}
	round(0)
	series() // the first scrape counts itself
	before := series()
	for i := 1; i < 50; i++ {
		round(i)
	}
	if after := series(); after != before {
		t.Errorf("got %d series after 300 more requests, want %d as before", after, before)
	}
	if m := exchange(t, g.admin, request("GET", "/metrics", "")).body; bytes.Contains(m, []byte(canary)) {
		t.Error("a raw path is in the metrics")
	}
}

// Every link leads to the same place wherever a proxy has put the gateway.
func TestLinksAreRelative(t *testing.T) {
	g := startStreams(t)
	g.ingest("list/1", "x")
	g.ingest("list/2", "x")
	for _, path := range []string{"/nothing", "/topics/a?x=1", "/topics/a//b/?x=1", "/topics/a%2Fb?x=1", "/docs/nothing", "/publish/batch"} {
		a := exchange(t, g.public, request("GET", path, ""))
		var p wire.Problem
		if err := json.Unmarshal(a.body, &p); err != nil {
			t.Fatalf("%s: %v %s", path, err, a.body)
		}
		at, err := url.Parse("http://gateway.example/below/here" + path)
		if err != nil {
			t.Fatal(err)
		}
		to, err := at.Parse(p.Type)
		if want := "http://gateway.example/below/here/docs/errors#" + string(p.Code); err != nil || to.String() != want {
			t.Errorf("%s: got type %q, which leads to %v, want %s", path, p.Type, to, want)
		}
	}
	for _, path := range []string{"/topics?limit=1", "/history?filter=%23&limit=1"} {
		if link := exchange(t, g.public, request("GET", path, "")).header.Get("Link"); !strings.HasPrefix(link, "<?") {
			t.Errorf("%s: got Link %q, want it query-only", path, link)
		}
	}
	for _, path := range []string{"/docs", "/docs/"} {
		if page := exchange(t, g.public, request("GET", path, "")).body; bytes.Contains(page, []byte(`"/docs`)) || bytes.Contains(page, []byte(`"/openapi`)) || !bytes.Contains(page, []byte("docs/swagger-ui.css")) {
			t.Errorf("%s: got links from the root: %.1500s", path, page)
		}
	}
}

func TestBasePathIsStripped(t *testing.T) {
	g := startRig(t, func(o *Options) { o.BasePath = "/mqtt/x" })
	for path, want := range map[string]int{
		"/mqtt/x/topics": 200, "/mqtt/x/livez": 200, "/livez": 200, "/readyz": 200, "/topics": 404, "/mqtt/xtopics": 404, "/mqtt/topics": 404, "/mqtt/x": 308,
		"/mqtt/x/topics/a/b": 404, "/mqtt%2Fx/topics": 404, "/mqtt/x/mqtt/x/topics": 404,
	} {
		if a := exchange(t, g.public, request("GET", path, "")); a.status != want {
			t.Errorf("%s: got %d %s, want %d", path, a.status, a.body, want)
		}
	}
	if to := exchange(t, g.public, request("GET", "/mqtt/x", "")).header.Get("Location"); to != "x/" {
		t.Errorf("/mqtt/x: got Location %q, want x/: there may be more of the path in front", to)
	}
	for _, path := range []string{"/mqtt/x/topics/a%2Fb//c", "/mqtt/x/topics/a/b"} {
		if a := exchange(t, g.public, request("POST", path, "1")); a.status != 200 {
			t.Errorf("%s: got %d %s, want 200", path, a.status, a.body)
		}
	}
	if got := strings.Join(g.published(), "|"); got != "a/b//c 1 1 false|a/b 1 1 false" {
		t.Errorf("got %s, want the topics as they were", got)
	}
	outside := exchange(t, g.public, request("GET", "/topics", ""))
	if outside.header.Get("X-Request-Id") == "" || outside.header.Get("X-Content-Type-Options") == "" {
		t.Errorf("outside of the base path: got %v, want the headers of every answer", outside.header)
	}
	exchange(t, g.public, "GET /topics HTTP/1.1\r\nHost: evil.example\r\n\r\n").wantProblem(t, 421, wire.CodeHostNotAllowed)
}

// What is not below the base path is guarded like the rest, and counted.
func TestPathsOutsideOfTheBaseAreGuarded(t *testing.T) {
	g := startRig(t, func(o *Options) { o.BasePath = "/mqtt/x" })
	for _, path := range []string{"/", "/topics", "/metrics", "/mqtt/x", "/mqtt", "//mqtt/x/topics", "/mqtt%2Fx/topics", "/mqtt/x/topics"} {
		if a := exchange(t, g.public, request("GET", path, "", "Host: evil.example")); a.status != 421 || a.header.Get("X-Request-Id") == "" {
			t.Errorf("foreign host, %s: got %d %s, want 421 with a request id", path, a.status, a.body)
		}
		if a := exchange(t, g.public, request("POST", path, "", "Origin: https://evil.example")); a.status != 403 {
			t.Errorf("foreign page, %s: got %d %s, want 403", path, a.status, a.body)
		}
	}
}
