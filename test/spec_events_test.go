package test

import (
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/spectest"
)

var sse = map[string]string{"Accept": "text/event-stream"}

// past plays what was received before the examples begin, up to the cursor
// 1041, and one value that the broker keeps.
func (g *played) past() {
	g.up(false)
	for range 1041 {
		g.receive(hub.Inbound{Topic: "filler"})
	}
	g.upstream.play([]hub.Inbound{{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1}}, nil)
}

func (g *played) battery() {
	g.receive(hub.Inbound{Topic: "pi/3/battery", Payload: []byte("21.50"), QoS: 1})
}

func (g *played) led() {
	g.receive(hub.Inbound{Topic: "pi/3/led", Payload: []byte("on"), QoS: 1})
}

// eventsAnswers are the streams of the examples.
func eventsAnswers(t *testing.T, a *answers) {
	const path = "/events?topic=pi/3/%23"
	for _, c := range []struct {
		path   string
		header map[string]string
		end    string
	}{
		{path, nil, `"broker"`},
		{path, map[string]string{"Accept": "*/*"}, `"broker"`},
		{path + "&format=ndjson", sse, `"broker"`},
		{path, sse, `"broker"`},
		{path + "&format=sse", nil, `"broker"`},
		{path, map[string]string{"Accept": "text/html, text/plain;q=0.5"}, `a\nb`},
		{path + "&format=text", nil, `a\nb`},
	} {
		g := play(t)
		g.past()
		s := g.open(t, c.path, c.header)
		s.until("eco")
		g.battery()
		g.led()
		if strings.HasPrefix(s.res.Header.Get("Content-Type"), "text/plain") {
			g.receive(hub.Inbound{Topic: "pi/3/log", Payload: []byte("a\nb")})
		}
		g.overflow()
		g.down()
		s.until(c.end)
		a.check(t, "GET /events", s.end())
	}
	resumedAnswers(t, a, path)
}

// resumedAnswers are streams that begin with what was before.
func resumedAnswers(t *testing.T, a *answers, path string) {
	g := play(t)
	cursor := "k3f9c2m4q8z1-1041"
	g.past()
	g.battery()
	g.led()
	for _, c := range []struct {
		path   string
		header map[string]string
		end    string
	}{
		{path + "&since=" + cursor, nil, "pi/3/led"},
		{path + "&since=" + cursor, sse, "pi/3/led"},
		{path + "&since=h8w2c5v7n4xe-77", with(sse, "Last-Event-ID", cursor), "pi/3/led"}, // the header wins
		{path + "&since=h8w2c5v7n4xe-77", nil, "pi/3/mode"},
		{path + "&since=10m", nil, "pi/3/led"},
		{path + "&since=" + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), nil, "pi/3/led"},
	} {
		s := g.open(t, c.path, c.header)
		s.until(c.end)
		a.check(t, "GET /events", s.end())
	}
	partlyExpired(t, a, path)
	g = play(t) // one that has not heard of pi/3/mode
	g.past()
	g.upstream.play(nil, nil)
	g.battery()
	g.led()
	s := g.open(t, path+"&snapshot=true&overflow=latest&min_interval=1s", nil)
	s.until("snapshot_end")
	a.check(t, "GET /events", s.end())
}

// partlyExpired is a stream that begins with what is left of the time that was
// asked for: the last of a hundred messages.
func partlyExpired(t *testing.T, a *answers, path string) {
	t.Helper()
	g := playWith(t, 512, nil)
	g.up(false)
	for range 100 {
		g.battery()
	}
	s := g.open(t, path+"&since=10m", nil)
	s.until(`"message"`)
	a.check(t, "GET /events", s.end())
}

// historyAnswers are those of the examples.
func historyAnswers(t *testing.T, a *answers) {
	const path = "/history?filter=pi/3/%23"
	g := play(t)
	g.past()
	g.battery()
	g.down()
	g.up(true)
	g.led()
	for _, r := range []request{
		{path: path},
		{path: path, header: map[string]string{"Accept": "application/x-ndjson"}},
		{path: path + "&since=h8w2c5v7n4xe-77"},
		{path: path + "&since=k3f9c2m4q8z1-1044"},
		{path: path + "&limit=1"},
		{path: path + "&since=10m"},
		{path: path + "&since=" + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)},
	} {
		r.method = "GET"
		got := g.do(r)
		if got.status != 200 {
			t.Errorf("GET %s: got %d %s, want 200", r.path, got.status, got.body)
		}
		a.check(t, "GET /history", got)
	}
	g.upstream.setBroken(true)
	a.check(t, "GET /history", g.do(request{method: "GET", path: path + "&since=k3f9c2m4q8z1-1041"}))
	g.upstream.setBroken(false)
}

// Page by page the history is the same as at once, and Link leads through it.
func TestHistoryPages(t *testing.T) {
	t.Parallel()
	g := play(t)
	g.past()
	g.battery()
	g.down()
	g.up(true)
	g.led()
	whole := spectest.Decode[[]any](t, g.do(request{method: "GET", path: "/history?filter=pi/3/%23"}).body)
	got, pages := g.follow(t, "/history?filter=pi/3/%23&limit=1")
	if string(spectest.Encode(t, got)) != string(spectest.Encode(t, whole)) || len(whole) != 3 || pages != 3 {
		t.Errorf("got %s on %d pages, want %s on 3", spectest.Encode(t, got), pages, spectest.Encode(t, whole))
	}
}

// follow reads page after page, of one object each, where Link leads.
func (g *played) follow(t *testing.T, path string) (all []any, pages int) {
	t.Helper()
	for ; path != ""; pages++ {
		a := g.do(request{method: "GET", path: path})
		page := spectest.Decode[[]any](t, a.body)
		if len(page) > 1 || pages > 3 {
			t.Fatalf("%s: got %d objects on page %d, want 1 on each of 3", path, len(page), pages)
		}
		all = append(all, page...)
		query, _, _ := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
		if path, _, _ = strings.Cut(path, "?"); query == "" {
			path = ""
		}
		path += query
	}
	return all, pages
}
