package test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/device"
)

// toldDevices are the devices of openapi.yaml's examples, told by the broker's
// log.
func toldDevices() *device.Registry {
	r := device.New(device.Options{Log: true, Logger: slog.New(slog.DiscardHandler)})
	r.Up()
	for _, line := range []string{
		"1795600859: New client connected from 192.168.1.7:52144 as pi-3 (p2, c1, k60).",
		"1795600859: New client connected from 192.168.1.8:40112 as pi-4 (p2, c1, k60).",
		"1795600860: Client pi-4 has exceeded timeout, disconnecting.",
	} {
		r.Line(line)
	}
	return r
}

// devicesAnswers are those of the routes about devices.
func devicesAnswers(t *testing.T, a *answers) {
	empty := play(t)
	a.check(t, "GET /devices", empty.do(request{method: "GET", path: "/devices"}))

	devices := toldDevices()
	told := func(o *api.Options) { o.Devices = devices }
	g := play(t, told)
	for _, r := range []expected{
		{request{path: "/devices"}, 200},
		{request{path: "/devices", header: map[string]string{"Accept": "application/x-ndjson"}}, 200},
		{request{path: "/devices?limit=1"}, 200},
		{request{path: "/devices?limit=0"}, 400},
		{request{path: "/devices?state=gone"}, 400},
		{request{path: "/devices?states=online"}, 400},
	} {
		r.method = "GET"
		got := g.do(r.request)
		if got.status != r.want {
			t.Errorf("%s: got %d %s, want %d", r.path, got.status, got.body, r.want)
		}
		a.check(t, "GET /devices", got)
	}
	for path, want := range map[string]int{"pi-3": 200, "pi-4": 200, "nobody": 404, "pi-3?states=online": 400} {
		got := g.do(request{method: "GET", path: "/devices/" + path})
		if got.status != want {
			t.Errorf("%s: got %d %s, want %d", path, got.status, got.body, want)
		}
		a.check(t, "GET /devices/{id}", got)
	}
	before := len(g.publisher.all())
	got := g.do(request{method: "POST", path: "/request/cmnd/pi-4?reply=stat/pi-4&device=pi-4", body: "on"})
	if got.status != 409 || len(g.publisher.all()) != before {
		t.Errorf("a request to a device that is offline: got %d %s, want 409 and nothing published", got.status, got.body)
	}
	a.check(t, "POST /request/{topic}", got)

	env, _ := withAccess(t, fmt.Sprintf("principals:\n  - name: blind\n    key_sha256: [\"%s\"]\n    publish: [\"#\"]\n", access.DigestOf(piKey)))
	closed := playWith(t, 64<<20, env, told)
	for route, path := range map[string]string{"/devices": "/devices", "/devices/{id}": "/devices/pi-3"} {
		got := closed.do(request{method: "GET", path: path, header: bearer(piKey)})
		if got.status != 403 {
			t.Errorf("%s without a right to read: got %d %s, want 403", path, got.status, got.body)
		}
		a.check(t, "GET "+route, got)
	}
}
