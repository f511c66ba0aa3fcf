package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

func TestTopicIsTheRestOfThePathDecodedOnce(t *testing.T) {
	g := startRig(t)
	for target, topic := range map[string]string{
		"/topics/a":                      "a",
		"/topics/pi/3/led":               "pi/3/led",
		"/topics//a":                     "/a",
		"/topics/a/":                     "a/",
		"/topics/a//b":                   "a//b",
		"/topics//":                      "/",
		"/topics/a%2Fb":                  "a/b",
		"/topics/a%20b":                  "a b",
		"/topics/a%252Bb":                "a%2Bb",
		"/topics/a%3Fb":                  "a?b",
		"/topics/caf%C3%A9/%E2%82%AC":    "café/€",
		"/topics/caf\u00e9":              "café",
		"/topics/./a/../b":               "./a/../b",
		"/topics/%2e%2e/b":               "../b",
		"/topics/a;b=c&d,e:@!$'()*[]~":   "a;b=c&d,e:@!$'()*[]~",
		"/topics/publish":                "publish",
		"/topics/" + long(1024):          long(1024),
		"http://localhost/topics/a/b":    "a/b",
		"/topics/a%22%3C%3E%5C%5E%60%7C": "a\"<>\\^`|",
	} {
		before := len(g.published())
		a := exchange(t, g.public, request("POST", target, "on"))
		if a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", target, a.status, a.body)
			continue
		}
		if got := g.published(); len(got) != before+1 || got[before] != topic+" on 1 false" {
			t.Errorf("%s: published %q, want %q", target, got[before:], topic+" on 1 false")
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestTopicRoutesRefuse(t *testing.T) {
	g := startRig(t)
	for _, row := range []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		code, pointers             string
	}{
		{"no topic", "POST", "/topics/", "x", nil, 422, "topic_required", "/topic"},
		{"plus", "POST", "/topics/a/+", "x", nil, 422, "topic_wildcard", "/topic"},
		{"escaped plus", "POST", "/topics/a/%2B", "x", nil, 422, "topic_wildcard", "/topic"},
		{"hash", "PUT", "/topics/a/%23", "x", nil, 422, "topic_wildcard", "/topic"},
		{"dollar", "POST", "/topics/$SYS/x", "x", nil, 403, "topic_reserved", "/topic"},
		{"NUL", "POST", "/topics/a%00", "x", nil, 422, "topic_control_char", "/topic"},
		{"not UTF-8", "POST", "/topics/%FF", "x", nil, 422, "topic_utf8", "/topic"},
		{"overlong UTF-8", "POST", "/topics/%C0%AF", "x", nil, 422, "topic_utf8", "/topic"},
		{"non-character", "POST", "/topics/%EF%BF%BE", "x", nil, 422, "topic_noncharacter", "/topic"},
		{"invisible", "POST", "/topics/%E2%80%8B", "x", nil, 422, "topic_format_char", "/topic"},
		{"too long", "POST", "/topics/" + long(1025), "x", nil, 422, "topic_too_long", "/topic"},
		{"too deep", "POST", "/topics/" + strings.Repeat("a/", 32) + "a", "x", nil, 422, "topic_too_deep", "/topic"},
		{"qos", "POST", "/topics/a?qos=3", "x", nil, 422, "invalid_qos", "/qos"},
		{"empty qos", "POST", "/topics/a?qos=", "x", nil, 422, "invalid_qos", "/qos"},
		{"retain", "POST", "/topics/a?retain=yes", "x", nil, 422, "invalid_retain", "/retain"},
		{"everything at once", "POST", "/topics/+?retain=1&qos=01", "x", nil, 422, "topic_wildcard", "/topic /qos /retain"},
		{"twice", "POST", "/topics/a?qos=1&qos=2", "x", nil, 400, "invalid_parameter", "/qos"},
		{"misspelt", "POST", "/topics/a?QoS=1", "x", nil, 400, "unknown_parameter", "/QoS"},
		{"broken query", "POST", "/topics/a?qos=%zz", "x", nil, 400, "unknown_parameter", ""},
		{"PUT that does not retain", "PUT", "/topics/a?retain=false", "x", nil, 422, "invalid_retain", "/retain"},
		{"empty and retained", "POST", "/topics/a?retain=true", "", nil, 422, "would_clear_retained", "/payload"},
		{"empty PUT", "PUT", "/topics/a", "", []string{"Content-Length: 0"}, 422, "would_clear_retained", "/payload"},
		{"compressed in another way", "POST", "/topics/a", "x", []string{"Content-Encoding: br"}, 415, "unsupported_encoding", ""},
		{"too large", "POST", "/topics/a", long(256<<10 + 1), nil, 413, "payload_too_large", "/payload"},
		{"DELETE with a body", "DELETE", "/topics/a", "x", nil, 400, "body_not_allowed", ""},
		{"DELETE with retain", "DELETE", "/topics/a?retain=true", "", nil, 400, "unknown_parameter", "/retain"},
		{"GET of many", "GET", "/topics/a/+", "", nil, 422, "topic_wildcard", "/topic"},
		{"GET with a parameter", "GET", "/topics/a?qos=1", "", nil, 400, "unknown_parameter", "/qos"},
		{"never seen", "GET", "/topics/never", "", nil, 404, "topic_not_seen", ""},
		{"list of no filter", "GET", "/topics?filter=", "", nil, 422, "filter_required", "/filter"},
		{"list of a bad filter and limit", "GET", "/topics?filter=a%23&limit=0", "", nil, 400, "invalid_parameter", "/limit /filter"},
		{"list behind a wildcard", "GET", "/topics?after=%23", "", nil, 400, "invalid_parameter", "/after"},
		{"list elsewhere", "GET", "/topics?filter=elsewhere/a", "", nil, 422, "filter_not_covered", "/filter"},
		{"value elsewhere", "GET", "/topics/elsewhere/a", "", nil, 422, "filter_not_covered", "/topic"},
		{"value refused", "GET", "/topics/refused/a", "", nil, 403, "filter_refused", "/topic"},
		{"other method", "PATCH", "/topics/a", "x", nil, 405, "method_not_allowed", ""},
		{"POST to the list", "POST", "/topics", "x", nil, 405, "method_not_allowed", ""},
		{"encoded route", "POST", "/t%6Fpics/a", "x", nil, 404, "not_found", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := exchange(t, g.public, request(row.method, row.target, row.body, row.headers...))
			p := a.wantProblem(t, row.status, wire.Code(row.code))
			var pointers []string
			for _, e := range p.Errors {
				pointers = append(pointers, e.Pointer)
			}
			if got := strings.Join(pointers, " "); got != row.pointers {
				t.Errorf("got pointers %q, want %q", got, row.pointers)
			}
		})
	}
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

// A page of another origin can send some types without asking first. It must
// not get far with them, nor a browser that does not say where a page is from.
func TestForeignPageCannotPublishRawBodies(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedOrigins = []string{"https://app.example"} })
	for _, row := range []struct {
		contentType string
		headers     []string
		allowed     bool
	}{
		{"text/plain", nil, true}, {"application/x-www-form-urlencoded", nil, true}, {"", nil, true}, {"image/png", nil, true},
		{"text/plain", []string{"Origin: http://localhost"}, true},
		{"text/plain", []string{"Origin: https://app.example", "Sec-Fetch-Site: cross-site"}, true},
		{"text/plain", []string{"Sec-Fetch-Site: same-origin"}, true},
		{"image/png", []string{"Sec-Fetch-Site: none"}, true},
		{"text/plain", []string{"Origin: https://evil.example"}, false},
		{"image/png", []string{"Origin: https://evil.example"}, false},
		{"text/plain", []string{"Origin: null"}, false},
		{"text/plain", []string{"Sec-Fetch-Site: cross-site"}, false},
		{"text/plain", []string{"Sec-Fetch-Site: none"}, false},
		{"TEXT/Plain; charset=utf-8", []string{"Sec-Fetch-Site: none"}, false},
		{"multipart/form-data; boundary=x", []string{"Sec-Fetch-Site: none"}, false},
		{"application/x-www-form-urlencoded", []string{"Sec-Fetch-Site: same-site"}, false},
		{"", []string{"Sec-Fetch-Site: none"}, false},
	} {
		headers := row.headers
		if row.contentType != "" {
			headers = append([]string{"Content-Type: " + row.contentType}, headers...)
		}
		before := len(g.published())
		for _, path := range []string{"/topics/a", "/request/a?reply=b&timeout=10ms"} {
			a := exchange(t, g.public, request("POST", path, "on", headers...))
			if refused := a.status == http.StatusForbidden; refused == row.allowed {
				t.Errorf("%s with %q: got %d %s, want allowed %t", path, headers, a.status, a.body, row.allowed)
			}
		}
		if published := len(g.published()) > before; published != row.allowed {
			t.Errorf("%q: published %t, want %t", headers, published, row.allowed)
		}
	}
}

