package spec_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
)

// stream is an open GET /events.
type stream struct {
	res  *http.Response
	r    *bufio.Reader
	body []byte // read so far
}

func (g *gateway) open(t *testing.T, path string, header map[string]string) *stream {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	cut := time.AfterFunc(patience, func() { _ = res.Body.Close() })
	t.Cleanup(func() { cut.Stop() })
	return &stream{res: res, r: bufio.NewReader(res.Body)}
}

// until reads to the end of the object that has this text.
func (s *stream) until(t *testing.T, text string) {
	t.Helper()
	for seen := false; ; {
		line, err := s.r.ReadBytes('\n')
		if s.body = append(s.body, line...); err != nil {
			t.Fatalf("the stream ended without %s: %v\n%s", text, err, s.body)
		}
		seen = seen || bytes.Contains(line, []byte(text))
		if seen && !bytes.HasPrefix(line, []byte("data:")) { // an event ends behind its data
			return
		}
	}
}

// end hangs up and gives what was read.
func (s *stream) end() answer {
	_ = s.res.Body.Close()
	return answer{s.res.StatusCode, s.res.Header, s.body}
}

// object is one object of a stream, or one field of SSE that stands alone.
type object struct {
	Event string          `json:"event,omitempty"`
	ID    string          `json:"cursor,omitempty"` // differs from one answer to the next, like a cursor
	Retry string          `json:"since,omitempty"`  // likewise
	Data  json.RawMessage `json:"data,omitempty"`
}

// objects takes a stream apart.
func objects(t *testing.T, media string, body []byte) []object {
	t.Helper()
	var all []object
	if media != "text/event-stream" {
		for _, line := range strings.Split(strings.TrimSuffix(string(body), "\n"), "\n") {
			data := json.RawMessage(line)
			if media == "text/plain" {
				data = encode(t, line)
			}
			all = append(all, object{Data: data})
		}
		return all
	}
	for _, event := range strings.Split(strings.TrimRight(string(body), "\n"), "\n\n") {
		var o object
		for _, line := range strings.Split(event, "\n") {
			name, value, found := strings.Cut(line, ": ")
			switch {
			case !found && strings.HasPrefix(line, ":"): // a comment
			case name == "event":
				o.Event = value
			case name == "id":
				o.ID = value
			case name == "retry":
				o.Retry = value
			case name == "data":
				o.Data = json.RawMessage(value)
			default:
				t.Errorf("got the line %q, which is no field", line)
			}
		}
		all = append(all, o)
	}
	return all
}

// checkObjects holds each object of a stream against the schema of its
// content, and SSE's fields against the object.
func (d *document) checkObjects(t *testing.T, media, mediaType string, body []byte) {
	t.Helper()
	for i, o := range objects(t, mediaType, body) {
		if mediaType == "text/plain" {
			continue
		}
		if o.Data == nil {
			if mediaType != "text/event-stream" || (i != 0 || o.Retry == "") && o.ID == "" {
				t.Errorf("%s: object %d has no data", media, i)
			}
			continue
		}
		if err := d.validate(media+"/schema/contentSchema", o.Data); err != nil {
			t.Errorf("%s: %v\n%s", media, err, o.Data)
		}
		if mediaType != "text/event-stream" {
			continue
		}
		inside := decode[map[string]any](t, o.Data)
		want := inside["type"].(string)
		if want == "message" {
			want = ""
		}
		cursor, _ := inside["cursor"].(string)
		if want == "gap" {
			cursor, _ = inside["before"].(string)
		}
		switch want {
		case "ack", "gap": // before copies without a cursor, they have none either
			if o.ID == "" {
				cursor = ""
			}
		case "snapshot_end": // behind them stands the place where the stream joins
			cursor = o.ID
		}
		if o.Event != want || o.ID != cursor {
			t.Errorf("%s: got event %q with id %q, want %q with %q: %s", media, o.Event, o.ID, want, cursor, o.Data)
		}
	}
}

var sse = map[string]string{"Accept": "text/event-stream"}

