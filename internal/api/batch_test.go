package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/wire"
)

const (
	jsonType   = "Content-Type: application/json"
	ndjsonType = "Content-Type: application/x-ndjson"
)

// results reads results and gives "index status code" of each.
func results(t *testing.T, body string) (all []string) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(body)) {
		line = strings.Trim(strings.TrimSpace(line), "[],")
		if line == "" {
			continue
		}
		var res wire.BatchResult
		if err := json.Unmarshal([]byte(line), &res); err != nil {
			t.Fatalf("result %q: %v", line, err)
		}
		if good := res.Status < 300; good != (res.PublishResult != nil) || good != (res.Code == "") || good != (res.Detail == "") {
			t.Errorf("got result %s: either a topic, or a code and a detail", line)
		}
		all = append(all, strings.TrimSpace(fmt.Sprint(res.Index, " ", res.Status, " ", res.Code)))
	}
	return all
}

// mixed are the elements of a batch, and what becomes of them.
var mixed = []struct{ object, outcome string }{
	{`{"topic":"a","payload":1}`, "200"}, {`{"topic":"b","payload":2,"qos":0}`, "202"}, {`{"topic":"+","payload":3}`, "422 topic_wildcard"},
	{`{"topic":"c","payload":"4","qos":2,"retain":true}`, "200"}, {`[]`, "400 not_an_object"}, {`null`, "400 not_an_object"},
	{`{"topic":"a","topic":"b","payload":5}`, "400 duplicate_key"}, {`{"topic":"a","payload":5,"x":1}`, "400 unknown_field"},
	{`{"topic":"$a","payload":5}`, "403 topic_reserved"}, {`{"topic":"a","payload":"\ud800"}`, "422 invalid_unicode"}, {`{"topic":"a","payload":6}`, "200"},
}

const mixedPublished = `a 1 1 false|b 2 0 false|c 4 2 true|a 6 1 false`

func TestArrayTellsEachOutcome(t *testing.T) {
	g := startRig(t)
	var objects, want []string
	for i, m := range mixed {
		objects = append(objects, m.object)
		want = append(want, fmt.Sprint(i, " ", m.outcome))
	}
	a := exchange(t, g.public, request("POST", "/publish/batch", " [\n"+strings.Join(objects, " ,\n")+"] \n", jsonType))
	if got := results(t, string(a.body)); a.status != http.StatusMultiStatus || !slices.Equal(got, want) {
		t.Errorf("got %d %q, want 207 %q", a.status, got, want)
	}
	if got := strings.Join(g.published(), "|"); got != mixedPublished {
		t.Errorf("published %q, want %q", got, mixedPublished)
	}
	for body, status := range map[string]int{`[]`: 200, `[{"topic":"a","payload":1},{"topic":"a","payload":1,"qos":0}]`: 200, `[1]`: 207} {
		if a := exchange(t, g.public, request("POST", "/publish/batch", body, jsonType)); a.status != status || a.body[0] != '[' {
			t.Errorf("%s: got %d %s, want %d", body, a.status, a.body, status)
		}
	}
}

func TestStreamTellsEachOutcome(t *testing.T) {
	g := startRig(t)
	body, n := "\n \n", 0
	var want []string
	for _, m := range mixed {
		body += m.object + "\r\n\n"
		want = append(want, fmt.Sprint(n, " ", m.outcome))
		n++
	}
	body += "{\n" + `{"topic":"a","payload":"` + strings.Repeat("x", 2<<20) + `"}` + "\n" + `{"topic":"z","payload":7}` // no line break at the end
	want = append(want, fmt.Sprint(n, " 400 invalid_json"), fmt.Sprint(n+1, " 413 body_too_large"), fmt.Sprint(n+2, " 200"))
	for _, contentType := range []string{"application/x-ndjson", "application/ndjson; charset=utf-8", "application/jsonl"} {
		a := exchange(t, g.public, request("POST", "/publish/batch", body, "Content-Type: "+contentType))
		if got := results(t, string(a.body)); a.status != http.StatusOK || !slices.Equal(got, want) {
			t.Errorf("%s: got %d %q, want 200 %q", contentType, a.status, got, want)
		}
		if got := a.header.Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("got Content-Type %q", got)
		}
	}
	if got := strings.Join(g.published()[:5], "|"); got != mixedPublished+"|z 7 1 false" {
		t.Errorf("published %q, want %q", got, mixedPublished+"|z 7 1 false")
	}
}

