package test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/spectest"
)

func publishAnswers(t *testing.T, a *answers, g *played) {
	for _, r := range publishRequests() {
		before := len(g.publisher.all())
		got := g.do(r.request)
		if got.status != r.want {
			t.Errorf("%s: got %d %s, want %d", r.name, got.status, got.body, r.want)
		}
		if sent := len(g.publisher.all()) - before; (sent == 1) != (got.status < 300) {
			t.Errorf("%s: status %d, but %d messages were published", r.name, got.status, sent)
		}
		a.check(t, "POST /publish", got)
	}
	for _, r := range a.exampleRequests(t, a.ops["POST /publish"]) {
		a.check(t, "POST /publish", g.do(r))
	}
	oldAnswers(t, a, g)
	g.publisher.setUnheard(true)
	defer g.publisher.setUnheard(false)
	for key, r := range publishing() {
		if key != "POST /request/{topic}" {
			a.check(t, key, g.do(r))
		}
	}
}

// oldAnswers are those to properties: malformed ones, and where the broker
// speaks MQTT 3.1.1.
func oldAnswers(t *testing.T, a *answers, g *played) {
	g.publisher.setOld(true)
	defer g.publisher.setOld(false)
	for key, r := range publishing() {
		for expiry, code := range map[string]string{"1s": "needs_mqtt5", "1ms": "invalid_property"} {
			r := r
			switch key {
			case "POST /publish", "POST /publish/batch":
				r.body = strings.Replace(r.body, `"payload":1`, `"payload":1,"expiry":"`+expiry+`"`, 1)
			case "DELETE /topics/{topic}":
				r.header = with(r.header, "Mqtt-User-Property", map[string]string{"1s": "unit=C", "1ms": "=C"}[expiry])
			default:
				if !strings.Contains(r.path, "?") {
					r.path += "?"
				}
				r.path += "&expiry=" + expiry
				r.path = strings.Replace(r.path, "?&", "?", 1)
			}
			got := g.do(r)
			if !strings.Contains(got.body, `"code":"`+code+`"`) || !strings.Contains(got.body, `"pointer":"/`) {
				t.Errorf("%s with expiry %s: got %d %s, want %s that names the field", key, expiry, got.status, got.body, code)
			}
			a.check(t, key, got)
		}
	}
}

func brokerAnswers(t *testing.T, a *answers, g *played) {
	defer g.publisher.play(nil, nil, false)
	for _, c := range []struct {
		name            string
		refuse, outcome error
		broken          bool
		want            int
	}{
		{name: "no connection", refuse: api.ErrNotSent, want: 503},
		{name: "connection lost before it was written", outcome: api.ErrNotSent, want: 503},
		{name: "too much in flight", refuse: api.ErrOverloaded, want: 503},
		{name: "connection lost behind it", outcome: api.ErrUnknown, want: 504},
		{name: "denied", outcome: &api.Refused{Reason: 0x87, Name: "not authorised"}, want: 403},
		{name: "too large for the broker", outcome: &api.Refused{Reason: 0x95, Name: "packet too large"}, want: 413},
		{name: "over a quota", outcome: &api.Refused{Reason: 0x97, Name: "quota exceeded"}, want: 429},
		{name: "not retained here", outcome: &api.Refused{Reason: 0x9A, Name: "retain not supported"}, want: 422},
		{name: "guilty", refuse: &api.Refused{Name: "connection closed"}, want: 422},
		{name: "an error that nobody knows", outcome: errOther, want: 500},
		{name: "a panic", broken: true, want: 500},
	} {
		g.publisher.play(c.refuse, c.outcome, c.broken)
		for key, r := range publishing() {
			isBatch := key == "POST /publish/batch" // it waits for room, and has an outcome for each message
			if isBatch && (c.broken || c.name == "too much in flight") {
				continue
			}
			want := c.want
			if isBatch {
				want = 207
			}
			if want == 504 {
				r = impatient(r)
			}
			got := g.do(r)
			if got.status != want {
				t.Errorf("%s, %s: got %d %s, want %d", key, c.name, got.status, got.body, want)
			}
			a.check(t, key, got)
		}
	}
}

func streamAnswers(t *testing.T, a *answers) {
	g := play(t, func(o *api.Options) { o.MaxConnections = 1 })
	g.upstream.play(nil, map[string]error{"refused": hub.ErrRefused, "elsewhere": hub.ErrNotCovered, "late": context.DeadlineExceeded})
	for key, requests := range map[string][]expected{
		"GET /ws": streamRequests(), "GET /events": eventsRequests(), "GET /history": historyRequests(),
		"GET /topics": listRequests(), "GET /topics/{topic}": valueRequests(), "POST /request/{topic}": callRequests(),
	} {
		for _, r := range requests {
			got := g.do(r.request)
			if got.status != r.want {
				t.Errorf("%s, %s: got %d %s, want %d", key, r.name, got.status, got.body, r.want)
			}
			a.check(t, key, got)
		}
	}
	g.upstream.setBroken(true)
	a.check(t, "GET /events", g.do(request{method: "GET", path: "/events?topic=broken"}))
	a.check(t, "GET /topics", g.do(request{method: "GET", path: "/topics?filter=broken/list"}))
	a.check(t, "GET /topics/{topic}", g.do(request{method: "GET", path: "/topics/broken/value"}))
	g.upstream.setBroken(false)

	c := g.dialStrict(t, "")
	events := request{method: "GET", path: "/events?topic=a"}
	waiting := map[string]request{
		"GET /topics/{topic}": {method: "GET", path: "/topics/a", header: map[string]string{"Prefer": "wait=1"}},
		"POST /publish/batch": ndjsonBatch("waits like a stream", `{"topic":"a","payload":1}`),
	}
	for key, r := range waiting {
		a.check(t, key, g.do(r))
	}
	for key, r := range map[string]request{"GET /ws": handshake("one too many", ""), "GET /events": events} {
		got := g.do(r)
		if got.status != 503 {
			t.Errorf("%s, one too many: got %d, want 503", key, got.status)
		}
		a.check(t, key, got)
	}
	a.check(t, "GET /ws", answer{status: 101, header: c.header})
	drainAnswers(t, a)
}

