package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

func TestPublishNeedsTheRight(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	publish := func(key, topic, more string, status int, code wire.Code) {
		t.Helper()
		g.as(key, "POST", "/publish", fmt.Sprintf(`{"topic":%q,"payload":1%s}`, topic, more), status, code)
	}
	publish(fleetKey, "fleet/pi-3/led", "", 200, "")
	publish(fleetKey, "other/x", "", 403, wire.CodeTopicForbidden)
	publish(fleetKey, "fleet/pi-3/secret", "", 403, wire.CodeTopicForbidden)
	publish(fleetKey, "fleet/pi-3/secret/x", "", 403, wire.CodeTopicForbidden)
	publish(fleetKey, "fleet/pi-3/led", `,"retain":true`, 403, wire.CodeRetainForbidden)
	publish(fleetKey, "fleet/pi-3/config", `,"retain":true`, 200, "")
	publish(piKey, "fleet/pi-3/x", "", 200, "")
	publish(piKey, "fleet/pi-4/x", "", 403, wire.CodeTopicForbidden)
	publish("", "public/x", "", 401, wire.CodeUnauthenticated)
	g.as(fleetKey, "PUT", "/topics/fleet/pi-3/led", "1", 403, wire.CodeRetainForbidden)
	g.as(fleetKey, "PUT", "/topics/fleet/pi-3/config", "1", 200, "")
	g.as(fleetKey, "DELETE", "/topics/fleet/pi-3/led", "", 403, wire.CodeRetainForbidden)
	g.as(fleetKey, "DELETE", "/topics/other/x", "", 403, wire.CodeTopicForbidden)
	g.as(fleetKey, "DELETE", "/topics/fleet/pi-3/config", "", 200, "")
	g.as(fleetKey, "POST", "/topics/other/x", "1", 403, wire.CodeTopicForbidden)
	g.as(fleetKey, "POST", "/request/other/x?reply=fleet/r", "1", 403, wire.CodeTopicForbidden)
	g.as(fleetKey, "POST", "/request/fleet/x?reply=elsewhere/r", "1", 403, wire.CodeFilterForbidden)
	g.as(fleetKey, "POST", "/request/fleet/x?reply=fleet/%23&timeout=1s", "1", 504, wire.CodeNoReply)
	if n := g.metric(`gateway_denied_total{action="publish"}`); n < 5 {
		t.Errorf("got %g denied publishes in the metrics, want 5 or more", n)
	}
}

func TestEachItemOfABatchNeedsTheRight(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	items := []string{`{"topic":"fleet/a","payload":1}`, `{"topic":"other/a","payload":1}`, `{"topic":"fleet/b","payload":1,"retain":true}`, `{"topic":"fleet/c","payload":1}`}
	a := g.as(fleetKey, "POST", "/publish/batch", "["+strings.Join(items, ",")+"]", http.StatusMultiStatus, "")
	var results []wire.BatchResult
	if err := json.Unmarshal([]byte(a.body), &results); err != nil {
		t.Fatal(err)
	}
	var codes []wire.Code
	for _, r := range results {
		codes = append(codes, r.Code)
	}
	if want := []wire.Code{"", wire.CodeTopicForbidden, wire.CodeRetainForbidden, ""}; !slices.Equal(codes, want) {
		t.Errorf("array: got %v, want %v", codes, want)
	}
	stream := g.do(request{method: "POST", path: "/publish/batch", body: strings.Join(items, "\n"), header: map[string]string{"Authorization": "Bearer " + fleetKey, "Content-Type": "application/x-ndjson"}})
	if strings.Count(stream.body, "topic_forbidden") != 1 || strings.Count(stream.body, "retain_forbidden") != 1 || strings.Count(stream.body, `"status":200`) != 2 {
		t.Errorf("stream: got %s", stream.body)
	}
}

