package test

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/wire"
)

// A CA that is taken away takes its clients along: also over connections that
// are open, and the streams on them. One that is added ends nothing.
func TestClientCATakenAwayEndsItsClients(t *testing.T) {
	t.Parallel()
	a, b := newAuthority(t), newAuthority(t)
	env, _ := withAccess(t, accessRules(""))
	maps.Copy(env, a.env())
	file := filepath.Join(t.TempDir(), "clients.pem")
	trust := func(cas ...string) {
		t.Helper()
		var all []byte
		for _, ca := range cas {
			pem, err := os.ReadFile(ca)
			if err != nil {
				t.Fatal(err)
			}
			all = slices.Concat(all, pem)
		}
		writeRules(t, file, string(all))
	}
	trust(a.CA)
	env["GATEWAY_AUTH"], env["GATEWAY_TLS_CLIENT_CA_FILE"] = "keys,mtls", file
	g := start(t, env)
	g.waitReady(http.StatusOK)
	pair, _, _ := a.client(t, "pi-3")
	g.secure(a, false, pair)
	whoami := func() string { return g.do(request{method: "GET", path: "/auth/whoami"}).body }
	if got := whoami(); !strings.Contains(got, `"principal":"pi-3","via":"mtls"`) {
		t.Fatalf("whoami: got %s, want pi-3 by mtls", got)
	}
	ticket := g.do(request{method: "POST", path: "/auth/ticket"}).body
	stream, err := g.client.Get(g.url + "/events?topic=fleet/pi-3/%23&format=ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(g.ws, "ws://", "wss://", 1)+"?topic=fleet/pi-3/%23", &websocket.DialOptions{HTTPClient: g.client})
	if err != nil {
		t.Fatal(err)
	}
	socket := &socket{t: t, conn: conn, change: make(chan struct{})}
	go socket.read()
	t.Cleanup(func() { _ = conn.CloseNow() })
	socket.wait("ack", func(f frame) bool { return f.Type == "ack" })

	second, _, _ := b.client(t, "pi-3")
	trust(a.CA, b.CA)
	eventually(t, "the second CA is trusted", func() bool {
		c, err := tls.Dial("tcp", strings.TrimPrefix(g.url, "https://"), &tls.Config{RootCAs: a.roots, ServerName: "localhost", Certificates: []tls.Certificate{second}, MaxVersion: tls.VersionTLS12})
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	g.as("", "POST", "/topics/fleet/pi-3/between", "1", 200, "")
	socket.wait("what comes between", func(f frame) bool { return f.Topic == "fleet/pi-3/between" })

	trust(b.CA)
	if got := socket.closed(); got != int(wire.CloseRights) {
		t.Errorf("WebSocket: got close code %d, want %d", got, wire.CloseRights)
	}
	if got := (&openStream{t, stream}).rest(); !strings.Contains(got, "between") || !strings.Contains(got, "expired") {
		t.Errorf("/events: got %q, want what came between, expired, and the end", got)
	}
	if got := whoami(); !strings.Contains(got, string(wire.CodeUnauthenticated)) {
		t.Errorf("an open connection: got %s, want unauthenticated", got)
	}
	_, ticket, _ = strings.Cut(ticket, `"ticket":"`)
	ticket, _, _ = strings.Cut(ticket, `"`)
	g.secure(a, false)
	if got := g.do(request{method: "GET", path: "/events?topic=fleet/pi-3/x&ticket=" + ticket}); got.status != http.StatusUnauthorized {
		t.Errorf("a ticket of the CA's client: got %d %s, want 401", got.status, got.body)
	}
	g.secure(a, false, second)
	if got := whoami(); !strings.Contains(got, `"via":"mtls"`) {
		t.Errorf("whoami of the second CA's client: got %s, want mtls", got)
	}
}

// Over TLS a page of http:// is another origin, even of the same host and port:
// whoever is on the path can make one, and the browser would add its client
// certificate or password.
func TestPlainPageIsForeignOverTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	g := start(t, a.env())
	g.waitReady(http.StatusOK)
	g.secure(a, false)
	host := strings.TrimPrefix(g.url, "https://")
	for origin, want := range map[string]int{"https://" + host: 200, "http://" + host: 403} {
		if got := g.do(request{method: "PUT", path: "/topics/a", body: "1", header: map[string]string{"Origin": origin}}); got.status != want {
			t.Errorf("PUT from %s: got %d %s, want %d", origin, got.status, got.body, want)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		conn, res, err := websocket.Dial(ctx, "wss://"+host+"/ws", &websocket.DialOptions{HTTPClient: g.client, HTTPHeader: http.Header{"Origin": {origin}}})
		cancel()
		if err == nil {
			_ = conn.CloseNow()
		}
		if upgraded := err == nil; upgraded != (want == 200) || !upgraded && (res == nil || res.StatusCode != want) {
			t.Errorf("WebSocket from %s: got %v, want %d", origin, err, want)
		}
	}
}
