package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// Operators read the broker's own topics on every way that takes a filter, and
// nobody else does: live, kept, listed and as history. What the gateway reads
// of them for itself reaches nobody who did not ask.
func TestOperatorsReadTheBrokersTopics(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, brokertest.Conf("sys_interval 1", "log_dest topic"))
	for name, url := range map[string]string{"mosquitto": broker.URL(), "built-in": ""} {
		for _, watch := range []string{"#", ""} {
			t.Run(name+" "+watch, func(t *testing.T) {
				t.Parallel()
				env, _ := withAccess(t, accessRules(""))
				env["GATEWAY_WATCH"] = watch
				if url != "" {
					env["GATEWAY_MQTT_URL"] = url
				}
				g := start(t, env)
				g.waitReady(http.StatusOK)
				all := g.dialAs("?topic=%23", bearer(operatorKey))
				s := g.dialAs("?topic=$SYS/%23", bearer(operatorKey))
				s.wait("a kept figure", func(f frame) bool { return f.Topic == "$SYS/broker/uptime" && f.Retain })
				s.wait("a live figure", func(f frame) bool { return strings.HasPrefix(f.Topic, "$SYS/broker/") && f.Cursor != "" })
				for _, path := range []string{"/topics?filter=$SYS/broker/%23", "/topics?filter=$SYS/%2B/version", "/history?filter=$SYS/%23"} {
					if a := g.as(operatorKey, "GET", path, "", 200, ""); !strings.Contains(a.body, `"topic":"$SYS/broker/`) {
						t.Errorf("%s: got %s, want the broker's topics", path, a.body)
					}
				}
				one := g.dialAs("", bearer(operatorKey))
				one.subscribe("$SYS/broker/uptime")
				one.wait("a kept figure", func(f frame) bool { return f.Topic == "$SYS/broker/uptime" })
				one.send(`{"op":"unsubscribe","id":1,"topics":["$SYS/broker/uptime"]}`)

				g.as(fleetKey, "GET", "/topics?filter=$SYS/%23", "", 403, wire.CodeFilterReserved)
				g.as(fleetKey, "GET", "/history?filter=$SYS/%23", "", 403, wire.CodeFilterReserved)
				g.as(fleetKey, "GET", "/events?topic=$SYS/broker/uptime", "", 403, wire.CodeFilterReserved)
				g.as(operatorKey, "GET", "/events?topic=$share/g/a", "", 403, wire.CodeFilterReserved)
				g.as(operatorKey, "GET", "/events?topic=$gateway/%23", "", 403, wire.CodeFilterReserved)
				fleet := g.dialAs("", bearer(fleetKey))
				if ack := fleet.subscribe("$SYS/#"); ack.Results[0].Code != wire.CodeFilterReserved {
					t.Errorf("got %s, want filter_reserved", ack.raw)
				}
				narrow := g.dial("?topic=$SYS/broker/uptime&ticket=" + g.ticketOf(operatorKey, `{"topics":["$SYS/broker/uptime"]}`, nil))
				narrow.wait("a kept figure", func(f frame) bool { return f.Topic == "$SYS/broker/uptime" })

				g.as(operatorKey, "POST", "/topics/end", "1", 200, "")
				if url != "" {
					brokertest.Dial(t, broker.Addr())
					s.wait("a line of the log", func(f frame) bool { return f.Topic == "$SYS/broker/log/N" && f.Cursor != "" })
				}
				all.wait("the last message", func(f frame) bool { return f.Topic == "end" })
				for _, f := range all.messages() {
					if f.Topic != "end" {
						t.Errorf("# got %s", f.raw)
					}
				}
				lines := map[string]bool{} // which the gateway reads, too: no line is like another
				for _, f := range s.messages() {
					if f.Topic == "$SYS/broker/log/N" && lines[string(f.Payload)] {
						t.Errorf("got %s twice", f.raw)
					}
					lines[string(f.Payload)] = true
				}
			})
		}
	}
}