func TestBatchRefusesAsAWhole(t *testing.T) {
	g := startRig(t)
	many := "[" + strings.Repeat(`{"topic":"a","payload":1},`, maxBatch) + `{"topic":"a","payload":1}]`
	for _, row := range []struct {
		name, target, body string
		headers            []string
		status             int
		code               wire.Code
	}{
		{"nothing", "/publish/batch", " ", []string{jsonType}, 400, "empty_body"},
		{"an object", "/publish/batch", `{"topic":"a","payload":1}`, []string{jsonType}, 400, "not_an_array"},
		{"cut short", "/publish/batch", `[{"topic":"a","payload":1},`, []string{jsonType}, 400, "invalid_json"},
		{"one comma too many", "/publish/batch", `[{"topic":"a","payload":1},]`, []string{jsonType}, 400, "invalid_json"},
		{"garbage", "/publish/batch", `[{"topic":"a","payload":1} x]`, []string{jsonType}, 400, "invalid_json"},
		{"two arrays", "/publish/batch", `[{"topic":"a","payload":1}][]`, []string{jsonType}, 400, "trailing_data"},
		{"10001 objects", "/publish/batch", many, []string{jsonType}, 413, "batch_too_large"},
		{"17 MiB", "/publish/batch", "", []string{jsonType, "Content-Length: 17825792"}, 413, "body_too_large"},
		{"text", "/publish/batch", `[]`, []string{"Content-Type: text/plain"}, 415, "unsupported_media_type"},
		{"no type", "/publish/batch", `[]`, nil, 415, "unsupported_media_type"},
		{"latin", "/publish/batch", `[]`, []string{jsonType + "; charset=latin1"}, 415, "unsupported_media_type"},
		{"compressed in another way", "/publish/batch", `[]`, []string{jsonType, "Content-Encoding: br"}, 415, "unsupported_encoding"},
		{"a parameter", "/publish/batch?qos=1", `[]`, []string{jsonType}, 400, "unknown_parameter"},
		{"GET", "/publish/batch", "", nil, 405, "method_not_allowed"},
		{"foreign page", "/publish/batch", `[]`, []string{jsonType, "Origin: https://evil.example"}, 403, "cross_origin"},
		{"trailing slash", "/publish/batch/", `[]`, []string{jsonType}, 404, "not_found"},
	} {
		t.Run(row.name, func(t *testing.T) {
			method := "POST"
			if row.name == "GET" {
				method = "GET"
			}
			req := request(method, row.target, row.body, row.headers...)
			if strings.Contains(row.name, "MiB") { // the announced length is enough
				req = strings.Replace(req, "Content-Length: 0\r\n", "", 1)
			}
			exchange(t, g.public, req).wantProblem(t, row.status, row.code)
		})
	}
	g.wantPublishes(t, 0)
	if a := exchange(t, g.public, request("POST", "/publish/batch", "["+strings.Repeat("1,", maxBatch-1)+"1]", jsonType)); a.status != 207 {
		t.Errorf("%d elements: got %d %.100s, want 207", maxBatch, a.status, a.body)
	}
}

// duplex is a batch stream that is written and read at the same time.
type duplex struct {
	t    *testing.T
	conn net.Conn
	body *bufio.Reader
}

func (g *rig) duplex(t *testing.T, headers ...string) *duplex {
	t.Helper()
	c := connect(t, g.public)
	fmt.Fprint(c, "POST /publish/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"+ndjsonType+"\r\n"+strings.Join(append(headers, ""), "\r\n")+"\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("got %v %v, want the head of the answer before the body", res, err)
	}
	return &duplex{t, c, bufio.NewReader(res.Body)}
}

func (d *duplex) send(text string) { fmt.Fprintf(d.conn, "%x\r\n%s\r\n", len(text), text) }

func (d *duplex) line() string {
	d.t.Helper()
	line, err := d.body.ReadString('\n')
	if err != nil {
		d.t.Fatalf("no result: %v", err)
	}
	return results(d.t, line)[0]
}

func (d *duplex) ends() {
	d.t.Helper()
	if rest, err := io.ReadAll(d.body); err != nil || len(rest) > 0 {
		d.t.Errorf("got %q %v, want the end of the answer", rest, err)
	}
}

