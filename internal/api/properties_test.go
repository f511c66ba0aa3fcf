package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/wire"
)

// keeper is a broker side that keeps what it is given.
type keeper struct {
	memoryBroker
	mu   sync.Mutex // guards kept
	kept []Outbound
}

func (k *keeper) Publish(m Outbound) (Pending, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, m)
	return done{}, nil
}

func (k *keeper) all() []Outbound {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept[:len(k.kept):len(k.kept)]
}

func startKeeper(t *testing.T) (*rig, *keeper) {
	k := &keeper{}
	return startRig(t, func(o *Options) { o.Publisher = k }), k
}

// text is what a test compares of properties.
func text(p *wire.Properties) string {
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%q %v %d %q %q %q", p.ContentType, p.Expires, p.Expiry, p.ResponseTopic, p.Correlation, p.User)
}

func TestPropertiesAreTaken(t *testing.T) {
	g, k := startKeeper(t)
	const fields = `"content_type":"text/x","expiry":"1m30s","response_topic":"re/ply","correlation":"AP8=","user_properties":{"b":"1","a":["2","","2"]}`
	const want = `"text/x" true 90 "re/ply" "\x00\xff" [{"b" "1"} {"a" "2"} {"a" ""} {"a" "2"}]`
	object := `{"topic":"a","payload":1,` + fields + `}`
	exchange(t, g.public, publishRequest(object))
	exchange(t, g.public, request("POST", "/publish/batch", "["+object+"]", "Content-Type: application/json"))
	exchange(t, g.public, request("POST", "/publish/batch", object, "Content-Type: application/x-ndjson"))
	s := g.dial(t, "/ws")
	s.text(`{"op":"publish",` + object[1:])
	eventuallyTrue(t, "all are published", func() bool { return len(k.all()) == 4 })
	for i, m := range k.all() {
		if got := text(m.Properties); got != want {
			t.Errorf("%d: got %s, want %s", i, got, want)
		}
	}
}

func TestPropertiesOfRawBodiesAreTaken(t *testing.T) {
	g, k := startKeeper(t)
	for _, c := range []struct{ method, path, headers, want string }{
		{"POST", "/topics/a", "X-Any: thing", "none"},
		{"POST", "/topics/a?content_type=true&expiry=30s&response_topic=re%2Fply", "Content-Type: text/x; charset=utf-8", `"text/x; charset=utf-8" true 30 "re/ply" "" []`},
		{"PUT", "/topics/a?content_type=false", "Content-Type: text/x", "none"},
		{"PUT", "/topics/a", "Mqtt-User-Property: unit=C\nmqtt-user-property: a=b=c\nMqtt-User-Property: unit=", `"" false 0 "" "" [{"unit" "C"} {"a" "b=c"} {"unit" ""}]`},
		{"DELETE", "/topics/a", "Mqtt-User-Property: by=me", `"" false 0 "" "" [{"by" "me"}]`},
		{"POST", "/request/a?reply=b&timeout=10ms&expiry=2h", "X-Any: thing", `"" true 7200 "" "" []`},
	} {
		body := "1"
		if c.method == "DELETE" {
			body = ""
		}
		before := len(k.all())
		a := exchange(t, g.public, request(c.method, c.path, body, strings.Split(c.headers, "\n")...))
		if len(k.all()) != before+1 {
			t.Errorf("%s %s: got %d %s, want it published", c.method, c.path, a.status, a.body)
			continue
		}
		if got := text(k.all()[before].Properties); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.method, c.path, got, c.want)
		}
	}
}

