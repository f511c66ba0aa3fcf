package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/api"
)

// specRules are those of the examples of openapi.yaml.
func specRules() string {
	return fmt.Sprintf(`
principals:
  - name: dashboard
    key_sha256: ["%s"]
    expires: 2099-01-01T00:00:00Z
    publish: ["fleet/+/cmd/#"]
    subscribe: ["fleet/#"]
    deny: ["fleet/+/secret/#"]
  - name: root
    key_sha256: ["%s"]
    publish: ["#"]
    retain: ["#"]
    subscribe: ["#"]
    operator: true
`, access.DigestOf(fleetKey), access.DigestOf(operatorKey))
}

// playAccess plays a gateway that asks for the keys of specRules.
func playAccess(t testing.TB, set ...func(*api.Options)) (g *played, file string) {
	t.Helper()
	env, file := withAccess(t, specRules())
	g = playWith(t, 64<<20, env, set...)
	g.up(false)
	return g, file
}

// accessAnswers are those of the routes about callers.
func accessAnswers(t *testing.T, a *answers) {
	open := play(t)
	a.check(t, "GET /auth/whoami", open.do(request{method: "GET", path: "/auth/whoami"}))
	g, _ := playAccess(t)
	get := func(key, route, path string) {
		t.Helper()
		a.check(t, "GET "+route, g.do(request{method: "GET", path: path, header: bearer(key)}))
	}
	for _, key := range []string{"gwk_wrong", fleetKey} {
		get(key, "/auth/whoami", "/auth/whoami")
		get(key, "/auth/explain", "/auth/explain?action=subscribe&topic=fleet/pi-3/secret/x")
		get(key, "/auth/principals", "/auth/principals")
	}
	get(fleetKey, "/auth/explain", "/auth/explain?action=subscribe&topic=fleet/%23")
	get(fleetKey, "/auth/explain", "/auth/explain?action=read&topic=a")
	for action, topics := range map[string][]string{
		"publish":   {"fleet/%2B", "a%FF", "a%00", "a%EF%BF%BE", "a%E2%80%8B", strings.Repeat("a", 1025), strings.Repeat("a/", 32) + "a"},
		"subscribe": {"fleet/%23/a", "a%FF", "a%00", "a%EF%BF%BE", strings.Repeat("a", 4097), strings.Repeat("a/", 200) + "a"},
	} {
		for _, name := range topics {
			get(fleetKey, "/auth/explain", "/auth/explain?action="+action+"&topic="+name)
		}
	}
	get(operatorKey, "/auth/principals", "/auth/principals")
	ticket := func(header map[string]string, body string) answer {
		got := g.do(request{method: "POST", path: "/auth/ticket", header: header, body: body})
		a.check(t, "POST /auth/ticket", got)
		return got
	}
	ticket(jsonHeader, "")
	ticket(bearerJSON(fleetKey), `{"topics":[]}`)
	ticket(with(bearerJSON(fleetKey), "Origin", "https://elsewhere.example"), "")
	for got := ticket(bearerJSON(fleetKey), ""); got.status != http.StatusTooManyRequests; got = ticket(bearerJSON(fleetKey), "") {
		if got.status != http.StatusCreated {
			t.Fatalf("ticket: got %d %s", got.status, got.body)
		}
	}
}
