package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

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
