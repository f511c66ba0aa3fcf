package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/spectest"
)

// expected is a request and the status that it gets.
type expected struct {
	request
	want int
}

// publishRequests has a request for every code of POST /publish that does not
// depend on the broker.
func publishRequests() []expected {
	nested := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	big := `{"topic":"a","payload":"` + strings.Repeat("x", maxPayload+1) + `"}`
	huge := strings.Repeat(" ", 6*maxPayload+16<<10) + `{"topic":"a","payload":1}`
	chunked := post("huge, length not announced", huge)
	chunked.chunked = true
	brotli := post("compressed", `{"topic":"a","payload":1}`)
	brotli.header = with(jsonHeader, "Content-Encoding", "br")
	foreign := post("foreign page", `{"topic":"a","payload":1}`)
	foreign.header = with(jsonHeader, "Origin", foreignOrigin)
	typed := func(name, contentType string) request {
		r := post(name, `{"topic":"a","payload":1}`)
		r.header = map[string]string{"Content-Type": contentType}
		return r
	}
	query := post("query", `{"topic":"a","payload":1}`)
	query.path += "?qos=1"
	return append(unprocessable(), []expected{
		{post("plain", `{"topic":"a","payload":1}`), 200},
		{typed("charset", "application/json; charset=UTF-8"), 200},
		{query, 400},
		{post("empty", ""), 400},
		{post("cut short", `{"topic":"pi/3/led","payload":"on"`[:31]), 400},
		{post("not UTF-8", "{\"topic\":\"a\",\"payload\":\"\xff\"}"), 400},
		{post("two objects", `{"topic":"a","payload":1}{}`), 400},
		{post("an array", `[1]`), 400},
		{post("twice the same key", `{"topic":"a","topic":"b","payload":1}`), 400},
		{post("twice the same key, inside", `{"topic":"a","payload":{"x":1,"x":2}}`), 400},
		{post("misspelt", `{"topic":"a","payload":1,"retained":true}`), 400},
		{post("wrong case", `{"Topic":"a","payload":1}`), 400},
		{post("too deep", `{"topic":"a","payload":`+nested+`}`), 400},
		{foreign, 403},
		{post("$", `{"topic":"$SYS/x","payload":1}`), 403},
		{post("big", big), 413},
		{post("huge", huge), 413},
		{chunked, 413},
		{typed("text", "text/plain"), 415},
		{typed("no type", ""), 415},
		{typed("latin", "application/json; charset=latin1"), 415},
		{brotli, 415},
	}...)
}

// unprocessable are requests with good JSON that asks for what cannot be.
func unprocessable() []expected {
	long := strings.Repeat("a", 1025)
	deep := strings.Repeat("a/", 32) + "a"
	return []expected{
		{post("half a pair", `{"topic":"a","payload":"\ud800"}`), 422},
		{post("qos 3", `{"topic":"a","payload":1,"qos":3}`), 422},
		{post("qos 1.0", `{"topic":"a","payload":1,"qos":1.0}`), 422},
		{post("retain", `{"topic":"a","payload":1,"retain":1}`), 422},
		{post("encoding", `{"topic":"a","payload":1,"encoding":"hex"}`), 422},
		{post("encoding null", `{"topic":"a","payload":1,"encoding":null}`), 422},
		{post("a number as text", `{"topic":"a","payload":1,"encoding":"text"}`), 422},
		{post("not base64", `{"topic":"a","payload":"?","encoding":"base64"}`), 422},
		{post("base64 on two lines", `{"topic":"a","payload":"3q2+\n7w==","encoding":"base64"}`), 422},
		{post("no payload", `{"topic":"a"}`), 422},
		{post("empty and retained", `{"topic":"a","payload":"","retain":true}`), 422},
		{post("no topic", `{"payload":1}`), 422},
		{post("empty topic", `{"topic":"","payload":1}`), 422},
		{post("nothing right", `{"qos":3}`), 422},
		{post("a number as topic", `{"topic":1,"payload":1}`), 422},
		{post("long topic", `{"topic":"`+long+`","payload":1}`), 422},
		{post("deep topic", `{"topic":"`+deep+`","payload":1}`), 422},
		{post("control character", `{"topic":"a\u0000","payload":1}`), 422},
		{post("non-character", `{"topic":"a\ufffe","payload":1}`), 422},
		{post("format character", `{"topic":"a\u200b","payload":1}`), 422},
		{post("wildcard", `{"topic":"pi/+/led","payload":1}`), 422},
	}
}

