package test

import (
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/spectest"
)

// nameRequests has a request for everything that can be wrong with the topic
// in a path.
func nameRequests(with func(name, topic string) request) []expected {
	return []expected{
		{with("$", "$SYS/x"), 403},
		{with("empty topic", ""), 422},
		{with("long topic", strings.Repeat("a", 4097)), 422},
		{with("deep topic", strings.Repeat("a/", 200)+"a"), 422},
		{with("not UTF-8", "%ff"), 422},
		{with("control character", "a%00"), 422},
		{with("non-character", "a%EF%BF%BE"), 422},
		{with("wildcard", "pi/+/led"), 422},
	}
}

// rawRequests has a request for every code of an operation that publishes to
// the topic in its path and does not depend on the broker. The path of what is
// right is prefix and query.
func rawRequests(method, prefix, query, body string) []expected {
	plain := request{name: "plain", method: method, path: prefix + "a" + query, body: body}
	changed := func(name string, change func(r *request)) request {
		r := plain
		r.name = name
		change(&r)
		return r
	}
	header := func(name, value string) func(*request) {
		return func(r *request) { r.header = with(map[string]string{"Content-Type": "text/plain"}, name, value) }
	}
	more := func(param string) func(*request) {
		return func(r *request) { r.path = strings.TrimSuffix(r.path+"&"+param, "?") }
	}
	all := nameRequests(func(name, topic string) request {
		return changed(name, func(r *request) { r.path = prefix + topic + query })
	})
	if method != "DELETE" { // a device may have published with it
		all = append(all, expected{changed("format character", func(r *request) { r.path = prefix + "a%E2%80%8B" + query }), 422})
	}
	return append(all, []expected{
		{plain, 200},
		{changed("from no page", header("Content-Type", "application/x-www-form-urlencoded")), 200},
		{changed("from our page", header("Sec-Fetch-Site", "same-origin")), 200},
		{changed("from a foreign page", header("Origin", foreignOrigin)), 403},
		{changed("from where?", header("Sec-Fetch-Site", "none")), 403},
		{changed("compressed in another way", header("Content-Encoding", "br")), 415},
		{changed("qos 3", more("qos=3")), 422},
		{changed("twice", more("qos=1&qos=1")), 400},
	}...)
}

// topicsAnswers are those of topics as resources.
func topicsAnswers(t *testing.T, a *answers) {
	g := play(t)
	at := func(method, rest, body string) request {
		return request{name: rest, method: method, path: "/topics/pi/3/battery" + rest, body: body}
	}
	for key, requests := range map[string][]expected{
		"POST /topics/{topic}": append(rawRequests("POST", "/topics/", "?", "1"), []expected{
			{at("POST", "?qso=1", "1"), 400}, {at("POST", "?retain=1", "1"), 422}, {at("POST", "?retain=true", ""), 422},
			{at("POST", "", ""), 200}, {at("POST", "?qos=0&retain=true", "1"), 202},
		}...),
		"PUT /topics/{topic}": append(rawRequests("PUT", "/topics/", "?", "1"), []expected{
			{at("PUT", "?qso=1", "1"), 400}, {at("PUT", "?retain=false", "1"), 422}, {at("PUT", "", ""), 422},
			{at("PUT", "?qos=2&retain=true", "1"), 200}, {at("PUT", "?qos=0", "1"), 202},
		}...),
		"DELETE /topics/{topic}": append(rawRequests("DELETE", "/topics/", "?", ""), []expected{
			{at("DELETE", "?retain=true", ""), 400}, {at("DELETE", "", "1"), 400}, {at("DELETE", "", ""), 200}, {at("DELETE", "?qos=0", ""), 202},
		}...),
	} {
		for _, r := range requests {
			got := g.do(r.request)
			if got.status != r.want {
				t.Errorf("%s, %s: got %d %s, want %d", key, r.name, got.status, got.body, r.want)
			}
			a.check(t, key, got)
		}
		for _, r := range a.exampleRequests(t, a.ops[key]) {
			a.check(t, key, g.do(r))
		}
	}
	valueAnswers(t, a)
	listAnswers(t, a)
}

// valueRequests has a request for every code of GET /topics/{topic} that
// depends on the topic. The broker refuses some of them.
func valueRequests() []expected {
	get := func(name, topic string) request { return request{name: name, method: "GET", path: "/topics/" + topic} }
	return append(nameRequests(get), []expected{
		{get("nothing there", "a"), 404},
		{get("refused by the broker", "refused"), 403},
		{get("not watched", "elsewhere"), 422},
		{get("not confirmed", "late"), 503},
	}...)
}