// past plays what was received before the examples begin, up to the cursor
// 1041, and one value that the broker keeps.
func (g *gateway) past() {
	g.hub.BrokerUp(false)
	for range 1041 {
		g.hub.Ingest(hub.Inbound{Topic: "filler"})
	}
	g.upstream.play([]hub.Inbound{{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1}}, nil)
}

func (g *gateway) battery() {
	g.hub.Ingest(hub.Inbound{Topic: "pi/3/battery", Payload: []byte("21.50"), QoS: 1})
}

func (g *gateway) led() {
	g.hub.Ingest(hub.Inbound{Topic: "pi/3/led", Payload: []byte("on"), QoS: 1})
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
		g := start(t)
		g.past()
		s := g.open(t, c.path, c.header)
		s.until(t, "eco")
		g.battery()
		g.led()
		if strings.HasPrefix(s.res.Header.Get("Content-Type"), "text/plain") {
			g.hub.Ingest(hub.Inbound{Topic: "pi/3/log", Payload: []byte("a\nb")})
		}
		g.hub.Dropped(false, time.Now())
		g.hub.BrokerDown()
		s.until(t, c.end)
		a.check(t, "GET /events", s.end())
	}
	resumedAnswers(t, a, path)
}

// resumedAnswers are streams that begin with what was before.
func resumedAnswers(t *testing.T, a *answers, path string) {
	const cursor = "k3f9c2m4q8z1-1041"
	g := start(t)
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
		s.until(t, c.end)
		a.check(t, "GET /events", s.end())
	}
	partlyExpired(t, a, path)
	g.upstream.play(nil, nil)
	s := g.open(t, path+"&snapshot=true&overflow=latest&min_interval=1s", nil)
	s.until(t, "snapshot_end")
	a.check(t, "GET /events", s.end())
}

// partlyExpired is a stream that begins with what is left of the time that was
// asked for: the last of a hundred messages.
func partlyExpired(t *testing.T, a *answers, path string) {
	t.Helper()
	g := startWith(t, 512)
	g.hub.BrokerUp(false)
	for range 100 {
		g.battery()
	}
	s := g.open(t, path+"&since=10m", nil)
	s.until(t, `"message"`)
	a.check(t, "GET /events", s.end())
}

// historyAnswers are those of the examples.
func historyAnswers(t *testing.T, a *answers) {
	const path = "/history?filter=pi/3/%23"
	g := start(t)
	g.past()
	g.battery()
	g.hub.BrokerDown()
	g.hub.BrokerUp(true)
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
		got := g.do(t, r)
		if got.status != 200 {
			t.Errorf("GET %s: got %d %s, want 200", r.path, got.status, got.body)
		}
		a.check(t, "GET /history", got)
	}
	g.upstream.setBroken(true)
	a.check(t, "GET /history", g.do(t, request{method: "GET", path: path + "&since=k3f9c2m4q8z1-1041"}))
	g.upstream.setBroken(false)
}

// Page by page the history is the same as at once, and Link leads through it.
func TestHistoryPages(t *testing.T) {
	g := start(t)
	g.past()
	g.battery()
	g.hub.BrokerDown()
	g.hub.BrokerUp(true)
	g.led()
	whole := decode[[]any](t, g.do(t, request{method: "GET", path: "/history?filter=pi/3/%23"}).body)
	got, pages := g.follow(t, "/history?filter=pi/3/%23&limit=1")
	if string(encode(t, got)) != string(encode(t, whole)) || len(whole) != 3 || pages != 3 {
		t.Errorf("got %s on %d pages, want %s on 3", encode(t, got), pages, encode(t, whole))
	}
}

// follow reads page after page, of one object each, where Link leads.
func (g *gateway) follow(t *testing.T, path string) (all []any, pages int) {
	t.Helper()
	for ; path != ""; pages++ {
		a := g.do(t, request{method: "GET", path: path})
		page := decode[[]any](t, a.body)
		if len(page) > 1 || pages > 3 {
			t.Fatalf("%s: got %d objects on page %d, want 1 on each of 3", path, len(page), pages)
		}
		all = append(all, page...)
		path, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	return all, pages
}
