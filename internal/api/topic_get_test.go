package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

func (g *rig) ingest(topic, payload string) {
	g.hub.Ingest(hub.Inbound{Topic: topic, Payload: []byte(payload), QoS: 1})
}

func TestValueComesInTheFormThatIsAccepted(t *testing.T) {
	g := startRig(t)
	g.ingest("json", `{"a": 1}`)
	g.ingest("text", "on")
	g.ingest("bytes", "\xff\x00")
	const object = `{"type":"message"`
	for _, row := range []struct{ topic, accept, contentType, body string }{
		{"json", "", "application/json", `{"a": 1}`},
		{"json", "*/*", "application/json", `{"a": 1}`},
		{"json", "application/*", "application/json", `{"a": 1}`},
		{"json", "text/plain", "text/plain; charset=utf-8", `{"a": 1}`},
		{"json", "application/octet-stream", "application/octet-stream", `{"a": 1}`},
		{"json", "application/json", "application/json", object},
		{"text", "", "text/plain; charset=utf-8", "on"},
		{"text", "text/html, application/xml;q=0.9, */*;q=0.8", "text/plain; charset=utf-8", "on"},
		{"text", "application/json, text/plain, */*", "application/json", object},
		{"text", "application/json;q=0.5, text/plain", "text/plain; charset=utf-8", "on"},
		{"text", "APPLICATION/JSON", "application/json", object},
		{"text", "application/json;q=0, */*", "text/plain; charset=utf-8", "on"},
		{"text", "text/plain;q=0, */*", "application/octet-stream", "on"},
		{"json", "application/json;q=0, */*", "text/plain; charset=utf-8", `{"a": 1}`},
		{"text", "text/*;q=0, text/plain", "text/plain; charset=utf-8", "on"},
		{"bytes", "", "application/octet-stream", "\xff\x00"},
		{"bytes", "application/json", "application/json", object},
		{"bytes", "image/png", "", "not_acceptable"},
		{"bytes", "text/plain", "", "not_acceptable"},
		{"text", "*/*;q=0", "", "not_acceptable"},
		{"text", "*", "text/plain; charset=utf-8", "on"}, // as Java and wget send it
		{"text", "image/gif, *; q=.2", "text/plain; charset=utf-8", "on"},
		{"text", "*;q=0", "", "not_acceptable"},
		{"json", "application/json;q=0, *", "text/plain; charset=utf-8", `{"a": 1}`},
	} {
		var headers []string
		if row.accept != "" {
			headers = []string{"Accept: " + row.accept}
		}
		a := g.get("/topics/"+row.topic, headers...)
		if row.contentType == "" {
			a.wantProblem(t, 406, wire.Code(row.body))
			continue
		}
		body := string(a.body)
		if row.body == object {
			body = body[:min(len(body), len(object))]
		}
		if a.status != 200 || a.header.Get("Content-Type") != row.contentType || body != row.body {
			t.Errorf("%s with Accept %q: got %d %q %q, want %q %q", row.topic, row.accept, a.status, a.header.Get("Content-Type"), a.body, row.contentType, row.body)
		}
	}
}

func TestValueHasItsHeaders(t *testing.T) {
	g := startRig(t)
	g.ingest("a", "on")
	before := time.Now().Add(-time.Minute)
	a := g.get("/topics/a")
	for name, want := range map[string]string{
		"Etag": `"` + g.hub.Cursor() + `"`, "Age": "0", "Mqtt-Qos": "1", "Mqtt-Retain": "false", "Vary": "Accept",
		"Cache-Control": "private, no-cache", "Content-Length": "2", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; sandbox",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	if at, err := http.ParseTime(a.header.Get("Last-Modified")); err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("got Last-Modified %q (%v), want now", a.header.Get("Last-Modified"), err)
	}
	head := exchange(t, g.public, request("HEAD", "/topics/a", ""))
	for _, name := range []string{"Etag", "Content-Length", "Content-Type", "Last-Modified"} {
		if head.header.Get(name) != a.header.Get(name) || len(head.body) != 0 {
			t.Errorf("HEAD: got %s %q and %d bytes, want %q and none", name, head.header.Get(name), len(head.body), a.header.Get(name))
		}
	}
}

func TestKnownValueIsNotSentAgain(t *testing.T) {
	g := startRig(t)
	g.ingest("a", "1")
	tag := g.get("/topics/a").header.Get("Etag")
	for tags, status := range map[string]int{
		tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200, tag[:len(tag)-1]: 200, strings.Trim(tag, `"`): 200,
	} {
		for _, accept := range []string{"*/*", "application/json"} {
			a := g.get("/topics/a", "If-None-Match: "+tags, "Accept: "+accept)
			if a.status != status || status == 304 && (len(a.body) > 0 || a.header.Get("Etag") != tag) {
				t.Errorf("If-None-Match %s: got %d %q, want %d", tags, a.status, a.body, status)
			}
		}
	}
	g.ingest("a", "2")
	if a := g.get("/topics/a", "If-None-Match: "+tag); a.status != 200 || string(a.body) != "2" {
		t.Errorf("after another message: got %d %q, want 200 and 2", a.status, a.body)
	}
}

