package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// streamRig is a rig whose hub is the gateway life "e1", keeps a history, and
// finds retained messages.
type streamRig struct {
	*rig
	hub *hub.Hub
}

type shelf struct {
	*memoryBroker
	copies []hub.Inbound
}

func (s shelf) Retained(_ context.Context, filter string) (got []hub.Inbound, _ error) {
	for _, c := range s.copies {
		if topic.Match(filter, c.Topic) {
			got = append(got, c)
		}
	}
	return got, nil
}

// Watched is as with a GATEWAY_WATCH that leaves out what Want refuses.
func (s shelf) Watched(filter string) bool {
	return !strings.HasPrefix(filter, "elsewhere/") && !strings.HasPrefix(filter, "refused/")
}

func startStreams(t *testing.T, retained ...hub.Inbound) streamRig {
	t.Helper()
	var own *hub.Hub
	g := startRig(t, func(o *Options) {
		own = hub.New(hub.Options{Upstream: shelf{&memoryBroker{}, retained}, Epoch: "e1", HistoryBytes: 64 << 20, QueueBytes: 64 << 20, KeepAlive: time.Hour})
		o.Hub = own
	})
	own.BrokerUp(false)
	t.Cleanup(own.Close)
	return streamRig{g, own}
}

func (g streamRig) ingest(name, payload string) {
	g.hub.Ingest(hub.Inbound{Topic: name, Payload: []byte(payload), QoS: 1})
}

// events is an /events response while it runs.
type events struct {
	t      testing.TB
	header http.Header
	length []string // Transfer-Encoding
	conn   net.Conn
	r      *bufio.Reader
}

// open sends a GET that must be answered by a stream.
func (g *rig) open(t testing.TB, target string, headers ...string) *events {
	t.Helper()
	c := connect(t, g.public)
	if _, err := io.WriteString(c, request("GET", target, "", headers...)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("GET %.200s: got %d %s, want 200", target, res.StatusCode, b)
	}
	return &events{t, res.Header, res.TransferEncoding, c, bufio.NewReader(res.Body)}
}

var times = regexp.MustCompile(`"(time|since)":"[^"]*"`)

// line reads a line, its times replaced.
func (s *events) line() string {
	s.t.Helper()
	line, err := s.r.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the stream ends: %v behind %q", err, line)
	}
	return times.ReplaceAllString(strings.TrimSuffix(line, "\n"), `"$1":"T"`)
}

// event reads the lines up to an empty one.
func (s *events) event() string {
	s.t.Helper()
	var lines []string
	for {
		if l := s.line(); l != "" {
			lines = append(lines, l)
		} else if len(lines) > 0 {
			return strings.Join(lines, "\n")
		}
	}
}

func (s *events) want(read func() string, want ...string) {
	s.t.Helper()
	for _, w := range want {
		if got := read(); got != w {
			s.t.Errorf("got  %.300q\nwant %.300q", got, w)
		}
	}
}