// streamRequests has a request for every code of GET /ws that does not depend
// on the gateway's state.
func streamRequests() []expected {
	changed := func(name, header, value string) request {
		r := handshake(name, "")
		r.header = with(upgrade, header, value)
		return r
	}
	return append(filterRequests(func(name, filter string) request { return handshake(name, "?topic="+filter) }), []expected{
		{request{name: "no upgrade", method: "GET", path: "/ws"}, 426},
		{changed("old version", "Sec-WebSocket-Version", "8"), 400},
		{changed("short key", "Sec-WebSocket-Key", "AAAA"), 400},
		{changed("other subprotocol", "Sec-WebSocket-Protocol", "mqtt"), 400},
		{handshake("misspelt", "?topics=a"), 400},
		{handshake("unknown overflow", "?topic=a&overflow=block"), 400},
		{handshake("a time", "?topic=a&since=yesterday"), 400},
		{changed("foreign page", "Origin", foreignOrigin), 403},
		{handshake("too many", "?"+tooManyTopics()), 422},
	}...)
}

// filterRequests has a request for everything that can be wrong with a filter
// by itself.
func filterRequests(with func(name, filter string) request) []expected {
	return []expected{
		{with("shared", "$share/g/a"), 403},
		{with("broker's own", "$SYS/%23"), 403},
		{with("empty", ""), 422},
		{with("long", strings.Repeat("a", 4097)), 422},
		{with("not UTF-8", "%ff"), 422},
		{with("control character", "a%00"), 422},
		{with("non-character", "a%EF%BF%BE"), 422},
		{with("# inside", "alarms/%23/high"), 422},
		{with("deep", strings.Repeat("%2B/", 200)+"%23"), 422},
	}
}

// tooManyTopics is a query with more filters than one connection holds.
func tooManyTopics() string {
	var many strings.Builder
	for i := range 101 {
		fmt.Fprintf(&many, "topic=a%d&", i)
	}
	return strings.TrimSuffix(many.String(), "&")
}

// eventsRequests has a request for every code of GET /events that does not
// depend on the gateway's state. The broker refuses some of the filters.
func eventsRequests() []expected {
	get := func(name, query string) request { return request{name: name, method: "GET", path: "/events" + query} }
	lastEvent, html := get("a time in the header", "?topic=a"), get("a page", "?topic=a")
	lastEvent.header = map[string]string{"Last-Event-ID": "yesterday"}
	html.header = map[string]string{"Accept": "text/html, */*;q=0"}
	return append(filterRequests(func(name, filter string) request { return get(name, "?topic="+filter) }), []expected{
		{get("no filter", ""), 422},
		{get("misspelt", "?topics=a"), 400},
		{get("unknown overflow", "?topic=a&overflow=block"), 400},
		{get("unknown format", "?topic=a&format=xml"), 400},
		{get("unknown snapshot", "?topic=a&snapshot=1"), 400},
		{get("interval without unit", "?topic=a&min_interval=200"), 400},
		{get("interval too short", "?topic=a&min_interval=9ms"), 400},
		{get("interval too long", "?topic=a&min_interval=61m"), 400},
		{get("twice", "?topic=a&overflow=drop&overflow=drop"), 400},
		{get("two mistakes", "?topic=a&snapshot=yes&min_interval=1ms"), 400},
		{get("a time", "?topic=a&since=yesterday"), 400},
		{get("no cursor", "?topic=a&since="), 400},
		{lastEvent, 400},
		{html, 406},
		{get("refused by the broker", "?topic=a&topic=refused"), 403},
		{get("not watched", "?topic=elsewhere"), 422},
		{get("too many", "?"+tooManyTopics()), 422},
		{get("not confirmed", "?topic=late"), 503},
	}...)
}

// historyRequests has a request for every code of GET /history.
func historyRequests() []expected {
	get := func(name, query string) request { return request{name: name, method: "GET", path: "/history" + query} }
	return append(filterRequests(func(name, filter string) request { return get(name, "?filter="+filter) }), []expected{
		{get("no filter", ""), 422},
		{get("misspelt", "?filter=a&topic=a"), 400},
		{get("none at all", "?filter=a&limit=0"), 400},
		{get("too many", "?filter=a&limit=10001"), 400},
		{get("not a number", "?filter=a&limit=ten"), 400},
		{get("a time", "?filter=a&since=yesterday"), 400},
		{get("the most", "?filter=a&limit=10000"), 200},
	}...)
}

