package test

import (
	"context"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// socketOutlet answers commands as a Tasmota plug does: cmnd/<name>/POWER is
// answered on stat/<name>/RESULT and stat/<name>/POWER. It knows nothing of
// requests.
func socketOutlet(t *testing.T, broker *brokertest.Broker, name string) {
	t.Helper()
	c := brokertest.Dial(t, broker.Addr())
	c.Subscribe("cmnd/"+name+"/#", 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		state := "OFF"
		for {
			m, err := c.Next(ctx)
			if err != nil {
				return
			}
			switch command := strings.ToUpper(string(m.Payload)); command {
			case "ON", "OFF":
				state = command
			case "TOGGLE":
				state = map[string]string{"ON": "OFF", "OFF": "ON"}[state]
			}
			for topic, payload := range map[string]string{"RESULT": `{"POWER":"` + state + `"}`, "POWER": state} {
				if c.Publish("stat/"+name+"/"+topic, []byte(payload), 0, topic == "POWER") != nil {
					return
				}
			}
		}
	}()
}

func TestRequestWorksWithDevicesThatKnowNothingOfIt(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	for _, watch := range []string{"#", ""} {
		t.Run("GATEWAY_WATCH="+watch, func(t *testing.T) {
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": watch})
			name := map[string]string{"#": "everything", "": "nothing"}[watch]
			socketOutlet(t, broker, name)
			for _, row := range []struct{ command, query, topic, payload string }{
				{"ON", "reply=stat/" + name + "/POWER", "stat/" + name + "/POWER", `"ON"`},
				// The broker keeps ON as retained: an old state is no answer.
				{"TOGGLE", "reply=stat/" + name + "/POWER", "stat/" + name + "/POWER", `"OFF"`},
				{"ON", "reply=stat/" + name + "/%2B&expect=ON", "stat/" + name + "/POWER", `"ON"`},
				{"OFF", "reply=stat/%23&expect=%7B%22POWER%22:%22OFF%22%7D&qos=0", "stat/" + name + "/RESULT", `{"POWER":"OFF"}`},
			} {
				a := g.mustSend("POST", "/request/cmnd/"+name+"/POWER?"+row.query, []byte(row.command))
				if want := `{"type":"message","topic":"` + row.topic + `","payload":` + row.payload + `,`; a.status != 200 || !strings.HasPrefix(a.body, want) {
					t.Errorf("%s ?%s: got %d %s, want %s…", row.command, row.query, a.status, a.body, want)
				}
			}
			a := g.mustSend("POST", "/request/cmnd/"+name+"/POWER?reply=stat/"+name+"/POWER&expect=BROKEN&timeout=1s", []byte("ON"))
			if a.status != 504 || a.problem.Code != "no_reply" || !strings.Contains(a.problem.Detail, "the expected payload did not come") {
				t.Errorf("a state that never comes: got %d %s, want 504 no_reply, for want of the expected payload", a.status, a.body)
			}
			ws := g.dial("")
			ws.send(`{"op":"request","id":1,"topic":"cmnd/` + name + `/POWER","payload":"OFF","reply":"stat/` + name + `/POWER"}`)
			if f := ws.wait("the reply", func(f frame) bool { return string(f.ID) == "1" }); f.Type != "reply" || f.Status != 200 || !strings.Contains(f.raw, `"payload":"OFF"`) {
				t.Errorf("WebSocket: got %s, want the reply OFF", f.raw)
			}
			eventually(t, "no request waits", func() bool { return g.metric("gateway_requests_waiting") == 0 })
		})
	}
}

// Without a broker connection a request is answered at once.
func TestRequestWithoutABrokerIsNotSent(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	broker.Stop()
	g.waitReady(503)
	for _, row := range []struct{ method, path, header string }{
		{"POST", "/request/a?reply=b&timeout=1m", ""}, {"POST", "/topics/a", ""}, {"PUT", "/topics/a", "Idempotency-Key: k"}, {"DELETE", "/topics/a", ""}, {"GET", "/topics/a", ""},
	} {
		body := "x"
		if row.method == "GET" || row.method == "DELETE" {
			body = ""
		}
		a := g.mustSend(row.method, row.path, []byte(body), "Content-Type: image/png", row.header)
		if a.status != 503 || a.problem.Code != "broker_unavailable" || !a.problem.Retryable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %d %s, want 503 broker_unavailable with Retry-After", row.method, row.path, a.status, a.body)
		}
	}
	broker.StartAgain()
	g.waitReady(200)
	// The key was not used up by what was not sent.
	if a := g.mustSend("PUT", "/topics/a", []byte("x"), "Content-Type: image/png", "Idempotency-Key: k"); a.status != 200 {
		t.Errorf("PUT again: got %d %s, want 200", a.status, a.body)
	}
}

// What the broker keeps is found though the gateway has never seen it, also
// where it watches nothing by itself.
func TestValueIsFoundAtTheBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	raw := brokertest.Dial(t, broker.Addr())
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": ""})
	for i, topic := range []string{"keep/a", "keep/b", "keep/c"} {
		if err := raw.Publish(topic, []byte{'0' + byte(i)}, 1, true); err != nil {
			t.Fatal(err)
		}
	}
	a := g.mustSend("GET", "/topics/keep/a", nil)
	if a.status != 200 || a.body != "0" || a.header.Get("Mqtt-Retain") != "true" || !strings.HasPrefix(a.header.Get("Etag"), `"retained-`) {
		t.Errorf("got %d %q with %q, want 0, retained, with an ETag", a.status, a.body, a.header)
	}
	if b := g.mustSend("GET", "/topics/keep/a", nil, "If-None-Match: "+a.header.Get("Etag")); b.status != 304 {
		t.Errorf("with its ETag: got %d, want 304", b.status)
	}
	list := g.mustSend("GET", "/topics?filter=keep/%23&limit=2", nil)
	if n := strings.Count(list.body, `"retain":true`); n != 2 || list.header.Get("Link") == "" {
		t.Errorf("list: got %d values and Link %q, want 2 and a next page: %s", n, list.header.Get("Link"), list.body)
	}
	rest := g.mustSend("GET", "/topics"+strings.Trim(strings.TrimSuffix(list.header.Get("Link"), `>; rel="next"`), "<"), nil)
	if strings.Count(rest.body, `"topic"`) != 1 || !strings.Contains(rest.body, `"topic":"keep/c"`) {
		t.Errorf("next page: got %s, want keep/c", rest.body)
	}
	if a := g.mustSend("DELETE", "/topics/keep/a", nil); a.status != 200 {
		t.Fatalf("DELETE: got %d %s", a.status, a.body)
	}
	eventually(t, "the deleted topic has no value", func() bool { return g.mustSend("GET", "/topics/keep/a", nil).status == 404 })
}
