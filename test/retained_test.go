package test

import (
	"net/http"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// With MQTT 5 an empty message that is published as retained leaves its topic
// without a value, whoever sends it; one that is not retained is a value. With
// 3.1.1 nothing tells them apart.
func TestEmptyRetainedMessageClearsItsTopic(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	for name, c := range map[string]struct {
		run  func() *gateway
		want int
	}{
		"5":        {func() *gateway { return startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": "5"}) }, 404},
		"4":        {func() *gateway { return startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": "4"}) }, 200},
		"built-in": {func() *gateway { return startBuiltIn(t, nil) }, 404},
	} {
		g := c.run()
		addr := broker.Addr()
		if name == "built-in" {
			addr = builtInAddr(t, g.logged())
		}
		device := brokertest.Dial(t, addr)
		ws := g.dialStrict(t, "?topic=clear"+name+"/%23")
		ws.expect("welcome")
		ws.expect("ack")
		for _, m := range []struct {
			topic, payload string
			retain         bool
		}{{"kept", "1", true}, {"kept", "", true}, {"empty", "1", true}, {"empty", "", false}} {
			if err := device.Publish("clear"+name+"/"+m.topic, []byte(m.payload), 1, m.retain); err != nil {
				t.Fatal(err)
			}
			if got := ws.expect("message"); got["retain"] != false {
				t.Errorf("%s: got %v, want a live message without retain", name, got)
			}
		}
		if a := g.do(request{method: "GET", path: "/topics/clear" + name + "/kept"}); a.status != c.want {
			t.Errorf("%s: cleared: got %d %q, want %d", name, a.status, a.body, c.want)
		}
		if a := g.do(request{method: "GET", path: "/topics/clear" + name + "/empty"}); a.status != 200 || a.body != "" {
			t.Errorf("%s: empty: got %d %q, want 200 and nothing", name, a.status, a.body)
		}
	}
}

// What the broker keeps comes to a new subscriber once, and to nobody else
// again, whatever else is subscribed at the broker.
func TestRetainedCopiesComeOnce(t *testing.T) {
	t.Parallel()
	for _, watch := range []string{"#", ""} {
		for _, version := range []string{"4", "5", "built-in"} {
			env := map[string]string{"GATEWAY_MQTT_VERSION": version, "GATEWAY_WATCH": watch}
			addr := ""
			if version == "built-in" {
				delete(env, "GATEWAY_MQTT_VERSION")
			} else {
				broker := brokertest.Start(t)
				addr, env["GATEWAY_MQTT_URL"] = broker.Addr(), broker.URL()
			}
			var g *gateway
			if addr == "" { // it comes with the gateway
				g = startBuiltIn(t, env)
				addr = builtInAddr(t, g.logged())
			}
			device := brokertest.Dial(t, addr)
			for _, topic := range []string{"a/1", "a/2", "b/1"} {
				if err := device.Publish(topic, []byte("kept"), 1, true); err != nil {
					t.Fatal(err)
				}
			}
			if g == nil {
				g = start(t, env)
				g.waitReady(http.StatusOK)
			} else if watch == "#" {
				eventually(t, "the live ones have passed", func() bool { return g.metric("gateway_messages_received_total") >= 3 })
			}
			first := g.dialStrict(t, "?topic=a/%2B")
			first.expect("welcome")
			first.expect("ack")
			for _, topic := range []string{"a/1", "a/2"} {
				if m := first.expect("message"); m["topic"] != topic || m["retain"] != true {
					t.Errorf("MQTT %s: got %v, want the copy of %s", version, m, topic)
				}
			}
			second := g.dialStrict(t, "?topic=%23")
			second.expect("welcome")
			second.expect("ack")
			for _, topic := range []string{"a/1", "a/2", "b/1"} {
				if m := second.expect("message"); m["topic"] != topic || m["retain"] != true {
					t.Errorf("MQTT %s: got %v, want the copy of %s", version, m, topic)
				}
			}
			if err := device.Publish("a/1", []byte("new"), 1, true); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*strictSocket{first, second} {
				if m := s.expect("message"); m["payload"] != "new" || m["retain"] != false {
					t.Errorf("MQTT %s: got %v, want the live message next", version, m)
				}
				if rest := s.rest(); len(rest) > 0 {
					t.Errorf("MQTT %s: got %v more, want nothing", version, rest)
				}
			}
		}
	}
}

// Only of what it has seen live does the gateway know the age.
func TestAgeIsOfWhatWasSeenLive(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	device := brokertest.Dial(t, broker.Addr())
	for _, version := range []string{"4", "5"} {
		topic := "age/" + version
		if err := device.Publish(topic, []byte("1"), 1, true); err != nil {
			t.Fatal(err)
		}
		g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": version})
		if a := g.do(request{method: "GET", path: "/topics/" + topic}); a.status != 200 || a.header.Get("Age") != "" || a.header.Get("Last-Modified") != "" {
			t.Errorf("MQTT %s: a copy: got %d, Age %q, Last-Modified %q, want neither", version, a.status, a.header.Get("Age"), a.header.Get("Last-Modified"))
		}
		if a := g.do(request{method: "POST", path: "/topics/" + topic + "?retain=true", body: "2"}); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		eventually(t, "the live one is there", func() bool {
			a := g.do(request{method: "GET", path: "/topics/" + topic})
			return a.body == "2" && a.header.Get("Age") != "" && a.header.Get("Last-Modified") != ""
		})
	}
}
