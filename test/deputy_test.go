package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

// A device that answers publishes with its own rights: a caller must not name a
// response topic that it may not publish to itself. One that it may only read
// is not enough.
func TestResponseTopicNeedsTheRightToPublish(t *testing.T) {
	t.Parallel()
	g := asking(t, nil)
	seen := g.dialAs("?topic=%23", bearer(operatorKey))
	seen.wait("ack", func(f frame) bool { return f.Type == "ack" })
	forbidden := func(a answer) {
		t.Helper()
		if a.status != 403 || a.problem.Code != wire.CodeTopicForbidden || len(a.problem.Errors) != 1 || a.problem.Errors[0].Pointer != "/response_topic" {
			t.Errorf("got %d %s, want topic_forbidden at /response_topic", a.status, a.body)
		}
	}
	const object = `{"topic":"fleet/a","payload":1,"response_topic":%q}`
	for _, answers := range []string{"other/x", "fleet/pi-3/secret/x", "elsewhere"} { // granted to read, denied, not granted
		forbidden(g.do(request{method: "POST", path: "/publish", header: bearerJSON(fleetKey), body: fmt.Sprintf(object, answers)}))
		for _, path := range []string{"/topics/fleet/a?", "/request/fleet/a?reply=fleet/r&"} {
			forbidden(g.do(request{method: "POST", path: path + "response_topic=" + answers, header: bearer(fleetKey), body: "1"}))
		}
		batch := g.as(fleetKey, "POST", "/publish/batch", "["+fmt.Sprintf(object, answers)+"]", 207, "")
		if !strings.Contains(batch.body, `"code":"topic_forbidden"`) {
			t.Errorf("batch: got %s, want topic_forbidden", batch.body)
		}
		s := g.dialAs("", bearer(fleetKey))
		for _, op := range []string{`"op":"publish","id":1`, `"op":"request","id":2,"reply":"fleet/r"`} {
			s.send("{" + op + "," + fmt.Sprintf(object, answers)[1:])
		}
		for _, id := range []string{"1", "2"} {
			if f := s.wait("error", func(f frame) bool { return f.Type == "error" && string(f.ID) == id }); f.Problem.Code != wire.CodeTopicForbidden {
				t.Errorf("op %s: got %s, want topic_forbidden", id, f.raw)
			}
		}
	}
	g.as(fleetKey, "POST", "/publish", fmt.Sprintf(object, "fleet/end"), 200, "")
	last := seen.wait("the granted one", func(f frame) bool { return f.Topic == "fleet/a" })
	if !strings.Contains(last.raw, `"response_topic":"fleet/end"`) {
		t.Errorf("got %s, want the response topic that is granted, and nothing before it", last.raw)
	}
	if slices.ContainsFunc(seen.messages(), func(f frame) bool { return !strings.Contains(f.raw, "fleet/end") }) {
		t.Errorf("a refused message was published: %s", lastFrames(seen.messages()))
	}
}