func TestEventsFindsEveryMistakeBeforeTheFirstByte(t *testing.T) {
	g := startStreams(t)
	filters := strings.Repeat("&topic=a", 200)
	for i := range 100 {
		filters += fmt.Sprint("&topic=b/", i)
	}
	tests := []struct {
		query, header string
		status        int
		code          wire.Code
	}{
		{"", "", 422, "filter_required"}, {"topic=", "", 422, "filter_required"}, {"since=e1-1", "", 422, "filter_required"},
		{"topic=a&topic=", "", 422, "filter_required"}, {"topic=a/%23/b", "", 422, "filter_syntax"}, {"topic=a&topic=b%2B", "", 422, "filter_syntax"},
		{"topic=$SYS/%23", "", 403, "filter_reserved"}, {"topic=elsewhere/a", "", 422, "filter_not_covered"}, {"topic=refused/a", "", 403, "filter_refused"},
		{"topic=a%252B%00", "", 422, "filter_control_char"}, {"topic=%ff", "", 422, "filter_utf8"}, {"topic=a" + filters, "", 422, "limit_exceeded"},
		{"topic=a&since=x", "", 400, "invalid_cursor"}, {"topic=a&since=-1", "", 400, "invalid_cursor"}, {"topic=a&since=", "", 400, "invalid_cursor"},
		{"topic=a&since=e-18446744073709551616", "", 400, "invalid_cursor"}, {"topic=a&since=e1-01", "", 400, "invalid_cursor"}, {"topic=a&since=e1-1%0d%0a", "", 400, "invalid_cursor"},
		{"topic=a&since=%C3%A9-1", "", 400, "invalid_cursor"}, {"topic=a&since=" + strings.Repeat("e", 64) + "-1", "", 400, "invalid_cursor"}, {"topic=a&since=10", "", 400, "invalid_cursor"},
		{"topic=a", "Last-Event-ID: x", 400, "invalid_cursor"}, {"topic=a", "Last-Event-ID: -1", 400, "invalid_cursor"}, {"topic=a", "Last-Event-ID: é-1", 400, "invalid_cursor"},
		{"topic=a", "Last-Event-ID: e-18446744073709551616", 400, "invalid_cursor"}, {"topic=a&since=e1-0", "Last-Event-ID: x", 400, "invalid_cursor"},
		{"topic=a&since=e1-0&since=e1-0", "", 400, "invalid_parameter"}, {"topic=a&format=sse&format=sse", "", 400, "invalid_parameter"},
		{"topic=a&Topic=a", "", 400, "unknown_parameter"}, {"topic=a&x=" + canary, "", 400, "unknown_parameter"}, {"topic=a&filter=a", "", 400, "unknown_parameter"}, {"topic=a&x=%zz", "", 400, "unknown_parameter"},
		{"topic=a&format=", "", 400, "invalid_parameter"}, {"topic=a&format=SSE", "", 400, "invalid_parameter"}, {"topic=a&format=json", "", 400, "invalid_parameter"},
		{"topic=a&overflow=", "", 400, "invalid_parameter"}, {"topic=a&overflow=Drop", "", 400, "invalid_parameter"}, {"topic=a&snapshot=", "", 400, "invalid_parameter"}, {"topic=a&snapshot=1", "", 400, "invalid_parameter"},
		{"topic=a&min_interval=", "", 400, "invalid_parameter"}, {"topic=a&min_interval=0", "", 400, "invalid_parameter"}, {"topic=a&min_interval=-1s", "", 400, "invalid_parameter"},
		{"topic=a&min_interval=9ms", "", 400, "invalid_parameter"}, {"topic=a&min_interval=61m", "", 400, "invalid_parameter"}, {"topic=a&min_interval=200", "", 400, "invalid_parameter"},
		{"topic=a", "Accept: application/json", 406, "not_acceptable"}, {"topic=a", "Accept: text/html", 406, "not_acceptable"}, {"topic=a", "Accept: text/event-stream;q=0", 406, "not_acceptable"},
		{"topic=a", "Accept: text/event-stream; q=0.0, text/html", 406, "not_acceptable"}, {"topic=a", "Accept: */*;q=0", 406, "not_acceptable"}, {"topic=a", "Accept: ,", 406, "not_acceptable"},
		{"topic=" + strings.Repeat("a", 17_000), "", 414, "uri_too_long"}, {"topic=a&since=" + strings.Repeat("1", 17_000), "", 414, "uri_too_long"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.60s %.60s", tt.query, tt.header), func(t *testing.T) {
			headers := []string{}
			if tt.header != "" {
				headers = append(headers, tt.header)
			}
			exchange(t, g.public, request("GET", "/events?"+tt.query, "", headers...)).wantProblem(t, tt.status, tt.code)
		})
	}
	for where, r := range map[string]string{
		"query":  request("GET", "/events?topic=a&since=e1-"+strings.Repeat("1", 1<<20), ""),
		"header": request("GET", "/events?topic=a", "", "Last-Event-ID: e1-"+strings.Repeat("1", 1<<20)),
	} {
		if a := exchange(t, g.public, r); a.status != 414 && a.status != 431 {
			t.Errorf("a cursor of 1 MB in the %s: got %d, want 414 or 431", where, a.status)
		}
	}
	g.cleanLog(t)
}

func TestEventsAnswersGETOnly(t *testing.T) {
	g := startStreams(t)
	for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		a := exchange(t, g.public, request(method, "/events?topic=a", "", "Accept: text/event-stream"))
		if a.status != 405 || a.header.Get("Allow") != "GET" {
			t.Errorf("%s: got %d, Allow %q, want 405 and GET", method, a.status, a.header.Get("Allow"))
		}
	}
}