// What a broker may end the connection on, or what is nonsense, is refused, and
// the answer names the field.
func TestHostilePropertiesAreRefused(t *testing.T) {
	g, k := startKeeper(t)
	many := func(n int, value string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"n%d":"%s"`, i, value)
		}
		return "{" + b.String()[1:] + "}"
	}
	for field, values := range map[string][]string{
		"content_type":   {`""`, `1`, `null`, `["a"]`, `"a\u0000b"`, `"a\nb"`, `"a\u007f"`, `"a\ufffe"`, `"a\ufdd0"`, `"` + strings.Repeat("x", 257) + `"`},
		"expiry":         {`30`, `""`, `"0s"`, `"-1s"`, `"1"`, `"1.5s"`, `"500ms"`, `null`, `"1d"`, `"1200000h"`, `"` + strings.Repeat("9", 100) + `s"`},
		"response_topic": {`""`, `7`, `"a/+"`, `"#"`, `"$SYS/x"`, `"a\u0000"`, `"a\u0085"`, `"` + strings.Repeat("a", 1025) + `"`, `"` + strings.Repeat("a/", 40) + `"`},
		"correlation":    {`""`, `"?"`, `"YQ"`, `"_-8="`, `1`, `"YQ=\n="`, `"` + strings.Repeat("AAAA", 342) + `"`},
		"user_properties": {`"a"`, `[]`, `null`, `{"a":1}`, `{"a":null}`, `{"a":[]}`, `{"a":[1]}`, `{"a":{"b":"c"}}`, `{"":"x"}`, `{"a\u0000":"x"}`, `{"a":"\u0000"}`, `{"a":["ok","\u001f"]}`,
			`{"` + strings.Repeat("n", 257) + `":""}`, `{"a":"` + strings.Repeat("v", 4097) + `"}`, many(65, ""), many(3, strings.Repeat("v", 4000))},
	} {
		for _, v := range values {
			a := exchange(t, g.public, publishRequest(`{"topic":"a","payload":1,"`+field+`":`+v+`}`))
			a.wantProblem(t, http.StatusUnprocessableEntity, wire.CodeInvalidProperty)
			var p wire.Problem
			if err := json.Unmarshal(a.body, &p); err != nil || len(p.Errors) != 1 || p.Errors[0].Pointer != "/"+field {
				t.Errorf("%s %.100s: got %s, want one error for that field", field, v, a.body)
			}
		}
	}
	for name, c := range map[string]struct{ query, header string }{
		"content_type":          {"content_type=yes", "X-Any: thing"},
		"content_type ":         {"content_type=true", "X-Any: thing"},
		"expiry":                {"expiry=1", "X-Any: thing"},
		"response_topic":        {"response_topic=a%2F%23", "X-Any: thing"},
		"Mqtt-User-Property":    {"", "Mqtt-User-Property: novalue"},
		"Mqtt-User-Property ":   {"", "Mqtt-User-Property: =x"},
		"Mqtt-User-Property  ":  {"", "Mqtt-User-Property: a=\xff"},
		"Mqtt-User-Property   ": {"", "Mqtt-User-Property:"},
	} {
		a := exchange(t, g.public, request("POST", "/topics/a?"+c.query, "1", c.header))
		a.wantProblem(t, http.StatusUnprocessableEntity, wire.CodeInvalidProperty)
		if !strings.Contains(string(a.body), `"pointer":"/`+strings.TrimSpace(name)+`"`) {
			t.Errorf("%s: got %s, want it named", name, a.body)
		}
	}
	if n := len(k.all()); n != 0 {
		t.Errorf("got %d messages published, want none", n)
	}
}

// Other properties make another request.
func TestPropertiesAreOfTheFingerprint(t *testing.T) {
	g, k := startKeeper(t)
	for _, c := range []struct {
		headers string
		status  int
	}{
		{"Mqtt-User-Property: a=1", 200}, {"Mqtt-User-Property: a=1", 200}, {"Mqtt-User-Property: a=2", 422}, {"X: y", 422},
		{"Mqtt-User-Property: a=1\nMqtt-User-Property: a=1", 422}, {"Mqtt-User-Property: a=1\nTraceparent: " + trace, 200},
	} {
		a := exchange(t, g.public, request("POST", "/topics/a", "1", append(strings.Split(c.headers, "\n"), "Idempotency-Key: k")...))
		if a.status != c.status {
			t.Errorf("%s: got %d %s, want %d", c.headers, a.status, a.body, c.status)
		}
	}
	for contentType, status := range map[string]int{"text/a": 200, "text/b": 422} {
		first := exchange(t, g.public, request("POST", "/topics/a?content_type=true", "1", "Content-Type: text/a", "Idempotency-Key: l"))
		again := exchange(t, g.public, request("POST", "/topics/a?content_type=true", "1", "Content-Type: "+contentType, "Idempotency-Key: l"))
		if first.status != 200 || again.status != status {
			t.Errorf("%s: got %d and %d, want 200 and %d", contentType, first.status, again.status, status)
		}
	}
	if n := len(k.all()); n != 2 {
		t.Errorf("got %d messages, want 2", n)
	}
}

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceparentIsPassedOnWhereItIsValid(t *testing.T) {
	g, k := startKeeper(t)
	for _, c := range []struct{ header, want string }{
		{"Traceparent: " + trace, trace},
		{"traceparent: cc" + trace[2:], "cc" + trace[2:]},
		{"Traceparent: ff" + trace[2:], ""},
		{"Traceparent: " + strings.ToUpper(trace), ""},
		{"Traceparent: " + trace + "-x", ""},
		{"Traceparent: " + trace[:54], ""},
		{"Traceparent: " + strings.Replace(trace, "-", "_", 1), ""},
		{"Traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01", ""},
		{"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", ""},
		{"Traceparent: " + trace + "\nTraceparent: " + trace, ""},
	} {
		headers := strings.Split(c.header, "\n")
		for _, r := range []string{
			request("POST", "/topics/a", "1", headers...), publishRequest(`{"topic":"a","payload":1}`, headers...),
			request("POST", "/publish/batch", `[{"topic":"a","payload":1}]`, append(headers, "Content-Type: application/json")...),
			request("POST", "/publish/batch", `{"topic":"a","payload":1}`, append(headers, "Content-Type: application/x-ndjson")...),
			request("POST", "/request/a?reply=b&timeout=10ms", "1", headers...), request("DELETE", "/topics/a", "", headers...),
		} {
			exchange(t, g.public, r)
			all := k.all()
			if got := all[len(all)-1].Trace; got != c.want {
				t.Errorf("%s: %.30q got %q, want %q", c.header, r, got, c.want)
			}
		}
		before := len(k.all())
		s := g.dial(t, "/ws", headers...)
		s.text(`{"op":"publish","topic":"a","payload":1}`)
		s.text(`{"op":"request","topic":"a","payload":1,"reply":"b","timeout":"10ms"}`)
		eventuallyTrue(t, "both are published", func() bool { return len(k.all()) == before+2 })
		for _, m := range k.all()[before:] {
			if m.Trace != c.want {
				t.Errorf("%s on a WebSocket: got %q, want %q", c.header, m.Trace, c.want)
			}
		}
	}
	found := false
	for _, line := range g.log.lines() {
		found = found || strings.Contains(line, `"traceparent":"`+trace+`"`)
		if strings.Contains(line, "ff-4bf") {
			t.Errorf("a malformed one is logged: %s", line)
		}
	}
	if !found {
		t.Error("the log has no traceparent")
	}
}
