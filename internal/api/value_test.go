package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// Where pages of other origins are let in, an answer that depends on Accept
// still says that it depends on Origin.
func TestReadsVaryByOriginToo(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedOrigins = listed })
	g.hub.Ingest(hub.Inbound{Topic: "a", Payload: []byte("1")})
	for _, path := range []string{"/topics/a", "/topics", "/history?filter=a"} {
		a := exchange(t, g.public, request("GET", path, "", "Origin: https://app.example"))
		vary := strings.Join(a.header.Values("Vary"), ", ")
		if a.status != http.StatusOK || !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept") {
			t.Errorf("%s: got %d and Vary %q, want 200, and Origin and Accept in it", path, a.status, vary)
		}
	}
}

// detail and errors of a problem say the same, also where a route has a better
// sentence than the rule for topics and filters.
func TestOwnSentencesStandInErrorsToo(t *testing.T) {
	g := startRig(t)
	for _, row := range []struct{ method, path, pointer, want string }{
		{"GET", "/topics/a/+", "/topic", "GET /topics?filter=…"},
		{"POST", "/request/a", "/reply", "Say where the reply comes"},
		{"POST", "/request/a?reply=", "/reply", "Say where the reply comes"},
	} {
		a := exchange(t, g.public, request(row.method, row.path, ""))
		var p wire.Problem
		if err := json.Unmarshal(a.body, &p); err != nil {
			t.Fatalf("%s %s: %v: %s", row.method, row.path, err, a.body)
		}
		if len(p.Errors) != 1 || p.Errors[0].Pointer != row.pointer || p.Errors[0].Detail != p.Detail || !strings.Contains(p.Detail, row.want) {
			t.Errorf("%s %s: got %s, want %q for %s, twice", row.method, row.path, a.body, row.want, row.pointer)
		}
	}
}