func TestEventsComesAsTheClientAsks(t *testing.T) {
	g := startStreams(t)
	const ndjson, sse, text = "application/x-ndjson", "text/event-stream; charset=utf-8", "text/plain; charset=utf-8"
	tests := []struct{ query, accept, want string }{
		{"", "", ndjson}, {"", "*/*", ndjson}, {"", "*", ndjson}, {"", "text/html, image/gif, *; q=.2", ndjson}, {"", "text/html,*/*", ndjson}, {"", "text/html,application/xhtml+xml,*/*;q=0.8", ndjson}, {"", "application/*", ndjson}, {"", "application/x-ndjson", ndjson},
		{"", "text/event-stream", sse}, {"", "Text/Event-Stream; charset=utf-8", sse}, {"", "application/json, text/event-stream", sse}, {"", "text/event-stream;q=0.5", sse},
		{"", "text/event-stream;q=0, */*", ndjson}, {"", "text/event-stream; q=0.000, application/x-ndjson", ndjson}, {"", "text/plain", text}, {"", "text/*", text},
		{"&format=sse", "", sse}, {"&format=ndjson", "text/event-stream", ndjson}, {"&format=text", "application/json", text}, {"&format=sse", "text/html", sse},
	}
	for _, tt := range tests {
		t.Run(tt.query+" "+tt.accept, func(t *testing.T) {
			s := g.open(t, "/events?topic=a"+tt.query, "Accept: "+tt.accept)
			for name, want := range map[string]string{
				"Content-Type": tt.want, "X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform", "X-Content-Type-Options": "nosniff", "Content-Length": "", "Connection": "",
			} {
				if got := s.header.Get(name); got != want {
					t.Errorf("got %s %q, want %q", name, got, want)
				}
			}
			if got := s.header.Get("X-Request-Id"); got == "" || len(s.length) != 1 || s.length[0] != "chunked" {
				t.Errorf("got X-Request-Id %q and Transfer-Encoding %q, want an id and chunked", got, s.length)
			}
		})
	}
	eventuallyTrue(t, "all are subscribed", func() bool { return g.server.joining.Load() == 0 })
}

func TestEventsTakesEveryValueOfEveryOption(t *testing.T) {
	g := startStreams(t)
	g.ingest("a", "1")
	for _, query := range []string{
		"overflow=close", "overflow=drop", "overflow=latest", "min_interval=10ms", "min_interval=1h", "snapshot=false", "snapshot=true&overflow=latest&min_interval=200ms",
	} {
		s := g.open(t, "/events?topic=a&topic=a&topic=%2B&"+query)
		s.want(s.line, `{"type":"ack","results":[{"topic":"a","ok":true},{"topic":"+","ok":true}],"cursor":"e1-1"}`)
	}
	const ack = `{"type":"ack","results":[{"topic":"a","ok":true}],`
	for _, tt := range []struct{ query, id, want, gap string }{
		{"", "", ack + `"cursor":"e1-1"}`, ""},
		{"&since=e1-0", "", ack + `"resumed":true,"cursor":"e1-0"}`, ""},
		{"", "e1-1", ack + `"resumed":true,"cursor":"e1-1"}`, ""},
		{"&since=x", "e1-0", ack + `"resumed":true,"cursor":"e1-0"}`, ""},
		{"&since=old-7", "e1-0", ack + `"resumed":true,"cursor":"e1-0"}`, ""},
		{"&since=e1-1", "old-7", ack + `"resumed":false,"cursor":"e1-1"}`, `{"type":"gap","after":"old-7","before":"e1-1","reason":"gateway_restarted","certain":false}`},
		{"&since=e1-99", "", ack + `"resumed":false,"cursor":"e1-1"}`, `{"type":"gap","after":"e1-99","before":"e1-1","reason":"history_expired","certain":false}`},
		{"&since=e1-18446744073709551615", "", ack + `"resumed":false,"cursor":"e1-1"}`, `{"type":"gap","after":"e1-18446744073709551615","before":"e1-1","reason":"history_expired","certain":false}`},
	} {
		s := g.open(t, "/events?topic=a"+tt.query, "Last-Event-ID: "+tt.id)
		if s.want(s.line, tt.want); tt.gap != "" {
			s.want(s.line, tt.gap)
		}
	}
}

// raw opens a stream and gives all its bytes behind the head, to its end.
func (g streamRig) raw(t *testing.T, request string, feed func()) (head, body string) {
	t.Helper()
	c := connect(t, g.public)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	eventuallyTrue(t, "the stream is subscribed", func() bool { return g.hub.Stats().Filters == 1 })
	feed()
	var stopped sync.WaitGroup
	stopped.Go(func() { g.hub.Shutdown(t.Context()) })
	b, err := io.ReadAll(c)
	_ = c.Close() // the gateway waits for it
	if stopped.Wait(); err != nil {
		t.Fatalf("the connection does not end in order: %v", err)
	}
	head, body, _ = strings.Cut(string(b), "\r\n\r\n")
	return head + "\r\n", body
}

