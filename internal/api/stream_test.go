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
	"strconv"
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

func TestChunksAreWellFormedWhateverTheSize(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 70_000, 1 << 20, 3 << 20} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			g := startStreams(t)
			payload := strings.Repeat("\x01", size) // takes six times as much in JSON
			_, body := g.raw(t, "GET /events?topic=a&format=text HTTP/1.1\r\nHost: localhost\r\n\r\n", func() { g.ingest("a", payload) })
			var content strings.Builder
			for {
				digits, rest, _ := strings.Cut(body, "\r\n")
				n, err := strconv.ParseUint(digits, 16, 32)
				if err != nil || int(n)+2 > len(rest) || rest[n:n+2] != "\r\n" {
					t.Fatalf("got a chunk of size %q before %d bytes: %v", digits, len(rest), err)
				}
				content.WriteString(rest[:n])
				if body = rest[n+2:]; n == 0 {
					break
				}
			}
			if got := content.String(); got != payload+"\n" || body != "" {
				t.Errorf("got %d bytes and %q behind the last chunk, want %d and nothing", len(got), body, size+1)
			}
		})
	}
}

// What a subscriber gets before its response's head would be taken for it.
func TestHeadComesFirstWhileTheBrokerIsDown(t *testing.T) {
	g := startStreams(t)
	g.hub.BrokerDown()
	s := g.open(t, "/events?topic=a")
	s.want(s.line, `{"type":"broker","connected":false,"since":"T"}`, `{"type":"ack","results":[{"topic":"a","ok":true}],"cursor":"e1-0"}`)
}

var copies = []hub.Inbound{{Topic: "kept/1", Payload: []byte("old"), QoS: 1}, {Topic: "kept/2", Payload: []byte("2")}}

func TestSSEFramesAreOneEventEach(t *testing.T) {
	g := startStreams(t, copies...)
	s := g.open(t, "/events?topic=%23&format=sse")
	s.wantAck(`{"type":"ack","results":[{"topic":"#","ok":true}],"cursor":"e1-0"}`)
	s.want(s.event,
		"data: "+`{"type":"message","topic":"kept/1","payload":"old","encoding":"text","qos":1,"retain":true,"time":"T"}`,
		"data: "+`{"type":"message","topic":"kept/2","payload":2,"encoding":"json","qos":0,"retain":true,"time":"T"}`,
		"event: cursor\nid: e1-0\ndata: {}") // the copies have none, so whoever breaks off in between starts afresh
	payloads := []struct{ payload, value, encoding string }{
		{"a\n\nevent: gap\nid: e1-9\ndata: x\n\n", `"a\n\nevent: gap\nid: e1-9\ndata: x\n\n"`, "text"}, {"\r\rid: 9\r\n", `"\r\rid: 9\r\n"`, "text"},
		{"[1,\n2]", `"[1,\n2]"`, "text"}, {"[1,\r2]", `"[1,\r2]"`, "text"}, {"event: gap", `"event: gap"`, "text"}, {"\u2028\u0085", "\"\u2028\u0085\"", "text"},
		{`","cursor":"e1-7"}`, `"\",\"cursor\":\"e1-7\"}"`, "text"}, {`{"cursor":"e1-7"}`, `{"cursor":"e1-7"}`, "json"}, {"", `""`, "text"}, {"\xff\n", `"/wo="`, "base64"},
	}
	for i, p := range payloads {
		g.ingest("a", p.payload)
		s.want(s.event, fmt.Sprintf("id: e1-%d\ndata: "+`{"type":"message","topic":"a","payload":%s,"encoding":"%s","qos":1,"retain":false,"time":"T","cursor":"e1-%[1]d"}`, i+1, p.value, p.encoding))
	}
	g.hub.BrokerDown()
	g.hub.BrokerUp(true)
	s.want(s.event, "event: broker\ndata: "+`{"type":"broker","connected":false,"since":"T"}`,
		"event: gap\nid: e1-11\ndata: "+`{"type":"gap","after":"e1-10","before":"e1-11","reason":"broker_connection_lost","certain":true}`,
		"event: broker\ndata: "+`{"type":"broker","connected":true,"since":"T"}`)
	s = g.open(t, "/events?topic=a&snapshot=true&format=sse")
	s.wantAck(`{"type":"ack","results":[{"topic":"a","ok":true}],"cursor":"e1-11"}`)
	s.want(s.event,
		"data: "+`{"type":"message","topic":"a","payload":"/wo=","encoding":"base64","qos":1,"retain":false,"time":"T"}`,
		"event: snapshot_end\nid: e1-11\ndata: "+`{"type":"snapshot_end"}`)
}

