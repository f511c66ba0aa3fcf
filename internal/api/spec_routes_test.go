package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/vulturepi/gateway/internal/spectest"
)

// Every route is in the file, and the file has no other. Two exceptions: HEAD
// and OPTIONS go without saying where there is GET, and /docs/* and /console/* are the
// pages' assets.
// The rest of a path is {topic}, or {id}.
func TestOpenAPIHasExactlyTheRoutes(t *testing.T) {
	g := startRig(t)
	built := map[string]bool{}
	err := chi.Walk(g.server.Public().(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if route != "/docs/*" && route != "/console/*" {
			rest := "/{topic}"
			if route == "/devices/*" {
				rest = "/{id}"
			}
			built[method+" "+strings.Replace(route, "/*", rest, 1)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for route := range built {
		if method, path, _ := strings.Cut(route, " "); (method == "HEAD" || method == "OPTIONS") && built["GET "+path] {
			delete(built, route)
		}
	}
	var described []string
	for _, op := range spectest.OpenAPI(t).Operations(t) {
		described = append(described, op.Method+" "+op.Path)
	}
	slices.Sort(described)
	if got, want := described, spectest.Keys(built); !slices.Equal(got, want) {
		t.Errorf("openapi.yaml has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Between Drain and the end of the listener, whoever is new is refused. The
// operations with bodies are tried on a whole gateway, in package test.
func TestDrainedServerRefusesWhatIsNew(t *testing.T) {
	g := startRig(t)
	g.server.Drain()
	ops := map[string]spectest.Operation{}
	for _, op := range spectest.OpenAPI(t).Operations(t) {
		ops[op.Method+" "+op.Path] = op
	}
	for key, r := range map[string]string{
		"GET /ws":     request("GET", "/ws", "", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
		"GET /events": request("GET", "/events?topic=a", ""), "GET /topics/{topic}": request("GET", "/topics/a", "", "Prefer: wait=1"), "DELETE /topics/{topic}": request("DELETE", "/topics/a", ""),
	} {
		exchange(t, g.public, r).wantProblem(t, 503, "shutting_down")
		if !slices.Contains(ops[key].Codes("503"), "shutting_down") {
			t.Errorf("openapi.yaml has no shutting_down for %s", key)
		}
	}
	g.wantPublishes(t, 0)
}
