package test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// Who may read a device's topics may know of it, and an operator of all.
func TestRightsHoldForDevices(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, withLog())
	env, file := withAccess(t, accessRules(""))
	env["GATEWAY_DEVICE_TOPICS"] = "fleet/{id}/#"
	g := startReady(t, broker.URL(), env)
	for _, id := range []string{"pi-3", "pi-4", "laptop"} {
		c := brokertest.Dial(t, broker.URL(), brokertest.ClientID(id))
		if id != "laptop" {
			if err := c.Publish("fleet/"+id+"/x", []byte("1"), 1, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	ids := func(key string) string {
		t.Helper()
		var all []wire.Device
		a := g.as(key, "GET", "/devices", "", 200, "")
		if err := json.Unmarshal([]byte(a.body), &all); err != nil {
			t.Fatalf("%s: %v", a.body, err)
		}
		var names []string
		for _, d := range all {
			names = append(names, d.ID)
		}
		return strings.Join(names, " ")
	}
	eventually(t, "an operator knows of all", func() bool { return ids(operatorKey) == "laptop pi-3 pi-4" })
	eventually(t, "pi-3 knows of itself", func() bool { return ids(piKey) == "pi-3" })
	g.as(piKey, "GET", "/devices/pi-4", "", 404, wire.CodeDeviceNotSeen)
	g.as(piKey, "GET", "/devices/laptop", "", 404, wire.CodeDeviceNotSeen)
	if got := g.as("", "GET", "/devices", "", 200, "").body; got != "[]\n" { // who may read public/# only
		t.Errorf("got %s, want none", got)
	}

	ws := g.dialAs("", bearer(piKey))
	ws.send(`{"op":"subscribe","id":1,"devices":true,"snapshot":true}`)
	ws.wait("the end of the snapshot", func(f frame) bool { return f.Type == "snapshot_end" && string(f.ID) == "1" })
	root := g.dialAs("", bearer(operatorKey))
	root.send(`{"op":"subscribe","id":1,"devices":true}`)
	root.wait("ack", func(f frame) bool { return f.Type == "ack" })
	brokertest.Dial(t, broker.URL(), brokertest.ClientID("pi-4"))
	brokertest.Dial(t, broker.URL(), brokertest.ClientID("pi-3"))
	again := func(id string) func(frame) bool {
		return func(f frame) bool {
			return f.Type == "device" && strings.Contains(f.raw, `"id":"`+id+`","state":"online"`) && strings.Contains(f.raw, "taken_over")
		}
	}
	root.wait("pi-4", again("pi-4"))
	ws.wait("pi-3", again("pi-3"))
	for _, f := range ws.all() {
		if strings.Contains(f.raw, "pi-4") || strings.Contains(f.raw, "laptop") {
			t.Errorf("pi-3 was told %s", f.raw)
		}
	}

	// Rights that are lost hold for a stream that is open.
	writeRules(t, file, strings.ReplaceAll(accessRules(""), `subscribe: ["fleet/{principal}/#"]`, `subscribe: ["other/#"]`))
	eventually(t, "pi-3 knows of nobody", func() bool { return ids(piKey) == "" })
	told := len(ws.deviceStates())
	before := len(ws.all())
	brokertest.Dial(t, broker.URL(), brokertest.ClientID("pi-3"))
	eventually(t, "the operator is told", func() bool {
		told := 0
		for _, f := range root.all() {
			if again("pi-3")(f) {
				told++
			}
		}
		return told == 2
	})
	ws.send(`{"op":"ping","id":9}`)
	ws.wait("pong", func(f frame) bool { return f.Type == "pong" })
	for _, f := range ws.all()[before:] {
		if f.Type == "device" {
			t.Errorf("got %s after the rights were lost (%d before)", f.raw, told)
		}
	}

	// And so do those that are gained, without a change of what it could read before.
	writeRules(t, file, strings.ReplaceAll(accessRules(""), `subscribe: ["fleet/{principal}/#"]`, `subscribe: ["fleet/#"]`))
	eventually(t, "pi-3 knows of pi-4", func() bool { return ids(piKey) == "pi-3 pi-4" })
	brokertest.Dial(t, broker.URL(), brokertest.ClientID("pi-4"))
	ws.wait("pi-4", again("pi-4"))
}

// tenantRules has two who share a broker, and each its own topics.
const tenantRules = `
principals:
  - {name: a, key_sha256: ["%s"], subscribe: ["a/#"], publish: ["a/#"]}
  - {name: b, key_sha256: ["%s"], subscribe: ["b/#"], publish: ["b/#"]}
  - {name: root, key_sha256: ["%s"], operator: true}
`

// Who writes to the topics of one pattern neither speaks of a device of another
// one that has the same id, nor learns of it.
func TestTenantsKnowTheirOwnDevices(t *testing.T) {
	t.Parallel()
	a, b := fleetKey, piKey
	broker := brokertest.Start(t, withLog())
	env, _ := withAccess(t, fmt.Sprintf(tenantRules, access.DigestOf(a), access.DigestOf(b), access.DigestOf(operatorKey)))
	env["GATEWAY_DEVICE_TOPICS"] = "a/{id}/LWT=Online|Offline,b/{id}/LWT=Online|Offline"
	g := startReady(t, broker.URL(), env)
	pump := brokertest.Dial(t, broker.URL(), brokertest.ClientID("pump"))
	if err := pump.Publish("b/pump/LWT", []byte("Online"), 1, true); err != nil {
		t.Fatal(err)
	}
	is := func(key, state, source string, address bool) func() bool {
		return func() bool {
			var d wire.Device
			body := g.do(request{method: "GET", path: "/devices/pump", header: bearer(key)}).body
			return json.Unmarshal([]byte(body), &d) == nil && d.State == state && d.Source == source && (d.Address != "") == address
		}
	}
	eventually(t, "b knows of its pump", is(b, "online", "will", false))
	eventually(t, "the operator knows who is at the broker", is(operatorKey, "online", "log", true))
	g.as(a, "GET", "/devices/pump", "", 404, wire.CodeDeviceNotSeen)

	sockets := map[string]*socket{}
	for _, key := range []string{a, b} {
		sockets[key] = g.dialAs("", bearer(key))
		sockets[key].send(`{"op":"subscribe","id":1,"devices":true}`)
		sockets[key].wait("ack", func(f frame) bool { return f.Type == "ack" })
	}
	g.as(a, "POST", "/topics/a/pump/LWT", "Offline", 200, "")
	sockets[a].wait("what it has said itself", func(f frame) bool { return strings.Contains(f.raw, `"id":"pump","state":"offline"`) })
	for key, want := range map[string]func() bool{
		"a": is(a, "offline", "will", false), "b": is(b, "online", "will", false), "root": is(operatorKey, "online", "log", true),
	} {
		if !want() {
			t.Errorf("%s is told something else of the pump", key)
		}
	}
	g.as(a, "POST", "/request/a/x?reply=a/y&device=pump", "x", 409, wire.CodeDeviceOffline)
	g.as(b, "POST", "/request/b/x?reply=b/y&timeout=1s&device=pump", "x", 504, wire.CodeNoReply)

	pump.Drop()
	eventually(t, "the operator knows who has gone", is(operatorKey, "offline", "log", true))
	g.as(a, "POST", "/topics/a/valve/LWT", "Online", 200, "")
	sockets[a].wait("the valve", func(f frame) bool { return strings.Contains(f.raw, `"id":"valve"`) })
	sockets[b].send(`{"op":"ping","id":9}`)
	sockets[b].wait("pong", func(f frame) bool { return f.Type == "pong" })
	for key, want := range map[string]int{a: 2, b: 0} {
		got := 0
		for _, f := range sockets[key].all() {
			if f.Type == wire.TypeDevice {
				got++
			}
		}
		if got != want {
			t.Errorf("got %d frames of devices, want %d", got, want)
		}
	}
}
