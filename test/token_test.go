package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/vulturepi/gateway/wire"
)

const tokenSecret = "a secret of more than thirty-two bytes, for tests"

// jwtOf is a token signed by tokenSecret.
func jwtOf(t testing.TB, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": "https://issuer.example", "aud": "gateway", "sub": "ada", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"gateway": map[string]any{"subscribe": []string{"fleet/#"}, "publish": []string{"fleet/{principal}/#"}, "deny": []string{"fleet/+/secret/#"}},
	}
	if change != nil {
		change(claims)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func startTokens(t testing.TB, more map[string]string) *gateway {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_ISSUER": "https://issuer.example", "GATEWAY_JWT_AUDIENCE": "gateway", "GATEWAY_JWT_KEY_FILE": file,
	}
	for name, value := range more {
		env[name] = value
	}
	g := start(t, env)
	g.waitReady(http.StatusOK)
	return g
}

func TestTokenBringsItsRights(t *testing.T) {
	t.Parallel()
	g := startTokens(t, nil)
	good := jwtOf(t, nil)
	g.as(good, "POST", "/topics/fleet/ada/x", "1", 200, "")
	g.as(good, "POST", "/topics/fleet/eve/x", "1", 403, wire.CodeTopicForbidden)
	g.as(good, "GET", "/topics/fleet/eve/secret/x", "", 403, wire.CodeTopicForbidden)
	g.as("", "GET", "/topics", "", 401, wire.CodeUnauthenticated)
	for name, bad := range map[string]string{
		"another audience": jwtOf(t, func(c jwt.MapClaims) { c["aud"] = "elsewhere" }),
		"expired":          jwtOf(t, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Hour).Unix() }),
		"for ten days":     jwtOf(t, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(240 * time.Hour).Unix() }),
		"no expiry":        jwtOf(t, func(c jwt.MapClaims) { delete(c, "exp") }),
		"a name for many":  jwtOf(t, func(c jwt.MapClaims) { c["sub"] = "+" }),
		"stripped":         good[:strings.LastIndexByte(good, '.')+1],
	} {
		if a := g.do(request{method: "GET", path: "/auth/whoami", header: bearer(bad)}); a.problem.Code != wire.CodeUnauthenticated {
			t.Errorf("%s: got %d %s, want unauthenticated", name, a.status, a.body)
		}
	}
}

// A token is renewed in place before it expires; one that is not ends its
// stream.
func TestTokenIsRenewedInPlace(t *testing.T) {
	t.Parallel()
	g := startTokens(t, nil)
	short := func() string {
		return jwtOf(t, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(3 * time.Second).Unix() })
	}
	kept := g.dialAs("?topic=fleet/%23", bearer(short()))
	left := g.dialAs("?topic=fleet/%23", bearer(short()))
	kept.send(fmt.Sprintf(`{"op":"auth","id":1,"token":%q}`, jwtOf(t, nil)))
	ack := kept.wait("ack", func(f frame) bool { return string(f.ID) == "1" })
	if !strings.Contains(ack.raw, `"principal":"ada"`) || !strings.Contains(ack.raw, `"expires":"`) {
		t.Errorf("got %s, want the principal and when it expires", ack.raw)
	}
	left.closedWith(wire.CloseExpired)
	g.as(jwtOf(t, nil), "POST", "/topics/fleet/ada/x", "1", 200, "")
	kept.wait("a message after the first token's end", func(f frame) bool { return f.Topic == "fleet/ada/x" })
}

// The audit log has a line for what callers do and are refused, and none of
// their secrets.
func TestAuditLogHasWhatCallersDo(t *testing.T) {
	t.Parallel()
	audit := filepath.Join(t.TempDir(), "audit.log")
	g := asking(t, map[string]string{"GATEWAY_AUDIT_LOG": audit})
	g.as(fleetKey, "POST", "/topics/fleet/x", "canary-payload", 200, "")
	g.as(fleetKey, "POST", "/topics/other/x", "canary-payload", 403, wire.CodeTopicForbidden)
	g.as(fleetKey, "GET", "/topics", "", 403, wire.CodeFilterForbidden)
	g.as("gwk_wrong", "GET", "/topics", "", 401, wire.CodeUnauthenticated)
	ticket := g.ticketOf(fleetKey, "", nil)
	g.stopped(t)
	said, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range bytes.Lines(said) {
		var l struct{ Action, Outcome, Principal, Topic, Address, Via string }
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if l.Address != "127.0.0.1" {
			t.Errorf("line %q: want the address", line)
		}
		got = append(got, strings.Join([]string{l.Action, l.Outcome, l.Principal, l.Topic}, " "))
	}
	want := []string{"publish ok fleet fleet/x", "publish topic_forbidden fleet other/x", "subscribe filter_forbidden fleet #", "login refused:key  ", "ticket ok fleet "}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	for _, secret := range []string{"canary", fleetKey, "gwk_", ticket, "gwt_"} {
		if bytes.Contains(said, []byte(secret)) || strings.Contains(g.logged(), secret) {
			t.Errorf("%q stands in a log", secret)
		}
	}
}
