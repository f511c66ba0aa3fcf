package test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/spectest"
)

// callRequests has a request for every code of POST /request/{topic} that does
// not depend on the gateway's state. The broker refuses some of the filters.
func callRequests() []expected {
	const rest = "?reply=b&timeout=10ms"
	at := func(name, path string) request {
		return request{name: name, method: "POST", path: "/request/" + path, body: "1"}
	}
	all := filterRequests(func(name, filter string) request { return at(name, "a?reply="+filter) })
	for _, r := range rawRequests("POST", "/request/", rest, "1") {
		if r.want == 200 {
			r.want = 504 // nobody is there to reply
		}
		all = append(all, r)
	}
	return append(all, []expected{
		{at("misspelt", "a?replies=b"), 400},
		{at("no reply named", "a"), 422},
		{at("all wrong", "pi/+/led?qos=3"), 422},
		{at("too short", "a?reply=b&timeout=9ms"), 400},
		{at("too long", "a?reply=b&timeout=61s"), 400},
		{at("refused by the broker", "a?reply=refused"), 403},
		{at("not watched", "a?reply=elsewhere"), 422},
		{at("not confirmed", "a?reply=late"), 503},
		{at("nothing comes", "a"+rest), 504},
		{at("nothing comes with that payload", "a"+rest+"&expect=x"), 504},
	}...)
}

// callAnswers are those of POST /request/{topic}.
func callAnswers(t *testing.T, a *answers) {
	const key = "POST /request/{topic}"
	g := play(t)
	g.lamp("pi/3/led/set", "pi/3/led")
	for _, r := range a.exampleRequests(t, a.ops[key]) {
		a.check(t, key, g.do(r))
	}
	g.listen(func(publication) { g.receive(hub.Inbound{Topic: "camera", TooLarge: 1 << 20}) })
	a.check(t, key, g.do(request{method: "POST", path: "/request/take?reply=camera", body: "1"}))
	a.check(t, key, oneTooMany(t))
}

// oneTooMany asks while as many requests as may be wait for a reply.
func oneTooMany(t *testing.T) answer {
	t.Helper()
	const most = 1024
	g := play(t)
	var waiting, ended sync.WaitGroup
	waiting.Add(most)
	g.publisher.listen(func(publication) { waiting.Done() })
	ctx, cancel := context.WithCancel(t.Context())
	r := request{method: "POST", path: "/request/a?reply=b&timeout=1m", body: "1"}
	for range most {
		ended.Go(func() {
			req, err := http.NewRequestWithContext(ctx, r.method, g.url+r.path, strings.NewReader(r.body))
			if err == nil {
				_, _ = g.client.Do(req) // it ends when ctx does
			}
		})
	}
	waiting.Wait()
	got := g.do(r)
	cancel()
	ended.Wait()
	if got.status != 429 || len(g.publisher.all()) != most {
		t.Errorf("one request too many: got %d %s and %d publishes, want 429 and %d", got.status, got.body, len(g.publisher.all()), most)
	}
	return got
}

// What comes on a topic that is not the reply's, or with another payload, is
// not the reply; and behind a wildcard the request itself is none.
func TestReplyIsTheExpectedOne(t *testing.T) {
	t.Parallel()
	g := play(t)
	g.publisher.listen(func(p publication) {
		for _, m := range []string{"pi/3/led=off", "pi/3/mode=on", "pi/3/led=on", "pi/3/led=late"} {
			topic, payload, _ := strings.Cut(m, "=")
			g.receive(hub.Inbound{Topic: topic, Payload: []byte(payload)})
		}
		g.receive(hub.Inbound{Topic: p.topic, Payload: []byte(p.payload)})
	})
	for query, want := range map[string]string{
		"reply=pi/3/led":            "pi/3/led off",
		"reply=pi/3/led&expect=on":  "pi/3/led on",
		"reply=pi/3/%2B&expect=on":  "pi/3/mode on",
		"reply=pi/3/%23&expect=cmd": "no_reply",
		"reply=pi/3/set&expect=cmd": "pi/3/set cmd",
		"reply=pi/3/nobody":         "no_reply",
	} {
		r := request{method: "POST", path: "/request/pi/3/set?timeout=1m&" + query, body: "cmd"}
		if want == "no_reply" {
			r = impatient(r)
		}
		got := spectest.Decode[map[string]any](t, g.do(r).body)
		have, _ := got["code"].(string)
		if have == "" {
			have = got["topic"].(string) + " " + got["payload"].(string)
		}
		if have != want {
			t.Errorf("%s: got %s, want %s", query, have, want)
		}
	}
}
