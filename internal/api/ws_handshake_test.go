package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
)

func TestPlainGetOfWebSocketPathAsksForUpgrade(t *testing.T) {
	g := startRig(t)
	for name, headers := range map[string][]string{
		"no upgrade":           nil,
		"Upgrade alone":        {"Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wsKey},
		"Connection alone":     {"Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wsKey},
		"upgrade to h2c":       {"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		"a prefix of the word": {"Connection: Upgraded", "Upgrade: websockets"},
	} {
		a := g.get("/ws?topic="+canary, headers...)
		a.wantProblem(t, http.StatusUpgradeRequired, "upgrade_required")
		if a.header.Get("Upgrade") != "websocket" || !strings.EqualFold(a.header.Get("Connection"), "upgrade") {
			t.Errorf("%s: got Upgrade %q Connection %q, want websocket and Upgrade", name, a.header.Get("Upgrade"), a.header.Get("Connection"))
		}
	}
	raw := strings.Replace(request("GET", "/ws", "", upgradeHeaders...), "HTTP/1.1", "HTTP/1.0", 1)
	exchange(t, g.public, raw).wantProblem(t, http.StatusUpgradeRequired, "upgrade_required")
}

func TestBadHandshakeIsRefused(t *testing.T) {
	g := startRig(t)
	const key = "Sec-WebSocket-Key: " + wsKey
	for name, headers := range map[string][]string{
		"no version":          {key},
		"version 12":          {key, "Sec-WebSocket-Version: 12"},
		"version 013":         {key, "Sec-WebSocket-Version: 013"},
		"two versions":        {key, "Sec-WebSocket-Version: 13, 8"},
		"no key":              {"Sec-WebSocket-Version: 13"},
		"empty key":           {"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key:"},
		"short key":           {"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="},
		"long key":            {"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBpcyBsb25n"},
		"key without padding": {"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + strings.TrimRight(wsKey, "=")},
		"key that is text":    {"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + canary},
		"two keys":            {"Sec-WebSocket-Version: 13", key, key},
	} {
		t.Run(name, func(t *testing.T) {
			a := exchange(t, g.public, request("GET", "/ws", "", append(headers, "Connection: Upgrade", "Upgrade: websocket")...))
			a.wantProblem(t, http.StatusBadRequest, "invalid_handshake")
			if strings.Contains(name, "version") && a.header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("got Sec-WebSocket-Version %q, want 13", a.header.Get("Sec-WebSocket-Version"))
			}
			if !a.open() {
				t.Error("the connection is closed, want it open: nothing was upgraded")
			}
		})
	}
	g.cleanLog(t)
}

func TestUpgradeTakesGetOnly(t *testing.T) {
	g := startRig(t)
	for _, method := range []string{"POST", "PUT", "CONNECT", "OPTIONS"} {
		a := exchange(t, g.public, request(method, "/ws", "", upgradeHeaders...))
		a.wantProblem(t, http.StatusMethodNotAllowed, "method_not_allowed")
	}
}

func TestSubprotocolIsOursOrNone(t *testing.T) {
	g := startRig(t)
	const name = "Sec-WebSocket-Protocol: "
	for _, row := range []struct {
		offer []string
		want  string // "-": refused
	}{
		{nil, ""}, {[]string{name + "gateway.v1"}, "gateway.v1"}, {[]string{name + "x, gateway.v1"}, "gateway.v1"}, {[]string{name + "x", name + "gateway.v1"}, "gateway.v1"},
		{[]string{name + "mqtt"}, "-"}, {[]string{name + "gateway.v2"}, "-"}, {[]string{name + "gateway.v1x"}, "-"}, {[]string{name}, "-"}, {[]string{name + "bearer, " + canary}, "-"},
	} {
		a := g.upgrade("/ws", row.offer...)
		if row.want == "-" {
			a.wantProblem(t, http.StatusBadRequest, "unsupported_subprotocol")
			continue
		}
		if got := a.header.Get("Sec-WebSocket-Protocol"); a.status != http.StatusSwitchingProtocols || got != row.want {
			t.Errorf("offer %q: got %d %q, want 101 %q", row.offer, a.status, got, row.want)
		}
	}
	g.cleanLog(t)
}

func TestCompressionIsNotNegotiated(t *testing.T) {
	g := startRig(t)
	a := g.upgrade("/ws?topic=a", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame")
	if got := a.header.Values("Sec-WebSocket-Extensions"); a.status != http.StatusSwitchingProtocols || len(got) > 0 {
		t.Fatalf("got %d with extensions %q, want 101 without", a.status, got)
	}
	s := &rawSocket{t: t, conn: a.conn, r: a.r}
	s.until("ack")
	g.hub.Ingest(hub.Inbound{Topic: "a", Payload: []byte(strings.Repeat("a", 10_000))})
	if m := s.until("message"); len(m["payload"].(string)) != 10_000 {
		t.Errorf("got a payload of %d bytes, want 10000", len(m["payload"].(string)))
	}
	s.write(maskedFrame(textFrame|0x40, "\xaa\x56\x4a")) // RSV1: compressed
	if code, _ := s.closed(); code != 1002 {
		t.Errorf("a compressed frame: got close code %d, want 1002", code)
	}
}

func TestTooManyConnectionsAreRefusedBeforeTheUpgrade(t *testing.T) {
	g := startRig(t, func(o *Options) { o.MaxConnections = 2 })
	first := g.dial(t, "/ws")
	g.dial(t, "/ws")
	a := g.upgrade("/ws")
	a.wantProblem(t, http.StatusServiceUnavailable, "too_many_connections")
	if a.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	_ = first.conn.Close()
	eventuallyTrue(t, "the place is free again", func() bool { return g.upgrade("/ws").status == http.StatusSwitchingProtocols })
}

// Frames may come in one packet with the handshake.
func TestFramesBehindTheHandshakeAreRead(t *testing.T) {
	g := startRig(t)
	op := string(maskedFrame(textFrame, `{"op":"ping","id":"early"}`))
	a := exchange(t, g.public, request("GET", "/ws", "", upgradeHeaders...)+strings.Repeat(op, 20))
	s := &rawSocket{t: t, conn: a.conn, r: a.r}
	s.until("welcome")
	for range 20 {
		if f := s.next(); f["type"] != "pong" || f["id"] != "early" {
			t.Fatalf("got %v, want the pong", f)
		}
	}
}

func TestUpgradeIsCountedAsOne(t *testing.T) {
	g := startRig(t)
	g.dial(t, "/ws")
	eventuallyTrue(t, "the upgrade is counted", func() bool {
		return strings.Contains(string(exchange(t, g.admin, request("GET", "/metrics", "")).body), `gateway_http_requests_total{method="GET",route="/ws",status="101"} 1`)
	})
	if n := g.server.writing.len(); n != 0 {
		t.Errorf("got %d answers being written, want none", n)
	}
}
