package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/spectest"
)

// properties are those of a message object.
type properties struct {
	ContentType    string         `json:"content_type,omitempty"`
	Expiry         string         `json:"expiry,omitempty"`
	ResponseTopic  string         `json:"response_topic,omitempty"`
	Correlation    string         `json:"correlation,omitempty"`
	UserProperties map[string]any `json:"user_properties,omitempty"`
}

func propertiesIn(t *testing.T, object string) string {
	t.Helper()
	return string(spectest.Encode(t, spectest.Decode[properties](t, object)))
}

const (
	givenProperties = `"content_type":"text/x","response_topic":"re/ply","correlation":"AP8=","user_properties":{"unit":"C","tag":["a","b"]}`
	wantProperties  = `{"content_type":"text/x","response_topic":"re/ply","correlation":"AP8=","user_properties":{"tag":["a","b"],"unit":"C"}}`
)

// Properties go to the broker and come back on every route: mosquitto 2.0, and
// the built-in broker.
func TestPropertiesGoBothWays(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func() *gateway{
		"mosquitto": func() *gateway { return startReady(t, brokertest.Start(t).URL(), nil) },
		"built-in":  func() *gateway { return startBuiltIn(t, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			g := run()
			ws := g.dialStrict(t, "?topic=pi/%23")
			ws.expect("welcome")
			ws.expect("ack")
			g.post(`{"topic":"pi/live","payload":"on",` + givenProperties + `}`)
			frame := string(spectest.Encode(t, ws.expect("message")))
			g.post(`{"topic":"pi/kept","payload":"on","retain":true,` + givenProperties + `}`)
			get := func(path string) string {
				return strings.Trim(g.do(request{method: "GET", path: path, header: map[string]string{"Accept": "application/json"}}).body, "[]\n")
			}
			objects := map[string]string{
				"WebSocket": frame, "GET": get("/topics/pi/live"), "list": get("/topics?filter=pi/live"), "history": get("/history?filter=pi/live"),
				"retained": get("/topics/pi/kept"),
			}
			for _, query := range []string{"topic=pi/live&snapshot=true", "topic=pi/kept"} {
				s := g.dialStrict(t, "?"+query)
				s.expect("welcome")
				s.expect("ack")
				objects["?"+query] = string(spectest.Encode(t, s.expect("message")))
			}
			answered := make(chan string, 1)
			go func() {
				answered <- g.do(request{method: "POST", path: "/request/pi/echo?reply=pi/echo&timeout=1m&content_type=true&response_topic=re/ply", body: "1",
					header: map[string]string{"Content-Type": "text/x", "Mqtt-User-Property": "unit=C"}}).body
			}()
			const request = `{"content_type":"text/x","response_topic":"re/ply","user_properties":{"unit":"C"}}`
			if got := propertiesIn(t, <-answered); got != request {
				t.Errorf("reply: got %s, want %s", got, request)
			}
			for route, object := range objects {
				if got := propertiesIn(t, object); got != wantProperties {
					t.Errorf("%s: got %s, want %s in %s", route, got, wantProperties, object)
				}
			}
		})
	}
}

// The broker counts the time that is left.
func TestExpiryGoesBothWays(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	ws := g.dialStrict(t, "?topic=a")
	ws.expect("welcome")
	ws.expect("ack")
	g.post(`{"topic":"a","payload":"on","expiry":"100h"}`)
	if m := ws.expect("message"); !strings.HasSuffix(fmt.Sprint(m["expiry"]), "s") || len(fmt.Sprint(m["expiry"])) != len("360000s") {
		t.Errorf("got expiry %v, want about 360000s", m["expiry"])
	}
}

// A traceparent becomes a user property with MQTT 5, unless there is one; with
// 3.1.1 the message goes out without.
func TestTraceparentBecomesAProperty(t *testing.T) {
	t.Parallel()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	broker := brokertest.Start(t)
	for version, want := range map[string]string{"5": `{"user_properties":{"traceparent":"` + trace + `"}}`, "4": `{}`} {
		g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_VERSION": version})
		ws := g.dialStrict(t, "?topic=v"+version)
		ws.expect("welcome")
		ws.expect("ack")
		a := g.do(request{method: "POST", path: "/topics/v" + version, body: "1", header: map[string]string{"Traceparent": trace}})
		if a.status != 200 {
			t.Errorf("got %d %s, want 200", a.status, a.body)
		}
		if got := propertiesIn(t, string(spectest.Encode(t, ws.expect("message")))); got != want {
			t.Errorf("version %s: got %s, want %s", version, got, want)
		}
		if log := g.logged(); !strings.Contains(log, `"traceparent":"`+trace+`"`) {
			t.Errorf("version %s: the log has no traceparent: %s", version, tail(log, 1000))
		}
	}
	g := startReady(t, broker.URL(), nil)
	ws := g.dialStrict(t, "?topic=own")
	ws.expect("welcome")
	ws.expect("ack")
	g.do(request{method: "POST", path: "/topics/own", body: "1", header: map[string]string{"Traceparent": trace, "Mqtt-User-Property": "traceparent=mine"}})
	if got, want := propertiesIn(t, string(spectest.Encode(t, ws.expect("message")))), `{"user_properties":{"traceparent":"mine"}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A broker that speaks MQTT 3.1.1 takes no properties: nothing is sent.
func TestPropertiesNeedMQTT5(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), map[string]string{"GATEWAY_MQTT_VERSION": "4"})
	const object = `{"topic":"a","payload":1,"expiry":"1h","content_type":"a/b"}`
	for name, body := range map[string]string{
		"publish": g.do(post("publish", object)).body,
		"batch":   strings.Trim(g.do(arrayBatch("batch", "["+object+"]")).body, "[]\n"),
		"topics":  g.do(request{method: "POST", path: "/topics/a?expiry=1h&content_type=true", body: "1", header: map[string]string{"Content-Type": "a/b"}}).body,
		"request": g.do(request{method: "POST", path: "/request/a?reply=b&timeout=1m&expiry=1h&content_type=true", body: "1", header: map[string]string{"Content-Type": "a/b"}}).body,
	} {
		got := toldBy(t, body)
		if got != (refusal{422, 0, "needs_mqtt5"}) || !strings.Contains(body, `"pointer":"/content_type"`) || !strings.Contains(body, `"pointer":"/expiry"`) {
			t.Errorf("%s: got %s, want needs_mqtt5 for both fields", name, body)
		}
	}
	if n := g.metric("gateway_messages_received_total"); n != 0 {
		t.Errorf("got %v messages, want none", n)
	}
}