// wantAck reads the event that begins a stream with copies; it says when to come
// back, too.
func (s *events) wantAck(object string) {
	s.t.Helper()
	retry, ack, _ := strings.Cut(s.event(), "\n")
	if ms, err := strconv.Atoi(strings.TrimPrefix(retry, "retry: ")); err != nil || ms < 1000 || ms > 5000 {
		s.t.Errorf("got %q, want retry: 1000 to 5000", retry)
	}
	if want := "event: ack\ndata: " + object; ack != want {
		s.t.Errorf("got %q, want %q", ack, want)
	}
}

// Every block of lines has data: readers that take one without it for an empty
// event would choke on it.
func TestEverySSEBlockHasData(t *testing.T) {
	h := hub.New(hub.Options{Upstream: shelf{&memoryBroker{}, copies}, KeepAlive: 10 * time.Millisecond})
	h.BrokerUp(false)
	g := startRig(t, func(o *Options) { o.Hub, o.Stream.KeepAlive = h, time.Millisecond })
	defer h.Close()
	s := g.open(t, "/events?topic=%23&format=sse")
	for kept := false; !kept; {
		block := s.event()
		kept = block == "event: keepalive\ndata: {}"
		if !strings.Contains("\n"+block, "\ndata: ") {
			t.Fatalf("got %q, which has no data", block)
		}
	}
}

func TestQuietStreamsShowLifeWhereAskedTo(t *testing.T) {
	h := hub.New(hub.Options{Upstream: &memoryBroker{}, KeepAlive: 10 * time.Millisecond})
	h.BrokerUp(false)
	g := startRig(t, func(o *Options) { o.Hub = h })
	defer h.Close()
	for query, want := range map[string]string{"format=ndjson": `{"type":"keepalive"}`, "format=text": "# keepalive"} {
		s := g.open(t, "/events?topic=a&keepalive=1s&"+query)
		for line := s.line(); line != want; line = s.line() {
			if !strings.HasPrefix(line, `{"type":"ack"`) {
				t.Fatalf("%s: got %q, want %q", query, line, want)
			}
		}
	}
	for _, query := range []string{"keepalive=", "keepalive=5", "keepalive=999ms", "keepalive=61s", "keepalive=5s&keepalive=6s", "gaps=1&format=text", "gaps=true", "gaps=true&format=sse"} {
		exchange(t, g.public, request("GET", "/events?topic=a&"+query, "")).wantProblem(t, http.StatusBadRequest, wire.CodeInvalidParameter)
	}
}

func TestTextHasGapsWhereAskedFor(t *testing.T) {
	g := startStreams(t)
	s := g.open(t, "/events?topic=a&format=text&gaps=true")
	s.want(s.line, `# {"type":"ack","results":[{"topic":"a","ok":true}],"cursor":"e1-0"}`)
	for _, p := range [][2]string{{"1", "1"}, {"# no gap", `"# no gap"`}, {"#", "#"}, {"a # b", "a # b"}} {
		g.ingest("a", p[0])
		s.want(s.line, p[1])
	}
	g.hub.BrokerDown()
	g.hub.BrokerUp(true)
	s.want(s.line, `# {"type":"broker","connected":false,"since":"T"}`,
		`# {"type":"gap","after":"e1-4","before":"e1-5","reason":"broker_connection_lost","certain":true}`, `# {"type":"broker","connected":true,"since":"T"}`)
}

// Where a line may be no payload, no payload looks like one.
func TestTextTellsPayloadsFromKeepAlives(t *testing.T) {
	g := startStreams(t, copies...)
	asked, plain := g.open(t, "/events?topic=%23&format=text&keepalive=60s"), g.open(t, "/events?topic=%23&format=text")
	asked.want(asked.line, "old", "2") // both have joined
	plain.want(plain.line, "old", "2")
	g.ingest("a", "# keepalive")
	asked.want(asked.line, `"# keepalive"`)
	plain.want(plain.line, "# keepalive")
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

func TestTextIsOnePayloadALine(t *testing.T) {
	g := startStreams(t, copies...)
	s := g.open(t, "/events?topic=%23&format=text")
	s.want(s.line, "old", "2")
	g.hub.BrokerDown() // has no place in plain text
	g.hub.BrokerUp(true)
	for _, p := range [][2]string{
		{"21.50", "21.50"}, {"on", "on"}, {"", ""}, {`{"a":1}`, `{"a":1}`}, {`"quoted"`, `"quoted"`}, {`say "hi" \`, `say "hi" \`}, {"tab\there", "tab\there"}, {"Grüße 😀", "Grüße 😀"},
		{"a\nb", `"a\nb"`}, {"a\rb", `"a\rb"`}, {"\n", `"\n"`}, {" 1", " 1"}, {"\xff", `"/w=="`}, {"\x00", "\x00"},
	} {
		g.ingest("a", p[0])
		s.want(s.line, p[1])
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