func TestStreamAnswersWhileItIsRead(t *testing.T) {
	g := startRig(t)
	d := g.duplex(t)
	for i := range 3 {
		d.send(`{"topic":"a","payload":1}` + "\n")
		if got := d.line(); got != fmt.Sprint(i, " 200") {
			t.Errorf("got %q, want %d 200", got, i)
		}
	}
	d.send(`{"topic":"a",`)
	d.send(`"payload":1}`)
	g.wantPublishes(t, 3)
	d.send("")
	if got := d.line(); got != "3 200" {
		t.Errorf("got %q, want 3 200", got)
	}
	d.ends()
	eventuallyTrue(t, "the stream is over", func() bool { return g.server.streams.Load() == 0 })
}

// A body that breaks off may have cut a line short: it is not published.
func TestBrokenStreamPublishesNoHalfLine(t *testing.T) {
	g := startRig(t)
	d := g.duplex(t)
	d.send(`{"topic":"a","payload":1}` + "\n" + `{"topic":"a","payload":1}`)
	d.line()
	fmt.Fprint(d.conn, "no chunk\r\n")
	if got := d.line(); got != "1 400 invalid_body" {
		t.Errorf("got %q, want 1 400 invalid_body", got)
	}
	d.ends()
	g.wantPublishes(t, 1)
	// Nor when the client is gone.
	d = g.duplex(t)
	d.send(`{"topic":"b","payload":1}`)
	_ = d.conn.Close()
	eventuallyTrue(t, "the stream is over", func() bool { return g.server.streams.Load() == 0 })
	g.wantPublishes(t, 1)
}

func TestStopOfTheGatewayEndsAStream(t *testing.T) {
	g := startRig(t)
	d := g.duplex(t)
	d.send(`{"topic":"a","payload":1}` + "\n")
	d.line()
	g.server.Drain()
	if got := d.line(); got != "1 503 shutting_down" {
		t.Errorf("got %q, want 1 503 shutting_down", got)
	}
	d.ends()
	exchange(t, g.public, request("POST", "/publish/batch", `[{"topic":"a","payload":1}]`, jsonType)).wantProblem(t, 503, "shutting_down")
	exchange(t, g.public, request("POST", "/publish/batch", `{"topic":"a","payload":1}`, ndjsonType)).wantProblem(t, 503, "shutting_down")
}

// A client that sends everything before it reads is not drowned in results.
func TestOnlyFailuresAreAnsweredWhereAskedFor(t *testing.T) {
	g := startRig(t)
	body := strings.Repeat(valid+"\n", 20_000) + `{"topic":"+","payload":1}` + "\n" + strings.Repeat(valid+"\n", 20_000)
	a := exchange(t, g.public, request("POST", "/publish/batch?results=errors", body, ndjsonType))
	lines := strings.Split(strings.TrimSpace(string(a.body)), "\n")
	if a.status != 200 || len(lines) != 2 || !strings.HasPrefix(lines[0], `{"index":20000,"status":422,"code":"topic_wildcard"`) || lines[1] != `{"type":"summary","total":40001,"failed":1}` {
		t.Errorf("got %d %.500s, want the failure and the summary", a.status, a.body)
	}
	g.wantPublishes(t, 40_000)
	a = exchange(t, g.public, request("POST", "/publish/batch?results=errors", "", ndjsonType))
	if got := string(a.body); got != `{"type":"summary","total":0,"failed":0}`+"\n" {
		t.Errorf("of nothing: got %q, want an empty summary", got)
	}
	for _, target := range []string{"/publish/batch?results=", "/publish/batch?results=some", "/publish/batch?results=all&results=all"} {
		exchange(t, g.public, request("POST", target, valid, ndjsonType)).wantProblem(t, 400, "invalid_parameter")
	}
	exchange(t, g.public, request("POST", "/publish/batch?results=errors", "[]", jsonType)).wantProblem(t, 400, "invalid_parameter")
}

