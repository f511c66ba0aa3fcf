package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

// ticketOf gets a ticket.
func (g *gateway) ticketOf(key, body string, header map[string]string) string {
	g.t.Helper()
	all := bearerJSON(key)
	for name, value := range header {
		all = with(all, name, value)
	}
	a := g.do(request{method: "POST", path: "/auth/ticket", header: all, body: body})
	var ticket wire.Ticket
	if err := json.Unmarshal([]byte(a.body), &ticket); err != nil || a.status != http.StatusCreated || ticket.ExpiresIn != 30 {
		g.t.Fatalf("POST /auth/ticket: got %d %s, want 201 and a ticket for 30 s", a.status, a.body)
	}
	return ticket.Ticket
}

func TestTicketLetsInOnce(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	ticket := g.ticketOf(fleetKey, "", nil)
	s := g.dial("?topic=fleet/%23&ticket=" + ticket)
	if ack := s.wait("ack", func(f frame) bool { return f.Type == "ack" }); !ack.Results[0].OK {
		t.Errorf("got %s, want fleet/# in force", ack.raw)
	}
	g.as("", "GET", "/events?topic=fleet/%23&ticket="+ticket, "", 401, wire.CodeUnauthenticated)
	events := g.do(request{method: "GET", path: "/events?topic=a&ticket=gwt_none"})
	if events.status != http.StatusUnauthorized {
		t.Errorf("no such ticket: got %d, want 401", events.status)
	}
	g.as("", "GET", "/topics?filter=fleet/%23&ticket="+g.ticketOf(fleetKey, "", nil), "", 400, wire.CodeUnknownParameter)
	g.as("", "POST", "/auth/ticket", "", 401, wire.CodeUnauthenticated)
}

func TestTicketIsForItsTopicsAndItsOrigin(t *testing.T) {
	t.Parallel()
	g := asking(t, map[string]string{"GATEWAY_ALLOWED_ORIGINS": "https://app.example,https://other.example"})
	s := g.dial("?ticket=" + g.ticketOf(fleetKey, `{"topics":["fleet/pi-3/#"]}`, nil))
	ack := s.subscribe("fleet/pi-3/led", "fleet/pi-4/led")
	if !ack.Results[0].OK || ack.Results[1].Code != wire.CodeFilterForbidden {
		t.Errorf("got %s, want pi-3 alone", ack.raw)
	}
	ticket := g.ticketOf(fleetKey, "", map[string]string{"Origin": "https://app.example"})
	a := g.do(request{method: "GET", path: "/events?topic=fleet/%23&ticket=" + ticket, header: map[string]string{"Origin": "https://other.example"}})
	if a.status != http.StatusUnauthorized {
		t.Errorf("from another origin: got %d, want 401", a.status)
	}
}

func TestCallersAreToldAboutThemselvesOnly(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	var who wire.Whoami
	a := g.as(fleetKey, "GET", "/auth/whoami", "", 200, "")
	if err := json.Unmarshal([]byte(a.body), &who); err != nil || who.Principal != "fleet" || who.Via != "key" || len(who.Deny) != 1 || who.Operator {
		t.Errorf("whoami: got %s", a.body)
	}
	if a := g.as("", "GET", "/auth/whoami", "", 200, ""); !strings.Contains(a.body, `"via":"anonymous"`) {
		t.Errorf("whoami without credentials: got %s", a.body)
	}
	for query, want := range map[string]string{
		"action=subscribe&topic=fleet/pi-3/secret/x": `{"allowed":false,"rule":"deny fleet/+/secret/#"}`,
		"action=publish&topic=fleet/pi-3/led":        `{"allowed":true,"rule":"publish fleet/#"}`,
		"action=retain&topic=fleet/pi-3/led":         `{"allowed":false,"rule":"no retain filter grants it"}`,
		"action=publish&topic=$SYS/a":                `{"allowed":false,"rule":"nobody may publish to topics that start with $"}`,
		"action=subscribe&topic=$SYS/%23":            `{"allowed":false,"rule":"$SYS is for operators"}`,
		"action=retain&topic=fleet/a%E2%80%8B":       `{"allowed":false,"rule":"no retain filter grants it"}`, // a device's name: to clear it
	} {
		if a := g.as(fleetKey, "GET", "/auth/explain?"+query, "", 200, ""); strings.TrimSpace(a.body) != want {
			t.Errorf("explain %s: got %s, want %s", query, a.body, want)
		}
	}
	// What can be no topic, or no filter, is neither allowed nor forbidden.
	for query, want := range map[string]wire.Code{
		"action=publish&topic=fleet/%2B":        "topic_wildcard",
		"action=publish&topic=fleet/a%00":       "topic_control_char",
		"action=publish&topic=fleet/a%E2%80%8B": "topic_format_char",
		"action=retain&topic=fleet/%23":         "topic_wildcard",
		"action=subscribe&topic=fleet/%23/a":    "filter_syntax",
	} {
		g.as(fleetKey, "GET", "/auth/explain?"+query, "", 422, want)
	}
	g.as(fleetKey, "GET", "/auth/principals", "", 403, wire.CodeOperatorsOnly)
	a = g.as(operatorKey, "GET", "/auth/principals", "", 200, "")
	if !strings.Contains(a.body, `"name":"pi-3"`) || strings.Contains(a.body, "sha256") {
		t.Errorf("principals: got %s, want all three without digests", a.body)
	}
}