// Each query parameter of the file is one of the code's, and the code has no
// others.
func TestQueryParametersAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	g := play(t)
	ops, all := spectest.OpenAPI(t).Operations(t), map[string]bool{"verbose": true}
	for _, op := range ops {
		for name := range op.Query(t) {
			all[name] = true
		}
	}
	for _, op := range ops {
		described := op.Query(t)
		for _, name := range spectest.Keys(all) {
			value := "" // which no parameter may be, but for one that polyfills send so
			if name == "lastEventId" {
				value = "x"
			}
			r := request{method: op.Method, path: op.At("a") + "?" + name + "=" + value}
			if op.Path == "/ws" {
				r.header = upgrade
			}
			got := g.do(r) // no parameter may be empty
			var code any
			if got.status != 200 { // which a list without a page is
				code = spectest.Decode[map[string]any](t, got.body)["code"]
			}
			if (code == "unknown_parameter") == described[name] {
				t.Errorf("%s %s with %s: got %v, but that openapi.yaml has it is %t", op.Method, op.Path, name, code, described[name])
			}
		}
	}
	bound := spectest.Keys(spectest.AsyncAPI(t).Object("/channels/gateway/bindings/ws/query/properties"))
	ws := spectest.Operation{Method: "GET", Path: "/ws", Pointer: "/paths/~1ws/get", Doc: spectest.OpenAPI(t)}
	if want := spectest.Keys(ws.Query(t)); !slices.Equal(bound, want) {
		t.Errorf("asyncapi.yaml has the query parameters %v, openapi.yaml %v", bound, want)
	}
}

// HEAD is not in the file; it is what GET is, without the body.
func TestHeadIsGetWithoutBody(t *testing.T) {
	t.Parallel()
	g := play(t)
	g.receive(hub.Inbound{Topic: "a", Payload: []byte("1")})
	for _, op := range spectest.OpenAPI(t).Operations(t) {
		if op.Method != "GET" || op.Path == "/ws" || op.Path == "/events" {
			continue
		}
		path := op.At("a")
		if path == "/history" {
			path += "?filter=a"
		}
		get, head := g.do(request{method: "GET", path: path}), g.do(request{method: "HEAD", path: path})
		if head.status != get.status || len(head.body) != 0 || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("HEAD %s: got %d %q with %d bytes, want %d %q with none", op.Path, head.status,
				head.header.Get("Content-Type"), len(head.body), get.status, get.header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/ws", "/events?topic=a"} {
		if got := g.do(request{method: "HEAD", path: path}); got.status != 405 || got.header.Get("Allow") != "GET" {
			t.Errorf("HEAD %s: got %d and Allow %q, want 405 and GET", path, got.status, got.header.Get("Allow"))
		}
	}
}

// Any other path is a problem too.
func TestUnknownPathIsAProblem(t *testing.T) {
	t.Parallel()
	d := spectest.OpenAPI(t)
	g := play(t)
	for _, r := range []request{
		{method: "GET", path: "/console/"},
		{method: "GET", path: "/console/app.js"},
		{method: "GET", path: "/publish/"},
		{method: "GET", path: "//publish"},
		{method: "GET", path: "/ws/"},
		{method: "GET", path: "/events/"},
		{method: "GET", path: "/history/"},
		{method: "POST", path: "/publish/batch/"},
		{method: "POST", path: "/request"},
		{method: "GET", path: "/metrics"},
		{method: "GET", path: "/docs/nothing.js"},
		{method: "GET", path: "/docs/nothing.js?v=1"},
		{method: "POST", path: "/nothing"},
		{method: "BREW", path: "/nothing"},
	} {
		got := g.do(r)
		if got.status != 404 || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: got %d %s, want 404 application/problem+json", r.method, r.path, got.status, got.header.Get("Content-Type"))
		}
		if err := d.Validate("/components/schemas/Problem", []byte(got.body)); err != nil {
			t.Errorf("%s %s: %v", r.method, r.path, err)
		}
		if code := spectest.Decode[map[string]any](t, got.body)["code"]; code != "not_found" {
			t.Errorf("%s %s: got %v, want not_found", r.method, r.path, code)
		}
	}
}