func TestPreferWaitWaitsForTheNextMessage(t *testing.T) {
	g := startRig(t)
	waits := func(topic string, headers ...string) chan *reply {
		done := make(chan *reply, 1)
		c := connect(t, g.public)
		go func() {
			done <- exchangeOn(t, c, request("GET", "/topics/"+topic, "", append(headers, "Prefer: wait=30")...))
		}()
		eventuallyTrue(t, "the request waits", func() bool { return g.server.streams.Load() == 1 })
		eventuallyTrue(t, "its topic is watched", func() bool { return len(g.broker.filters()) > 0 })
		return done
	}
	gets := func(done chan *reply, status int, body string) string {
		t.Helper()
		a := <-done
		if a.status != status || string(a.body) != body || a.header.Get("Preference-Applied") != "wait=30" {
			t.Errorf("got %d %q, Preference-Applied %q, want %d %q", a.status, a.body, a.header.Get("Preference-Applied"), status, body)
		}
		eventuallyTrue(t, "nobody waits", func() bool { return g.server.streams.Load() == 0 })
		return a.header.Get("Etag")
	}
	never := waits("new")
	g.ingest("other", "0")
	g.ingest("new", "1")
	tag := gets(never, 200, "1")
	known := waits("new", "If-None-Match: "+tag)
	g.ingest("new", "2")
	gets(known, 200, "2")
	// Whoever has missed one need not wait.
	if a := g.get("/topics/new", "If-None-Match: "+tag, "Prefer: wait=30"); a.status != 200 || string(a.body) != "2" {
		t.Errorf("behind: got %d %q, want 2 at once", a.status, a.body)
	}
	unconditional := waits("new")
	g.ingest("new", "3")
	gets(unconditional, 200, "3")
	// A stop of the gateway ends the waiting.
	last := waits("new", "If-None-Match: *")
	g.server.Drain()
	gets(last, 304, "")
	if a := g.get("/topics/new", "Prefer: wait=30"); a.status != 503 {
		t.Errorf("while the gateway goes down: got %d, want 503", a.status)
	}
}

func TestPreferWaitEnds(t *testing.T) {
	g := startRig(t)
	g.ingest("a", "1")
	tag := g.get("/topics/a").header.Get("Etag")
	var waiting sync.WaitGroup
	for _, row := range []struct {
		topic, prefer, ifNoneMatch string
		status                     int
		applied                    string
	}{
		{"a", "wait=1", tag, 304, "wait=1"}, {"a", `respond-async, wait="1"; x`, "", 200, "wait=1"}, {"never", "Wait=1", "", 404, "wait=1"},
		{"a", "wait=0", tag, 304, ""}, {"a", "wait=-1", tag, 304, ""}, {"a", "wait=x", tag, 304, ""}, {"a", "waiting=9", tag, 304, ""},
	} {
		waiting.Go(func() {
			headers := []string{"Prefer: " + row.prefer}
			if row.ifNoneMatch != "" {
				headers = append(headers, "If-None-Match: "+row.ifNoneMatch)
			}
			a := g.get("/topics/"+row.topic, headers...)
			if a.status != row.status || a.header.Get("Preference-Applied") != row.applied {
				t.Errorf("%s, Prefer %s: got %d, Preference-Applied %q, want %d %q", row.topic, row.prefer, a.status, a.header.Get("Preference-Applied"), row.status, row.applied)
			}
		})
	}
	waiting.Wait()
	r, _ := http.NewRequest(http.MethodGet, "/", nil)
	if r.Header.Set("Prefer", "wait=99999"); preferredWait(r) != maxWait {
		t.Errorf("got a wait of %s, want at most %s", preferredWait(r), maxWait)
	}
}

// A client that goes away while it waits leaves nothing behind.
func TestWhoeverStopsWaitingIsForgotten(t *testing.T) {
	watched, hub := forgetful(t)
	g := startRig(t, hub)
	c := connect(t, g.public)
	fmt.Fprint(c, request("GET", "/topics/a", "", "Prefer: wait=60"))
	eventuallyTrue(t, "the request waits", func() bool { return g.server.streams.Load() == 1 })
	_ = c.Close()
	eventuallyTrue(t, "nobody waits", func() bool { return g.server.streams.Load() == 0 })
	watched.watchesNothing(t)
}