func TestReadingNeedsTheRight(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	for _, topic := range []string{"fleet/pi-3/led", "fleet/pi-3/secret/pin", "elsewhere", "public/news"} {
		g.as(operatorKey, "PUT", "/topics/"+topic, "canary", 200, "")
	}
	g.as(fleetKey, "GET", "/topics/fleet/pi-3/led", "", 200, "")
	// Whether there is a value is not for those who may not read it.
	g.as(fleetKey, "GET", "/topics/fleet/pi-3/secret/pin", "", 403, wire.CodeTopicForbidden)
	g.as(fleetKey, "GET", "/topics/fleet/pi-3/secret/none", "", 403, wire.CodeTopicForbidden)
	g.as(fleetKey, "GET", "/topics/elsewhere", "", 403, wire.CodeTopicForbidden)
	g.as("", "GET", "/topics/elsewhere", "", 401, wire.CodeUnauthenticated)
	g.as("", "GET", "/topics/public/news", "", 200, "")
	g.as(fleetKey, "GET", "/topics", "", 403, wire.CodeFilterForbidden)
	g.as(fleetKey, "GET", "/history?filter=%23", "", 403, wire.CodeFilterForbidden)
	g.as(fleetKey, "GET", "/events?topic=fleet/a&topic=%23", "", 403, wire.CodeFilterForbidden)
	g.as(fleetKey, "GET", "/events?topic=fleet/%2B/secret/x", "", 403, wire.CodeFilterForbidden)
	for _, path := range []string{"/topics?filter=fleet/%23", "/history?filter=fleet/%23"} {
		a := g.as(fleetKey, "GET", path, "", 200, "")
		if !strings.Contains(a.body, "fleet/pi-3/led") || strings.Contains(a.body, "secret") {
			t.Errorf("%s: got %s, want the led and no secret", path, a.body)
		}
	}
}

// A stream whose filter overlaps a deny has neither retained, nor replayed, nor
// live messages of it.
func TestDeniedMessagesAreKeptBackOnStreams(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	put := func(topic string) { g.as(operatorKey, "PUT", "/topics/"+topic, "x", 200, "") }
	put("fleet/pi-3/led")
	put("fleet/pi-3/secret/pin")
	for _, query := range []string{"", "&snapshot=true", "&since=1h"} {
		s := g.dialAs("?topic=fleet/%23"+query, bearer(fleetKey))
		s.wait("ack", func(f frame) bool { return f.Type == "ack" })
		put("fleet/pi-3/secret/pin")
		put("fleet/pi-3/end")
		s.wait("the last message", func(f frame) bool { return f.Topic == "fleet/pi-3/end" })
		for _, f := range s.messages() {
			if strings.Contains(f.Topic, "secret") {
				t.Errorf("%s: got %s", query, f.raw)
			}
		}
	}
}

func TestFiltersOfAnOpNeedTheRight(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	s := g.dialAs("", bearer(fleetKey))
	ack := s.subscribe("fleet/#", "#", "other/x")
	if len(ack.Results) != 3 || !ack.Results[0].OK || ack.Results[1].Code != wire.CodeFilterForbidden || !refused(ack.Results[1], 403) || !ack.Results[2].OK {
		t.Errorf("got %s, want 403 filter_forbidden for # alone", ack.raw)
	}
	s.send(`{"op":"publish","id":1,"topic":"other/x","payload":1}`)
	if f := s.wait("error", func(f frame) bool { return f.Type == "error" }); f.Problem.Code != wire.CodeTopicForbidden {
		t.Errorf("publish: got %s, want topic_forbidden", f.raw)
	}
	s.send(`{"op":"request","id":2,"topic":"fleet/x","payload":1,"reply":"#"}`)
	if f := s.wait("error", func(f frame) bool { return f.Type == "error" && string(f.ID) == "2" }); f.Problem.Code != wire.CodeFilterForbidden {
		t.Errorf("request: got %s, want filter_forbidden", f.raw)
	}
}

// An answer that is kept for an Idempotency-Key belongs to its principal.
func TestIdempotencyKeysOfPrincipalsAreApart(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	for _, key := range []string{fleetKey, piKey} {
		header := with(bearerJSON(key), "Idempotency-Key", "the same")
		a := g.do(request{method: "POST", path: "/publish", header: header, body: `{"topic":"fleet/pi-3/x","payload":1}`})
		if a.status != 200 || a.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("got %d %s, replayed %q, want an answer of its own", a.status, a.body, a.header.Get("Idempotency-Replayed"))
		}
	}
}