func TestEventsOverHTTP10EndsWithTheConnection(t *testing.T) {
	g := startStreams(t)
	head, body := g.raw(t, "GET /events?topic=a HTTP/1.0\r\nHost: localhost\r\n\r\n", func() { g.ingest("a", "1"); g.ingest("a", "2") })
	if strings.Contains(head, "Transfer-Encoding") || !strings.Contains(head, "\r\nConnection: close\r\n") {
		t.Errorf("got head %q, want no Transfer-Encoding and Connection: close", head)
	}
	const message = `{"type":"message","topic":"a","payload":%d,"encoding":"json","qos":1,"retain":false,"time":"T","cursor":"e1-%[1]d"}` + "\n"
	want := `{"type":"ack","results":[{"topic":"a","ok":true}],"cursor":"e1-0"}` + "\n" + fmt.Sprintf(message, 1) + fmt.Sprintf(message, 2)
	if got := times.ReplaceAllString(body, `"$1":"T"`); got != want {
		t.Errorf("got body %q, want %q", got, want)
	}
}

// Replacements of EventSource that cannot set a header say where they were in
// the query.
func TestLastEventIDComesInTheQueryToo(t *testing.T) {
	g := startStreams(t)
	for _, p := range []string{"1", "2", "3"} {
		g.ingest("a", p)
	}
	for _, name := range []string{"lastEventId", "Last-Event-ID", "lastEventID"} {
		s := g.open(t, "/events?topic=a&since=e1-0&format=ndjson&"+name+"=e1-2")
		s.want(s.line, `{"type":"ack","results":[{"topic":"a","ok":true}],"resumed":true,"cursor":"e1-2"}`)
		if line := s.line(); !strings.Contains(line, `"payload":3`) {
			t.Errorf("%s: got %s, want what comes behind its place", name, line)
		}
		exchange(t, g.public, request("GET", "/events?topic=a&"+name+"=x", "")).wantProblem(t, http.StatusBadRequest, wire.CodeInvalidCursor)
	}
}

func TestSubscribeOpTakesOptions(t *testing.T) {
	g := startStreams(t)
	g.ingest("a", "1")
	for _, bad := range []string{`"overflow":"x"`, `"overflow":1`, `"snapshot":"true"`, `"snapshot":null`, `"min_interval":200`, `"min_interval":"9ms"`} {
		s := g.dial(t, "/ws")
		s.text(`{"op":"subscribe","id":1,"topics":["a"],` + bad + `,"since":"x"}`)
		s.nextError("invalid_parameter")
		s.text(`{"op":"unsubscribe","id":2,"topics":["a"]}`)
		checkFrame(t, s, `{"cursor":"e1-1","id":2,"results":[{"ok":true,"topic":"a","was_subscribed":false}],"type":"ack"}`)
	}
	for _, since := range []string{`"x"`, `""`, `"-1"`, `"e-18446744073709551616"`, `5`, `{}`, `"` + strings.Repeat("1", 200_000) + `"`} {
		s := g.dial(t, "/ws")
		s.text(`{"op":"subscribe","id":1,"topics":["a"],"since":` + since + `}`)
		if f := s.nextError("invalid_cursor"); f["id"] != 1.0 {
			t.Errorf("got error for id %v, want 1", f["id"])
		}
		checkFrame(t, s, `{"cursor":"e1-1","id":1,"results":[{"ok":true,"topic":"a"}],"resumed":false,"type":"ack"}`)
		checkFrame(t, s, `{"after":"e1-0","before":"e1-1","certain":false,"reason":"history_expired","type":"gap"}`)
	}
	s := g.dial(t, "/ws")
	s.text(`{"op":"subscribe","id":1,"topics":["a"],"since":"e1-0","snapshot":false,"overflow":"latest","min_interval":"1h"}`)
	checkFrame(t, s, `{"cursor":"e1-0","id":1,"results":[{"ok":true,"topic":"a"}],"resumed":true,"type":"ack"}`)
	if f := s.next(); f["cursor"] != "e1-1" {
		t.Errorf("got %v, want the message e1-1", f)
	}
	s.text(`{"op":"unsubscribe","id":2,"topics":["a","never/+","a"]}`)
	checkFrame(t, s, `{"cursor":"e1-1","id":2,"results":[{"ok":true,"topic":"a","was_subscribed":true},{"ok":true,"topic":"never/+","was_subscribed":false},{"ok":true,"topic":"a","was_subscribed":false}],"type":"ack"}`)
	s.text(`{"op":"unsubscribe","id":3,"topics":["a"],"snapshot":true}`)
	s.nextError("unknown_field")
}

// checkFrame reads a frame; want has its members in the order of the alphabet.
func checkFrame(t *testing.T, s *rawSocket, want string) {
	t.Helper()
	if got, _ := json.Marshal(s.next()); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
