package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/spectest"
)

// A payload that is too large takes the place of an older, smaller one
// everywhere, and a gap stands for it wherever the message would have come.
func TestTooLargeValueTakesItsPlace(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"4", "5"} {
		t.Run("MQTT "+version, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.Start(t)
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": version, "GATEWAY_MAX_PAYLOAD_BYTES": "1000"})
			device := brokertest.Dial(t, broker.Addr())
			publish := func(topic, payload string, retain bool) {
				t.Helper()
				if err := device.Publish(topic, []byte(payload), 1, retain); err != nil {
					t.Fatal(err)
				}
			}
			large := strings.Repeat("x", 1001)
			ws, other := g.dialStrict(t, "?topic=pi/%23"), g.dialStrict(t, "?topic=other/%23")
			for _, s := range []*strictSocket{ws, other} {
				s.expect("welcome")
				s.expect("ack")
			}
			publish("pi/live", "small", false)
			publish("pi/live", large, false)
			publish("pi/kept", "small", true)
			publish("pi/kept", large, true)
			publish("other/end", "1", false)
			var live []string
			for range 4 {
				live = append(live, said(ws.next()))
			}
			const gap = "gap too_large %s 1001"
			if got, want := strings.Join(live, ", "), "message pi/live, "+fmt.Sprintf(gap, "pi/live")+", message pi/kept, "+fmt.Sprintf(gap, "pi/kept"); got != want {
				t.Errorf("live: got %s, want %s", got, want)
			}
			if got := said(other.next()); got != "message other/end" {
				t.Errorf("with another filter: got %s, want no gap", got)
			}
			for _, topic := range []string{"pi/live", "pi/kept"} {
				a := g.do(request{method: "GET", path: "/topics/" + topic})
				if p := spectest.Decode[map[string]any](t, a.body); a.status != 502 || p["code"] != "value_too_large" || fmt.Sprint(p["bytes"]) != "1001" {
					t.Errorf("GET %s: got %d %s, want 502 value_too_large with 1001 bytes", topic, a.status, a.body)
				}
				for query, copied := range map[string]bool{"&snapshot=true": true, "": topic == "pi/kept"} {
					s := g.dialStrict(t, "?topic="+topic+query)
					s.expect("welcome")
					s.expect("ack")
					if !copied {
						continue
					}
					m := s.next()
					if got := said(m); got != fmt.Sprintf(gap, topic) {
						t.Errorf("%s%s: got %s, want a gap", topic, query, got)
					}
				}
			}
			list := spectest.Decode[[]map[string]any](t, g.do(request{method: "GET", path: "/topics?filter=pi/%23"}).body)
			if len(list) != 2 || said(list[0]) != fmt.Sprintf(gap, "pi/kept") || said(list[1]) != fmt.Sprintf(gap, "pi/live") {
				t.Errorf("list: got %v, want two gaps", list)
			}
			history := spectest.Decode[[]map[string]any](t, g.do(request{method: "GET", path: "/history?filter=pi/live"}).body)
			if len(history) != 2 || said(history[0]) != "message pi/live" || said(history[1]) != fmt.Sprintf(gap, "pi/live") {
				t.Errorf("history: got %v, want a message and a gap", history)
			}
			if n := g.metric(`gateway_gaps_total{reason="too_large"}`); n != 5 {
				t.Errorf("got %v gaps counted, want 5", n)
			}
			publish("pi/live", "small again", false)
			if got := said(ws.next()); got != "message pi/live" {
				t.Errorf("got %s, want the next message", got)
			}
			if a := g.do(request{method: "GET", path: "/topics/pi/live"}); a.status != 200 || a.body != "small again" {
				t.Errorf("got %d %s, want the smaller value", a.status, a.body)
			}
			// A gateway that comes later sees it as the broker's retained copy.
			late := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": version, "GATEWAY_MAX_PAYLOAD_BYTES": "1000", "GATEWAY_WATCH": ""})
			if a := late.do(request{method: "GET", path: "/topics/pi/kept"}); a.status != 502 || toldBy(t, a.body).code != "value_too_large" {
				t.Errorf("later: got %d %s, want value_too_large", a.status, a.body)
			}
			s := late.dialStrict(t, "?topic=pi/%2B")
			s.expect("welcome")
			s.expect("ack")
			if m := s.next(); said(m) != fmt.Sprintf(gap, "pi/kept") || m["after"] != m["before"] {
				t.Errorf("later: got %v, want a gap as a copy", m)
			}
		})
	}
}

// said is what a frame or an object says, briefly.
func said(m map[string]any) string {
	if m["type"] == "gap" {
		return fmt.Sprint("gap ", m["reason"], " ", m["topic"], " ", m["bytes"])
	}
	return fmt.Sprint(m["type"], " ", m["topic"])
}