func TestPutRetainsAndDeleteClears(t *testing.T) {
	g := startRig(t)
	for _, target := range []string{"/topics/a", "/topics/a?retain=true&qos=2"} {
		exchange(t, g.public, request("PUT", target, "on", "Content-Length: 2"))
	}
	exchange(t, g.public, request("DELETE", "/topics/a?qos=0", ""))
	got := strings.Join(g.published(), "; ")
	if want := "a on 1 true; a on 2 true; a  0 true"; got != want {
		t.Errorf("published %q, want %q", got, want)
	}
}

// What clears a topic comes back as an empty message like any other.
func TestDeletedTopicHasNoValue(t *testing.T) {
	g := startRig(t)
	ingest := func(payload string) { g.hub.Ingest(hub.Inbound{Topic: "a", Payload: []byte(payload), QoS: 1}) }
	ingest("on")
	ingest("")
	if a := g.get("/topics/a"); a.status != 200 || len(a.body) != 0 {
		t.Errorf("after an empty message: got %d %q, want 200 and an empty body", a.status, a.body)
	}
	ingest("on")
	exchange(t, g.public, request("DELETE", "/topics/a", ""))
	if a := g.get("/topics/a"); string(a.body) != "on" {
		t.Errorf("before the broker has sent the empty message: got %d %q, want on", a.status, a.body)
	}
	ingest("")
	g.get("/topics/a").wantProblem(t, 404, "topic_not_seen")
	if a := g.get("/topics?filter=a"); string(a.body) != "[]\n" {
		t.Errorf("list: got %s, want nothing", a.body)
	}
	ingest("")
	if a := g.get("/topics/a"); a.status != 200 {
		t.Errorf("after another empty message: got %d, want 200: only one was expected to clear", a.status)
	}
}