func TestWaitingIsBounded(t *testing.T) {
	g := startRig(t, func(o *Options) { o.MaxConnections = 2 })
	for range 2 {
		fmt.Fprint(connect(t, g.public), request("GET", "/topics/a", "", "Prefer: wait=60"))
	}
	eventuallyTrue(t, "two wait", func() bool { return g.server.streams.Load() == 2 })
	g.get("/topics/a", "Prefer: wait=60").wantProblem(t, 503, "too_many_connections")
}

func TestListPagesByTopic(t *testing.T) {
	g := startRig(t)
	for i := range 25 {
		g.ingest(fmt.Sprintf("pi/%02d/battery", i), fmt.Sprint(i))
		g.ingest(fmt.Sprintf("pi/%02d/battery", i), fmt.Sprint(i+100))
		g.ingest(fmt.Sprintf("pi/%02d/mode", i), "eco")
	}
	for _, limit := range []int{1, 7, 25, 26} {
		path, seen, pages := fmt.Sprintf("/topics?filter=pi/%%2B/battery&limit=%d", limit), "", 0
		for ; path != ""; pages++ {
			a := g.get(path, "Accept: application/x-ndjson")
			for line := range strings.Lines(string(a.body)) {
				_, rest, _ := strings.Cut(line, `"topic":"pi/`)
				_, payload, _ := strings.Cut(rest, `"payload":`)
				seen += rest[:2] + "=" + payload[:strings.IndexByte(payload, ',')] + " "
			}
			next, _ := strings.CutSuffix(a.header.Get("Link"), `>; rel="next"`)
			if path = strings.TrimPrefix(next, "<"); path != "" {
				path = "/topics" + path // it is query-only
			}
		}
		want := ""
		for i := range 25 {
			want += fmt.Sprintf("%02d=%d ", i, i+100)
		}
		if seen != want || pages != (25+limit-1)/limit {
			t.Errorf("limit %d: got %d pages with %s, want %s", limit, pages, seen, want)
		}
	}
}

// A page goes on behind every topic that a broker lets a device choose, also
// one that cannot be asked for here.
func TestPagesGoOnBehindEveryTopic(t *testing.T) {
	g := startRig(t)
	topics := []string{"a", "b\x01", "b\x7f", "c\u0085", "c\u200d", "d\u00ad", "e\ufeff", "f\ufdd0", "f\uffff", "g\U0001fffe", "h//", "i%41&b=c", strings.Repeat("ü", 512), "z"}
	for _, name := range topics {
		g.ingest(name, "1")
	}
	slices.Sort(topics)
	var got []string
	for path := "/topics?limit=1"; path != ""; {
		a := g.get(path)
		var page []wire.Message
		if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
			t.Fatalf("%s: got %d %s (%v)", path, a.status, a.body, err)
		}
		for _, m := range page {
			got = append(got, m.Topic)
		}
		next, _, more := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
		if path = ""; more {
			path = "/topics" + next
		}
	}
	if !slices.Equal(got, topics) {
		t.Errorf("got %q, want %q", got, topics)
	}
}

// Where pages of other origins are let in, an answer that depends on Accept
// still says that it depends on Origin.
func TestReadsVaryByOriginToo(t *testing.T) {
	g := startRig(t, func(o *Options) { o.AllowedOrigins = listed })
	g.hub.Ingest(hub.Inbound{Topic: "a", Payload: []byte("1")})
	for _, path := range []string{"/topics/a", "/topics", "/history?filter=a"} {
		a := exchange(t, g.public, request("GET", path, "", "Origin: https://app.example"))
		vary := strings.Join(a.header.Values("Vary"), ", ")
		if a.status != http.StatusOK || !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept") {
			t.Errorf("%s: got %d and Vary %q, want 200, and Origin and Accept in it", path, a.status, vary)
		}
	}
}

// detail and errors of a problem say the same, also where a route has a better
// sentence than the rule for topics and filters.
func TestOwnSentencesStandInErrorsToo(t *testing.T) {
	g := startRig(t)
	for _, row := range []struct{ method, path, pointer, want string }{
		{"GET", "/topics/a/+", "/topic", "GET /topics?filter=…"},
		{"POST", "/request/a", "/reply", "Say where the reply comes"},
		{"POST", "/request/a?reply=", "/reply", "Say where the reply comes"},
	} {
		a := exchange(t, g.public, request(row.method, row.path, ""))
		var p wire.Problem
		if err := json.Unmarshal(a.body, &p); err != nil {
			t.Fatalf("%s %s: %v: %s", row.method, row.path, err, a.body)
		}
		if len(p.Errors) != 1 || p.Errors[0].Pointer != row.pointer || p.Errors[0].Detail != p.Detail || !strings.Contains(p.Detail, row.want) {
			t.Errorf("%s %s: got %s, want %q for %s, twice", row.method, row.path, a.body, row.want, row.pointer)
		}
	}
}