// valueAnswers are those of GET /topics/{topic}.
func valueAnswers(t *testing.T, a *answers) {
	g := play(t)
	g.past()
	g.battery()
	g.receive(hub.Inbound{Topic: "pi/3/frame", Payload: []byte("\xde\xad\xbe\xef")})
	g.receive(hub.Inbound{Topic: "pi/3/camera", Payload: []byte("small")})
	g.receive(hub.Inbound{Topic: "pi/3/camera", TooLarge: 1 << 20})
	tag := `"k3f9c2m4q8z1-1042"`
	header := func(pairs ...string) map[string]string {
		h := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = pairs[i+1]
		}
		return h
	}
	for _, c := range []struct {
		topic       string
		header      map[string]string
		want        int
		media, body string
	}{
		{"pi/3/battery", nil, 200, "application/json", "21.50"},
		{"pi/3/battery", header("Accept", "text/*"), 200, "text/plain; charset=utf-8", "21.50"},
		{"pi%2F3%2Fbattery", header("Accept", "application/json"), 200, "application/json", ""},
		{"pi/3/mode", nil, 200, "text/plain; charset=utf-8", "eco"},
		{"pi/3/mode", header("Accept", "application/json"), 200, "application/json", ""},
		{"pi/3/frame", nil, 200, "application/octet-stream", "\xde\xad\xbe\xef"},
		{"pi/3/battery", header("Accept", "image/png"), 406, "application/problem+json", ""},
		{"pi/3/battery", header("If-None-Match", tag), 304, "", ""},
		{"pi/3/battery", header("If-None-Match", `"k3f9c2m4q8z1-7"`), 200, "application/json", "21.50"},
		{"pi/3/battery", header("If-None-Match", `"k3f9c2m4q8z1-7"`, "Prefer", "wait=30"), 200, "application/json", "21.50"},
		{"pi/3/battery", header("If-None-Match", tag, "Prefer", "wait=1"), 304, "", ""},
		{"pi/3/battery", header("Accept", "image/png", "If-None-Match", `"x"`, "Prefer", "wait=1"), 406, "application/problem+json", ""},
		{"pi/3/camera", nil, 502, "application/problem+json", ""},
		{"pi/3/camera", header("Accept", "application/json", "If-None-Match", tag), 502, "application/problem+json", ""},
		{"pi/3/camera", header("If-None-Match", tag, "Prefer", "wait=30"), 502, "application/problem+json", ""},
		{"pi/3/nobody", header("Prefer", "wait=1"), 404, "application/problem+json", ""},
	} {
		got := g.do(request{method: "GET", path: "/topics/" + c.topic, header: c.header})
		if got.status != c.want || got.header.Get("Content-Type") != c.media || c.body != "" && string(got.body) != c.body {
			t.Errorf("GET /topics/%s with %v: got %d %s %q, want %d %s %q", c.topic, c.header, got.status,
				got.header.Get("Content-Type"), got.body, c.want, c.media, c.body)
		}
		if prefer := c.header["Prefer"]; got.header.Get("Preference-Applied") != prefer {
			t.Errorf("GET /topics/%s with %v: got Preference-Applied %q, want %q", c.topic, c.header, got.header.Get("Preference-Applied"), prefer)
		}
		a.check(t, "GET /topics/{topic}", got)
	}
}

// listRequests has a request for every code of GET /topics. The broker refuses
// some of the filters.
func listRequests() []expected {
	get := func(name, query string) request { return request{name: name, method: "GET", path: "/topics" + query} }
	return append(filterRequests(func(name, filter string) request { return get(name, "?filter="+filter) }), []expected{
		{get("misspelt", "?topic=a"), 400},
		{get("none at all", "?limit=0"), 400},
		{get("kept or not", "?retained=1"), 400},
		{get("behind a wildcard", "?after=a/%2B"), 400},
		{get("refused by the broker", "?filter=refused"), 403},
		{get("not watched", "?filter=elsewhere"), 422},
		{get("not confirmed", "?filter=late"), 503},
	}...)
}

// listAnswers are those of GET /topics.
func listAnswers(t *testing.T, a *answers) {
	g := play(t)
	g.past()
	g.battery()
	g.led()
	g.receive(hub.Inbound{Topic: "pi/4/camera", TooLarge: 1 << 20})
	for _, r := range []request{
		{path: "/topics?filter=pi/4/camera"},
		{path: "/topics?filter=pi/3/%2B"},
		{path: "/topics?filter=pi/3/%2B", header: map[string]string{"Accept": "application/x-ndjson"}},
		{path: "/topics?filter=nobody/%23"},
		{path: "/topics?limit=1"},
		{path: "/topics?retained=true"},
	} {
		r.method = "GET"
		got := g.do(r)
		if got.status != 200 || (got.header.Get("Link") != "") != strings.Contains(r.path, "limit") {
			t.Errorf("GET %s: got %d %v %s, want 200, and Link if there is more", r.path, got.status, got.header, got.body)
		}
		a.check(t, "GET /topics", got)
	}
}

// Page by page the list is the same as at once, and Link leads through it.
func TestTopicPages(t *testing.T) {
	t.Parallel()
	g := play(t)
	g.past()
	g.battery()
	g.led()
	whole := spectest.Decode[[]any](t, g.do(request{method: "GET", path: "/topics"}).body)
	got, pages := g.follow(t, "/topics?limit=1")
	if spectest.Steady(t, got) != spectest.Steady(t, whole) || len(whole) != 3 || pages != 3 {
		t.Errorf("got %s on %d pages, want %s on 3", spectest.Encode(t, got), pages, spectest.Encode(t, whole))
	}
}
