package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

// Whoever may read nothing any more may know of no device: a stream of devices
// ends as one of topics does, also where the right to publish stays, and a
// WebSocket is told.
func TestRightsToDevicesThatEndEndTheirStreams(t *testing.T) {
	t.Parallel()
	env, file := withAccess(t, accessRules(""))
	env["GATEWAY_DEVICE_TOPICS"] = "fleet/{id}/LWT=Online|Offline"
	g := start(t, env)
	g.waitReady(http.StatusOK)
	socket := g.dialAs("", bearer(fleetKey))
	const watch = `{"op":"subscribe","id":1,"devices":true}`
	socket.send(watch)
	socket.wait("ack", func(f frame) bool { return f.Type == "ack" })
	streams := map[string]*openStream{}
	for _, format := range []string{"ndjson", "sse"} {
		streams[format] = g.openEvents(t, "/events?devices=true&format="+format, fleetKey)
	}
	g.as(operatorKey, "POST", "/topics/fleet/early/LWT", "Online", 200, "")
	socket.wait("a device", func(f frame) bool { return f.Type == "device" })

	writeRules(t, file, strings.Replace(accessRules(""), `    subscribe: ["fleet/#", "other/#"]`, "", 1))
	told := socket.wait("the news", func(f frame) bool { return f.Type == "error" })
	if told.Problem.Code != wire.CodeFilterForbidden || len(told.Problem.Errors) != 1 || told.Problem.Errors[0].Pointer != "/devices" {
		t.Errorf("WebSocket: got %s, want filter_forbidden at /devices", told.raw)
	}
	g.as(operatorKey, "POST", "/topics/fleet/late/LWT", "Online", 200, "")
	for format, s := range streams {
		if got := s.rest(); !strings.Contains(got, `"early"`) || !strings.Contains(got, "expired") || strings.Contains(got, `"late"`) {
			t.Errorf("%s: got %q, want the early device, expired, and the end", format, got)
		}
	}

	// The right comes back, and with it nothing by itself.
	writeRules(t, file, accessRules(""))
	eventually(t, "the right is back", func() bool {
		a := g.do(request{method: "GET", path: "/devices", header: bearer(fleetKey)})
		return a.status == http.StatusOK
	})
	g.as(operatorKey, "POST", "/topics/fleet/later/LWT", "Online", 200, "")
	socket.send(strings.Replace(watch, `"id":1`, `"id":2,"snapshot":true`, 1))
	socket.wait("the devices again", func(f frame) bool { return f.Type == "snapshot_end" })
	for _, f := range socket.all() {
		if string(f.ID) == "2" {
			break
		}
		if strings.Contains(f.raw, `"late`) {
			t.Errorf("got %s, while no devices were watched", f.raw)
		}
	}
}