const selfTestWarning = "a message of the gateway's own does not come back from the broker: it may deny everything; grant its user the topics it is to use, and read and write on $gateway/#"

func pageAnswers(t *testing.T, a *answers) {
	without := play(t, func(o *api.Options) { o.Console = nil })
	a.check(t, "GET /", without.do(request{method: "GET", path: "/"}))
	g := play(t)
	for _, path := range []string{"/livez", "/openapi.yaml", "/asyncapi.yaml", "/docs", "/docs/errors", "/docs/websocket", "/sdk.js", "/"} {
		page := map[string]string{}
		if path == "/" {
			page["Accept"] = "text/html"
		}
		got := g.do(request{method: "GET", path: path, header: page})
		if got.status != 200 {
			t.Errorf("GET %s: got %d, want 200", path, got.status)
		}
		a.check(t, "GET "+path, got)
		tag := got.header.Get("ETag")
		if tag == "" {
			continue
		}
		page["If-None-Match"] = tag
		got = g.do(request{method: "GET", path: path, header: page})
		if got.status != 304 {
			t.Errorf("GET %s, which the client has: got %d, want 304", path, got.status)
		}
		a.check(t, "GET "+path, got)
	}
	for _, c := range []struct {
		status bridge.Status
		want   int
	}{
		{bridge.Status{Publish: true, Subscribe: true}, 200},
		{bridge.Status{Publish: true, Subscribe: true, SubscribeRefused: []string{"$SYS/#"}}, 200},
		{bridge.Status{Publish: true, Subscribe: true, Tested: true, Warning: selfTestWarning}, 200},
		{bridge.Status{Subscribe: true, Err: "connection refused"}, 503},
		{bridge.Status{Publish: true, Err: "connection refused"}, 503},
		{bridge.Status{}, 503},
	} {
		g.setStatus(func() bridge.Status { return c.status })
		g.setVersion(map[bool]mqtt.Version{true: mqtt.V5}[c.status.Tested])
		got := g.do(request{method: "GET", path: "/readyz"})
		if got.status != c.want {
			t.Errorf("GET /readyz with %+v: got %d, want %d", c.status, got.status, c.want)
		}
		a.check(t, "GET /readyz", got)
	}
	g.setStatus(func() bridge.Status { panic("out of order") })
	a.check(t, "GET /readyz", g.do(request{method: "GET", path: "/readyz"}))
	g.setStatus(works)
	end := g.drain(t)
	public := g.url
	g.url = g.admin // the other listener is closed
	a.check(t, "GET /readyz", g.do(request{method: "GET", path: "/readyz"}))
	g.url = public
	end()
}

// commonAnswers are those that every path has.
func commonAnswers(t *testing.T, a *answers, g *played) {
	for key, op := range a.ops {
		path := op.At("a")
		for _, c := range []struct {
			request
			want int
		}{
			{request{name: "another method", method: "PATCH", path: path}, 405},
			{request{name: "an unknown parameter", method: op.Method, path: path + "?verbose=1"}, 400},
			{request{name: "a malformed query", method: op.Method, path: path + "?%zz"}, 400},
			{request{name: "a long URI", method: op.Method, path: path + "?" + strings.Repeat("a", 16<<10)}, 414},
			{request{name: "a foreign host", method: op.Method, path: path, host: "elsewhere.example"}, 421},
		} {
			if op.Path == "/ws" {
				c.header = upgrade
			}
			got := g.do(c.request)
			if got.status != c.want {
				t.Errorf("%s, %s: got %d %s, want %d", key, c.name, got.status, got.body, c.want)
			}
			a.check(t, key, got)
			if c.want == 405 && !strings.Contains(got.header.Get("Allow"), op.Method) {
				t.Errorf("%s: got Allow %q, want %s in it", key, got.header.Get("Allow"), op.Method)
			}
		}
		a.check(t, key, withBadHost(t, g, op))
	}
}

// withBadHost asks with a Host that is none.
func withBadHost(t *testing.T, g *played, op spectest.Operation) answer {
	t.Helper()
	got := g.connect(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost:x\r\nContent-Length: 0\r\n\r\n", op.Method, op.At("a"))).answer()
	if got.status != 400 {
		t.Errorf("%s %s with a bad Host: got %d, want 400", op.Method, op.Path, got.status)
	}
	return got
}