func TestRatesAreTold(t *testing.T) {
	t.Parallel()
	g := asking(t, map[string]string{"GATEWAY_RATE_PUBLISH": "1", "GATEWAY_MAX_STREAMS_PER_CLIENT": "1"})
	last := answer{}
	for range 4 {
		last = g.do(request{method: "POST", path: "/topics/fleet/x", header: bearer(fleetKey), body: "1"})
	}
	if last.status != http.StatusTooManyRequests || last.problem.Code != wire.CodeRateLimited || last.header.Get("RateLimit-Policy") != `"publish";q=2;w=2` ||
		!strings.HasPrefix(last.header.Get("RateLimit"), `"publish";r=0;t=`) || last.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, headers %v, want 429 with RateLimit", last.status, last.body, last.header)
	}
	g.as(operatorKey, "POST", "/topics/fleet/x", "1", 200, "") // somebody else has a rate of its own
	g.dialAs("?topic=fleet/%23", bearer(fleetKey))
	last = g.as(fleetKey, "GET", "/events?topic=fleet/%23", "", 429, wire.CodeRateLimited)
	if last.header.Get("RateLimit-Policy") != `"streams";q=1;qu="concurrent-requests"` || last.header.Get("RateLimit") != `"streams";r=0` || last.header.Get("Retry-After") == "" {
		t.Errorf("streams: got headers %v, want 429 with RateLimit", last.header)
	}
}

func TestKeyCommandMakesAKeyThatLetsIn(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "access.yaml")
	p := launch(t, nil, "key", "new", "pi-9", "--publish", "fleet/{principal}/#", "--subscribe", "cmd/#", "--expires", "90d", "--append", file)
	if got := p.exit(); got != 0 {
		t.Fatalf("key new: got exit status %d: %s", got, p.stderr)
	}
	key := strings.TrimSpace(p.stdout.String())
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("access file: got %v, %v, want mode 0600", info, err)
	}
	g := start(t, map[string]string{"GATEWAY_AUTH": "keys", "GATEWAY_ACCESS_FILE": file})
	g.waitReady(http.StatusOK)
	g.as(key, "POST", "/topics/fleet/pi-9/x", "1", 200, "")
	g.as(key, "POST", "/topics/fleet/pi-8/x", "1", 403, wire.CodeTopicForbidden)

	printed := launch(t, nil, "key", "new", "--subscribe", "#", "reader")
	if got := printed.exit(); got != 0 || !strings.Contains(printed.stdout.String(), "gwk_") || !strings.Contains(printed.stdout.String(), "principals:\n  - name: \"reader\"") {
		t.Errorf("key new: got %d %q, want the key and its entry", got, printed.stdout)
	}
	for _, args := range []string{"key", "key new", "key new a/b", "key new a b", "key new a --publish a+", "key new a --expires yesterday"} {
		if got := launch(t, nil, strings.Fields(args)...).exit(); got != 2 {
			t.Errorf("%s: got exit status %d, want 2", args, got)
		}
	}
}

func TestBadAccessFileEndsTheStart(t *testing.T) {
	t.Parallel()
	env, file := withAccess(t, "principals:\n  - name: a\n    publsih: [\"hunter2canary\"]\n")
	p := launch(t, env)
	if got := p.exit(); got != 2 {
		t.Errorf("got exit status %d, want 2", got)
	}
	said := p.stderr.String()
	for _, part := range []string{"GATEWAY_ACCESS_FILE", file, "3", "publsih"} {
		if !strings.Contains(said, part) {
			t.Errorf("got %q, want %q in it", said, part)
		}
	}
	if strings.Contains(said, "hunter2canary") || strings.Count(said, "\n") != 1 {
		t.Errorf("got %q, want one line without values", said)
	}
}

// SIGHUP reads the rules again, and opens the audit log anew.
func TestHangupReadsTheRulesAgain(t *testing.T) {
	t.Parallel()
	env, file := withAccess(t, accessRules(""))
	p, g := launchReady(t, env)
	g.as(fleetKey, "GET", "/topics?filter=fleet/%23", "", 200, "")
	if err := os.WriteFile(file, []byte("principals: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new rules are in force", func() bool {
		a := g.do(request{method: "GET", path: "/auth/whoami"})
		return a.status == 200 && strings.Contains(a.body, fmt.Sprintf("%q:[]", "subscribe"))
	})
	g.as(fleetKey, "GET", "/topics?filter=fleet/%23", "", 401, wire.CodeUnauthenticated)
}
