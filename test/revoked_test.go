package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/wire"
)

// A key that is taken out of the access file ends every stream that it opened,
// however it was shown: a WebSocket with close code 4503, a response with word
// that it is over and its end. Nothing that comes later reaches them, and what
// waits for a value gets none.
func TestRevokedKeyEndsEveryStream(t *testing.T) {
	t.Parallel()
	env, file := withAccess(t, accessRules(""))
	g := start(t, env)
	g.waitReady(http.StatusOK)

	named := g.dial("")
	named.send(`{"op":"auth","id":1,"token":"` + fleetKey + `"}`)
	named.wait("ack", func(f frame) bool { return f.Type == "ack" && string(f.ID) == "1" })
	named.subscribe("fleet/#")
	sockets := map[string]*socket{
		"header": g.dialAs("?topic=fleet/%23", bearer(fleetKey)), "auth op": named, "without a subscription": g.dialAs("", bearer(fleetKey)),
		"ticket": g.dial("?topic=fleet/%23&ticket=" + g.ticketOf(fleetKey, "", nil)),
	}
	streams := map[string]*openStream{}
	for _, format := range []string{"ndjson", "sse", "text&gaps=true"} {
		streams[format] = g.openEvents(t, "/events?topic=fleet/%23&format="+format, fleetKey)
	}
	ticketed, err := g.client.Get(g.url + "/events?topic=fleet/%23&format=ndjson&ticket=" + g.ticketOf(fleetKey, "", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer ticketed.Body.Close()
	streams["ticket"] = &openStream{t, ticketed}
	batch := g.openBatch(t, fleetKey)
	batch.item(t, `{"topic":"fleet/a","payload":1}`, `"status":200`)
	waits := make(chan answer, 1)
	go func() {
		a, err := g.try(g.client, request{method: "GET", path: "/topics/fleet/waited", header: with(bearer(fleetKey), "Prefer", "wait=60")})
		if err != nil {
			t.Error(err)
		}
		waits <- a
	}()
	other := g.dialAs("?topic=fleet/%23", bearer(operatorKey))
	other.wait("ack", func(f frame) bool { return f.Type == "ack" })

	writeRules(t, file, strings.Replace(accessRules(""), access.DigestOf(fleetKey).String(), access.DigestOf("another").String(), 1))
	for name, s := range sockets {
		if got := s.closed(); got != int(wire.CloseRights) {
			t.Errorf("WebSocket, %s: got close code %d, want %d", name, got, wire.CloseRights)
		}
	}
	g.as(operatorKey, "POST", "/topics/fleet/late", "1", 200, "")
	g.as(operatorKey, "POST", "/topics/fleet/waited", canaryPayload, 200, "")
	for name, s := range streams {
		got := s.rest()
		if !strings.Contains(got, "expired") || strings.Contains(got, "late") {
			t.Errorf("/events, %s: got %q, want expired, and nothing that came later", name, got)
		}
	}
	if a := <-waits; a.status != http.StatusUnauthorized || strings.Contains(a.body, canaryPayload) {
		t.Errorf("waiting for a value: got %d %s, want 401", a.status, a.body)
	}
	batch.item(t, `{"topic":"fleet/a","payload":2}`, `"code":"unauthenticated"`)
	g.as(fleetKey, "GET", "/auth/whoami", "", 401, wire.CodeUnauthenticated)
	other.wait("what came later", func(f frame) bool { return f.Topic == "fleet/late" })
}

// openedBatch is a batch that is still being sent.
type openedBatch struct {
	in  *io.PipeWriter
	out io.Reader
}

// openBatch begins a batch with a key. Its answer begins with the first item.
func (g *gateway) openBatch(t testing.TB, key string) *openedBatch {
	t.Helper()
	r, in := io.Pipe()
	req, err := http.NewRequest("POST", g.url+"/publish/batch", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/x-ndjson")
	out, answered := io.Pipe()
	go func() {
		res, err := g.client.Do(req)
		if err != nil {
			_ = answered.CloseWithError(err)
			return
		}
		defer res.Body.Close()
		_, err = io.Copy(answered, res.Body)
		_ = answered.CloseWithError(err)
	}()
	t.Cleanup(func() { _ = in.Close(); _ = out.Close() })
	return &openedBatch{in, out}
}

// item sends a line, and fails unless its result has want in it.
func (b *openedBatch) item(t testing.TB, object, want string) {
	t.Helper()
	if _, err := fmt.Fprintln(b.in, object); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64<<10)
	n, err := b.out.Read(got)
	if err != nil || !strings.Contains(string(got[:n]), want) {
		t.Fatalf("batch: got %q, %v, want %s", got[:n], err, want)
	}
}