// Whoever does not read results is not read, and holds little.
func TestStreamOfAClientThatDoesNotReadStops(t *testing.T) {
	g := startRig(t)
	d := g.duplex(t)
	chunk := strings.Repeat(`{"topic":"+","payload":1}`+"\n", 1000) // its results are longer than itself
	chunk = fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk)
	const most = 256 << 20
	sent := 0
	for ; sent < most; sent += len(chunk) {
		_ = d.conn.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(d.conn, chunk); err != nil {
			break
		}
	}
	if sent >= most {
		t.Errorf("the gateway has read %d bytes, though nobody reads its results", sent)
	}
	_ = d.conn.Close()
	eventuallyTrue(t, "the stream is over", func() bool { return g.server.streams.Load() == 0 })
}

// A batch waits for room instead of failing by its own speed; others go on
// failing at once.
func TestBatchWaitsForRoom(t *testing.T) {
	b := &crowdedBroker{}
	g := startRig(t, func(o *Options) { o.Publisher = b })
	d := g.duplex(t)
	d.send(strings.Repeat(`{"topic":"a","payload":1}`+"\n", 50))
	for i := range 50 {
		if got := d.line(); got != fmt.Sprint(i, " 200") {
			t.Errorf("got %q, want %d 200", got, i)
		}
	}
	if b.refused == 0 {
		t.Error("nothing was refused: the test tests nothing")
	}
	for { // every other one is refused
		if a := exchange(t, g.public, request("POST", "/topics/a", "1")); a.status != 200 {
			a.wantProblem(t, 503, "overloaded")
			break
		}
	}
}

// crowdedBroker has no room every other time.
type crowdedBroker struct {
	memoryBroker
	refused int
	turn    atomic.Int64
}

func (b *crowdedBroker) Publish(m Outbound) (Pending, error) {
	if b.turn.Add(1)%2 == 0 {
		b.refused++
		return nil, ErrOverloaded
	}
	return b.memoryBroker.Publish(m)
}

// With an Idempotency-Key a stream that broke off can be sent again: what was
// published is not published again, what was not is.
func TestStreamResumesWithItsKey(t *testing.T) {
	g := startRig(t)
	line := func(i int) string { return fmt.Sprintf(`{"topic":"a","payload":%d}`+"\n", i) }
	stream := func(lines ...string) string {
		a := exchange(t, g.public, request("POST", "/publish/batch", strings.Join(lines, ""), ndjsonType, "Idempotency-Key: k"))
		return strings.Join(results(t, string(a.body)), ", ")
	}
	stream(line(0), line(1))
	if got, want := stream(line(0), line(1), line(2)), "0 200, 1 200, 2 200"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := stream(line(0), line(9)), "0 200, 1 422 idempotency_mismatch"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := strings.Join(g.published(), "|"), "a 0 1 false|a 1 1 false|a 2 1 false"; got != want {
		t.Errorf("published %s, want %s", got, want)
	}
}

// A mistake on the broker side ends one publish, not the process.
func TestPanicEndsOneMessageOfABatch(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Publisher = &brittleBroker{} })
	d := g.duplex(t)
	d.send(`{"topic":"a","payload":1}` + "\n" + `{"topic":"break","payload":1}` + "\n" + `{"topic":"a","payload":1}` + "\n")
	for _, want := range []string{"0 200", "1 500 internal_error", "2 200"} {
		if got := d.line(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	exchange(t, g.public, request("POST", "/topics/break", "1")).wantProblem(t, 500, "internal_error")
}

// brittleBroker panics on one topic.
type brittleBroker struct{ memoryBroker }

func (b *brittleBroker) Publish(m Outbound) (Pending, error) {
	if m.Topic == "break" {
		panic("out of order")
	}
	return b.memoryBroker.Publish(m)
}

// The end of the reading never reaches a request that has ended: net/http panics
// where a stream of HTTP/2 is given a deadline behind its end.
func TestStreamIsNotTouchedBehindItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{closing: make(chan struct{})}
		w := slowDeadline{set: make(chan struct{})}
		stop := s.endReading(http.NewResponseController(w))
		close(s.closing)
		synctest.Wait()
		ended := make(chan struct{})
		go func() { stop(); close(ended) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("the request ended while a deadline was being set")
		default:
		}
		close(w.set)
		<-ended
	})
}

// slowDeadline takes its time to set a deadline.
type slowDeadline struct {
	http.ResponseWriter
	set chan struct{}
}

func (w slowDeadline) SetReadDeadline(time.Time) error { <-w.set; return nil }
