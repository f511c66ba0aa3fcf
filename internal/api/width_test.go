package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// greedyFilters lead, few as they are, to as many places as there are.
func greedyFilters() (filters []string) {
	for levels := 199; levels > 1; levels = levels * 3 / 4 {
		for at := range min(30, levels-1) {
			names := strings.Split(strings.Repeat("a/", levels-1)+"z", "/")
			names[at] = "+"
			filters = append(filters, strings.Join(names, "/"))
		}
	}
	return filters
}

// The filters of one caller, on however many connections, do not keep others
// from theirs, on any way that holds one.
func TestGreedyFiltersHurtTheirOwnCallerAlone(t *testing.T) {
	g := startRig(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	g.stop = append(g.stop, func() error { g.server.Drain(); g.hub.Shutdown(context.Background()); return nil })
	const greedy, other = "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2"
	refused := 0
	for chunk := range slices.Chunk(greedyFilters(), 60) {
		ws := g.dial(t, "/ws", greedy)
		ws.text(`{"op":"subscribe","topics":["` + strings.Join(chunk, `","`) + `"]}`)
		refused += strings.Count(fmt.Sprint(ws.until("ack")["results"]), "code:overloaded")
	}
	if refused == 0 {
		t.Fatal("all filters were taken, want some refused")
	}
	for _, who := range []struct {
		as    string
		taken bool
	}{{greedy, false}, {other, true}} { // in this order: what others hold is there for the greedy one, too
		as, want := who.as, who.taken
		ws := g.dial(t, "/ws", as)
		ws.text(`{"op":"subscribe","topics":["+/+/+/+/+/temp"]}`)
		if got := fmt.Sprint(ws.until("ack")["results"]); strings.Contains(got, "ok:true") != want {
			t.Errorf("%s on a WebSocket: got %s, want taken %v", as, got, want)
		}
		if got := firstLine(t, g.public, request("GET", "/events?topic=%2B/%2B/%2B/%2B/%2B/x", "", as)); strings.Contains(got, "200") != want {
			t.Errorf("%s on events: got %q, want taken %v", as, got, want)
		}
		call := exchange(t, g.public, request("POST", "/request/a?timeout=10ms&reply=%2B/%2B/%2B/%2B/%2B/y", "", as))
		if got := call.status == http.StatusGatewayTimeout; got != want {
			t.Errorf("%s asks: got %d, want taken %v", as, call.status, want)
		}
	}
}

// firstLine is how the answer begins. The connection stays until the end of the
// test.
func firstLine(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}
