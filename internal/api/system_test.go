package api

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// auditLines is an audit log in memory.
type auditLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (a *auditLines) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.buf.Write(p)
}

func (a *auditLines) count(s string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Count(a.buf.String(), s)
}

// A filter of the broker's own topics that is not granted is a right that is
// refused, on every way that takes one: it is counted and stands in the audit log.
func TestRefusedSystemFiltersAreAudited(t *testing.T) {
	key, with, _ := guarded(t, `publish: ["#"], subscribe: ["#"]`)
	lines := &auditLines{}
	g := startRig(t, with, func(o *Options) { o.Audit = slog.New(slog.NewJSONHandler(lines, nil)) })
	g.stop = append(g.stop, func() error { g.server.Drain(); return nil })
	as := "Authorization: Bearer " + key
	want := 0
	refused := func(what string) {
		t.Helper()
		want++
		eventuallyTrue(t, what+" is audited", func() bool { return lines.count(`"outcome":"filter_reserved","principal":"p"`) == want })
		metric := fmt.Sprintf(`gateway_denied_total{action="subscribe"} %d`, want)
		if got := exchange(t, g.admin, request("GET", "/metrics", "")); !strings.Contains(string(got.body), metric) {
			t.Errorf("%s: the metrics lack %s", what, metric)
		}
	}
	for _, r := range []string{
		request("GET", "/events?topic=$SYS/%23", "", as),
		request("GET", "/topics?filter=$SYS/broker/%2B", "", as),
		request("GET", "/history?filter=$SYS/%23", "", as),
		request("POST", "/auth/ticket", `{"topics":["$SYS/#"]}`, as, "Content-Type: application/json"),
		request("GET", "/ws?topic=$SYS/%23", "", append(slices.Clone(upgradeHeaders), as)...),
	} {
		exchange(t, g.public, r).wantProblem(t, http.StatusForbidden, "filter_reserved")
		refused(strings.Fields(r)[1])
	}
	ws := g.dial(t, "/ws", as)
	ws.text(`{"op":"subscribe","id":1,"topics":["$SYS/#"]}`)
	ws.until("ack")
	refused("the op")
}

// Who says on the WebSocket that it is an operator has the filters of its URL, of
// the broker's own topics too.
func TestOperatorLogsInBehindASystemFilter(t *testing.T) {
	key, with, _ := guarded(t, `operator: true`)
	g := startRig(t, with)
	g.stop = append(g.stop, func() error { g.server.Drain(); return nil })
	ws := g.dial(t, "/ws?topic=$SYS/%23")
	ws.text(`{"op":"auth","id":1,"token":"` + key + `"}`)
	if got := ws.until("ack"); got["principal"] != "p" {
		t.Fatalf("got %v, want the ack of the login", got)
	}
	if got := fmt.Sprint(ws.until("ack")["results"]); !strings.Contains(got, "ok:true") {
		t.Errorf("got %s, want the filter granted", got)
	}
}
