package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// proxyCases are what a proxy has to carry.
var proxyCases = []struct {
	name string
	run  func(r *route)
}{
	{"the protocol", (*route).protocol},
	{"the name", (*route).name},
	{"odd topics", (*route).oddTopics},
	{"server-sent events", func(r *route) { r.messageByMessage("sse") }},
	{"NDJSON", func(r *route) { r.messageByMessage("ndjson") }},
	{"text", func(r *route) { r.messageByMessage("text") }},
	{"WebSocket", (*route).webSocket},
	{"long poll", (*route).longPoll},
	{"a batch of 5 MB", (*route).largeBatch},
	{"results while a batch is sent", (*route).duplexBatch},
	{"a long batch that is read while it is sent", (*route).longDuplex},
	{"a long batch that is sent before it is read", (*route).sentFirst},
	{"the client's address", (*route).address},
}

// send makes a request of which the body need not be there yet.
func (r *route) send(method, path string, body io.Reader, header map[string]string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	r.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (r *route) protocol() {
	want := "HTTP/1.1"
	if r.http2 {
		want = "HTTP/2.0"
	}
	if res := r.send("GET", "/readyz", nil, nil); res.Proto != want || res.StatusCode != http.StatusOK {
		r.t.Errorf("got %s %s, want 200 by %s", res.Status, res.Proto, want)
	}
}

// The gateway hears by which name it was called.
func (r *route) name() {
	for host, want := range map[string]int{"gateway.example": http.StatusOK, "gateway.example:8443": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
		if a := r.do(request{method: "GET", path: "/topics?filter=names", host: host}); a.status != want || a.body == "" {
			r.t.Errorf("as %s: got %d %s, want %d", host, a.status, a.body, want)
		}
	}
}

// The topic is what the path says, decoded once, and nothing is cleaned.
func (r *route) oddTopics() {
	for path, topic := range map[string]string{
		"odd/plain":                     "odd/plain",
		"odd/a%2Fb":                     "odd/a/b",
		"odd/a%2fb":                     "odd/a/b",
		"odd/a%252Fb":                   "odd/a%2Fb",
		"odd/100%25":                    "odd/100%",
		"odd/two%20words":               "odd/two words",
		"odd//x":                        "odd//x",
		"odd/x/":                        "odd/x/",
		"odd///":                        "odd///",
		"/odd/first":                    "/odd/first",
		"%2Fodd%2F%2Fencoded%2F":        "/odd//encoded/",
		"odd/%E6%B8%A9%E5%BA%A6/%C3%BC": "odd/温度/ü",
		"odd/%F0%9F%94%8B":              "odd/🔋",
		"odd/a;b=c,d:e@f&g!$'()*":       "odd/a;b=c,d:e@f&g!$'()*",
		"odd/what%3Fever":               "odd/what?ever",
		"odd/back%5Cslash%22":           `odd/back\slash"`,
		"odd/%2e%2e/up":                 "odd/../up",
		"odd/./dot":                     "odd/./dot",
		"odd/up/../down":                "odd/up/../down",
	} {
		a := r.do(request{method: "POST", path: "/topics/" + path, body: path})
		var said struct{ Topic string }
		if err := json.Unmarshal([]byte(a.body), &said); err != nil || a.status != http.StatusOK || said.Topic != topic {
			r.t.Errorf("POST /topics/%s: got %d %s, want 200 and the topic %q", path, a.status, a.body, topic)
			continue
		}
		eventually(r.t, "what was published is the newest of "+topic, func() bool {
			return r.do(request{method: "GET", path: "/topics/" + path}).body == path
		})
	}
	// A plus is no space: it is refused as what it is.
	if a := r.do(request{method: "POST", path: "/topics/odd/a+b", body: "1"}); a.problem.Code != "topic_wildcard" {
		r.t.Errorf("POST /topics/odd/a+b: got %d %s, want topic_wildcard", a.status, a.body)
	}
	if a := r.do(request{method: "GET", path: "/topics?filter=odd/%2B/b"}); !strings.Contains(a.body, `"topic":"odd/a/b"`) {
		r.t.Errorf("GET /topics?filter=odd/%%2B/b: got %d %s, want odd/a/b", a.status, a.body)
	}
}

// Each message is there before the next one is published: nothing on the way
// waits for a buffer to fill.
// comments let a stream of text begin with a line, as the others do.
var comments = map[string]string{"text": "&gaps=true"}

func (r *route) messageByMessage(format string) {
	topic := "stream/" + format
	res := r.send("GET", "/events?topic="+topic+"&format="+format+comments[format], nil, nil)
	if res.StatusCode != http.StatusOK {
		r.t.Fatalf("got %s, want 200", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	for i := range 20 {
		r.post(fmt.Sprintf(`{"topic":%q,"payload":%d}`, topic, 1000+i))
		nextPayload(r.t, lines, fmt.Sprint(1000+i))
	}
}

// nextPayload reads lines up to one that holds the payload; no other payload
// may come before it.
func nextPayload(t testing.TB, lines *bufio.Scanner, payload string) {
	t.Helper()
	for lines.Scan() {
		line := strings.TrimPrefix(lines.Text(), "data: ")
		var f frame
		if json.Unmarshal([]byte(line), &f) == nil && f.Type == "message" {
			line = string(f.Payload)
		}
		if line == payload {
			return
		}
		if f.Type == "message" {
			t.Fatalf("got payload %s, want %s", line, payload)
		}
	}
	t.Fatalf("the stream ended before %s: %v", payload, lines.Err())
}

func (r *route) webSocket() {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, r.ws+"?topic=ws/%23", &websocket.DialOptions{HTTPClient: &r.dialer, HTTPHeader: http.Header{"Origin": {origin(r.url)}}})
	if err != nil {
		r.t.Fatalf("WebSocket: %v (%v)", err, res)
	}
	defer conn.CloseNow()
	for i := range 20 {
		if err := conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"op":"publish","id":%d,"topic":"ws/a","payload":%[1]d}`, i)); err != nil {
			r.t.Fatal(err)
		}
		for seen, published := false, false; !seen || !published; {
			_, b, err := conn.Read(ctx)
			if err != nil {
				r.t.Fatal(err)
			}
			var f frame
			if err := json.Unmarshal(b, &f); err != nil {
				r.t.Fatalf("frame %s: %v", b, err)
			}
			seen = seen || f.Type == "message" && string(f.Payload) == fmt.Sprint(i)
			published = published || f.Type == "published" && f.Status == http.StatusOK
		}
	}
}

// origin is what a browser sends for a page of the gateway's own.
func origin(address string) string {
	parts := strings.SplitN(address, "/", 4)
	return strings.Join(parts[:3], "/")
}

// The next message ends the wait.
func (r *route) longPoll() {
	r.post(`{"topic":"poll/a","payload":"first"}`)
	var first answer
	eventually(r.t, "the first value is there", func() bool {
		first = r.do(request{method: "GET", path: "/topics/poll/a"})
		return first.status == http.StatusOK && first.body == "first" && first.header.Get("ETag") != "" // and no older one
	})
	answered := make(chan answer)
	go func() {
		a, err := r.try(r.client, request{method: "GET", path: "/topics/poll/a", header: map[string]string{"If-None-Match": first.header.Get("ETag"), "Prefer": "wait=60"}})
		if err != nil {
			r.t.Errorf("long poll: %v", err)
		}
		answered <- a
	}()
	for {
		select {
		case a := <-answered:
			if a.status != http.StatusOK || a.body != "next" {
				r.t.Errorf("got %d %q, want 200 and the next value", a.status, a.body)
			}
			return
		default:
			r.post(`{"topic":"poll/a","payload":"next"}`)
		}
	}
}

func (r *route) largeBatch() {
	const items, size = 40, 128 << 10
	item := `{"topic":"large/a","payload":"` + strings.Repeat("x", size) + `"}`
	body := "[" + strings.Repeat(item+",", items-1) + item + "]"
	a := r.do(request{method: "POST", path: "/publish/batch", header: jsonHeader, body: body})
	if got := strings.Count(a.body, `"status":200`); a.status != http.StatusOK || got != items {
		r.t.Errorf("%d bytes: got %d, %d published: %.300s, want 200 and %d", len(body), a.status, got, a.body, items)
	}
}

// beginBatch begins a batch and hands out its body and its results.
func (r *route) beginBatch() (*io.PipeWriter, *bufio.Scanner) {
	read, write := io.Pipe()
	r.t.Cleanup(func() { _ = write.Close() })
	res := r.send("POST", "/publish/batch", read, map[string]string{"Content-Type": "application/x-ndjson"})
	if res.StatusCode != http.StatusOK {
		r.t.Fatalf("got %s, want 200", res.Status)
	}
	return write, bufio.NewScanner(res.Body)
}

// Each result is there before the next line is sent.
func (r *route) duplexBatch() {
	if r.duplex < shortLines {
		return
	}
	body, results := r.beginBatch()
	for i := range 20 {
		if _, err := fmt.Fprintf(body, `{"topic":"duplex/a","payload":%d}`+"\n", i); err != nil {
			r.t.Fatal(err)
		}
		if want := fmt.Sprintf(`{"index":%d,"status":200`, i); !results.Scan() || !strings.HasPrefix(results.Text(), want) {
			r.t.Fatalf("got %q (%v), want %s", results.Text(), results.Err(), want)
		}
	}
	_ = body.Close()
	if results.Scan() {
		r.t.Errorf("behind the last result: got %q, want the end", results.Text())
	}
}

// Much more than fits into buffers on the way.
const longLines = 6000

func longLine(i int) string {
	return fmt.Sprintf(`{"topic":"long/%d","payload":"%s"}`+"\n", i%16, strings.Repeat("x", 900))
}

func (r *route) longDuplex() {
	if r.duplex < everything {
		return
	}
	body, results := r.beginBatch()
	go func() {
		for i := range longLines {
			if _, err := io.WriteString(body, longLine(i)); err != nil {
				r.t.Errorf("line %d: %v", i, err)
				break
			}
		}
		_ = body.Close()
	}()
	for i := range longLines {
		if want := fmt.Sprintf(`{"index":%d,"status":200`, i); !results.Scan() || !strings.HasPrefix(results.Text(), want) {
			r.t.Fatalf("got %q (%v), want %s", results.Text(), results.Err(), want)
		}
	}
}

// For clients and proxies that take no answer before all is sent.
func (r *route) sentFirst() {
	var body strings.Builder
	for i := range longLines {
		body.WriteString(longLine(i))
	}
	a := r.do(request{method: "POST", path: "/publish/batch?results=errors", header: map[string]string{"Content-Type": "application/x-ndjson"}, body: body.String()})
	if want := fmt.Sprintf(`{"type":"summary","total":%d,"failed":0}`+"\n", longLines); a.status != http.StatusOK || a.body != want {
		r.t.Errorf("got %d %.300s, want 200 %s", a.status, a.body, want)
	}
}

// The client is whom the proxy saw, whatever it claims to be.
func (r *route) address() {
	const claimed = "203.0.113.9"
	r.do(request{method: "GET", path: "/topics?filter=claims", header: map[string]string{"X-Forwarded-For": claimed}})
	log := r.logged()
	if !strings.Contains(log, `"remote":"127.0.0.2"`) {
		r.t.Errorf("the log has no request from 127.0.0.2:\n%s", tail(log, 1000))
	}
	if strings.Contains(log, claimed) {
		r.t.Errorf("the log believes the client's %s", claimed)
	}
}
