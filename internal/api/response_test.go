package api

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// deaf connects as a client that reads nothing, and whose buffers are small.
func deaf(t testing.TB, addr string) net.Conn {
	t.Helper()
	c := connect(t, addr)
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	return c
}

// cutOff sends the request again and again, and reads nothing, until the
// gateway ends the connection.
func cutOff(t testing.TB, c net.Conn, request string) {
	t.Helper()
	many := strings.Repeat(request, 64)
	for {
		if _, err := io.WriteString(c, many); err != nil {
			if err, ok := err.(net.Error); ok && err.Timeout() {
				t.Errorf("got a connection that stays open for %v, want it cut off", patience)
			}
			return
		}
	}
}

func TestEveryAnswerHasADeadline(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Timing.Stall = 50 * time.Millisecond })
	g.hub.Ingest(hub.Inbound{Topic: "a", Payload: []byte("1")})
	public, admin := g.listen(g.server.Public(), 8<<10), g.listen(g.server.Admin(), 8<<10)
	for name, row := range map[string]struct{ addr, request string }{
		"an asset of the documentation": {public, request("GET", "/docs/swagger-ui-bundle.js", "")},
		"the documentation":             {public, request("GET", "/docs", "")},
		"the list of errors":            {public, request("GET", "/docs/errors", "")},
		"openapi.yaml":                  {public, request("GET", "/openapi.yaml", "")},
		"asyncapi.yaml":                 {public, request("GET", "/asyncapi.yaml", "")},
		"a problem":                     {public, request("GET", "/nothing", "")},
		"a refused Host":                {public, request("GET", "/", "", "Host: evil.example")},
		"a publish":                     {public, publishRequest(valid)},
		"a batch":                       {public, request("POST", "/publish/batch", "["+valid+"]", "Content-Type: application/json")},
		"a batch stream":                {public, request("POST", "/publish/batch", valid+"\n", "Content-Type: application/x-ndjson")},
		"a value":                       {public, request("GET", "/topics/a", "")},
		"a list":                        {public, request("GET", "/topics", "")},
		"the history":                   {public, request("GET", "/history?filter=a", "")},
		"health":                        {public, request("GET", "/readyz", "")},
		"the metrics":                   {admin, request("GET", "/metrics", "")},
	} {
		t.Run(name, func(t *testing.T) {
			c := deaf(t, row.addr)
			if name == "a batch stream" { // whose time is that of a line
				g.server.opts.Timing.Line = 50 * time.Millisecond
			}
			cutOff(t, c, row.request)
		})
	}
	eventuallyTrue(t, "no answer is being written", func() bool { return g.server.writing.len() == 0 })
}

func TestSlowReaderGetsTheWholeAnswer(t *testing.T) {
	const stall = 2 * time.Second
	g := startRig(t, func(o *Options) { o.Timing.Stall = stall })
	want := len(g.get("/docs/swagger-ui-bundle.js").body)
	c := connect(t, g.listen(g.server.Public(), 8<<10))
	if _, err := io.WriteString(c, request("GET", "/docs/swagger-ui-bundle.js", "", "Connection: close")); err != nil {
		t.Fatal(err)
	}
	read := 0
	for tick := time.NewTicker(stall / 100); ; <-tick.C { // in more than stall
		n, err := io.CopyN(io.Discard, c, 8<<10)
		read += int(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("cut off after %d bytes: %v", read, err)
		}
	}
	if read < want {
		t.Errorf("got %d bytes, want a head and %d", read, want)
	}
}

// A client that takes a little now and then is cut off, too, in the end.
func TestAnswerHasADeadlineInAll(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Timing.Answer = 100 * time.Millisecond })
	cutOff(t, deaf(t, g.listen(g.server.Public(), 8<<10)), request("GET", "/docs/swagger-ui-bundle.js", ""))
}

func TestDrainHurriesAnswers(t *testing.T) {
	g := startRig(t, func(o *Options) {
		o.Timing.Stall, o.Timing.Answer, o.Timing.Last = time.Hour, time.Hour, 50*time.Millisecond
	})
	c := deaf(t, g.listen(g.server.Public(), 8<<10))
	if _, err := io.WriteString(c, strings.Repeat(request("GET", "/docs/swagger-ui-bundle.js", ""), 8)); err != nil {
		t.Fatal(err)
	}
	eventuallyTrue(t, "the answer is being written", func() bool { return g.server.writing.len() == 1 })
	g.server.Drain()
	eventuallyTrue(t, "the answer is cut off", func() bool { return g.server.writing.len() == 0 })
}

// What the deadline of one answer leaves behind must not end the next one.
func TestDeadlineOfAnAnswerDoesNotOutliveIt(t *testing.T) {
	const stall, passed = time.Second, 1500 * time.Millisecond
	g := startRig(t, func(o *Options) { o.Timing.Stall = stall })
	c := connect(t, g.public)
	a := exchangeOn(t, c, request("GET", "/livez", ""))
	<-time.After(passed)
	_, _ = io.WriteString(c, strings.Replace(publishRequest("", "Expect: 100-continue"), "Length: 0", "Length: 2", 1))
	if b := readReply(t, c, a.r, "POST"); b.status != http.StatusContinue {
		t.Fatalf("got %d, want 100", b.status)
	}
	<-time.After(passed)
	_, _ = io.WriteString(c, "{}")
	readReply(t, c, a.r, "POST").wantProblem(t, http.StatusUnprocessableEntity, wire.CodeTopicRequired)

	c = connect(t, g.public)
	a = exchangeOn(t, c, request("GET", "/livez", ""))
	<-time.After(passed)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nno header\r\n\r\n")
	if b := readReply(t, c, a.r, "GET"); b.status != 400 {
		t.Errorf("got %d for a malformed request, want 400", b.status)
	}
}

// deadlines is a ResponseWriter that counts the deadlines it is set.
type deadlines struct {
	sink
	n    int
	last time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.n++
	d.last = t
	return nil
}

func TestDeadlineIsSetForEachPiece(t *testing.T) {
	for _, row := range []struct {
		name          string
		open          bool
		writes, bytes int
		want          int
	}{
		{"a small answer", false, 1, 10, 1},
		{"a large answer in one write", false, 1, 4 * pieceBytes, 4},
		{"a large answer in many", false, 4 * pieceBytes / 1024, 1024, 4},
		{"small results of a stream", true, 5, 10, 6}, // and the head's
	} {
		d := &deadlines{sink: sink{http.Header{}}}
		r := &response{ResponseWriter: d, writing: &writing{}, timing: &Timing{Stall: time.Second, Answer: time.Minute}}
		if row.open {
			openEnded(r, time.Second)
		}
		for range row.writes {
			_, _ = r.Write(make([]byte, row.bytes))
		}
		if d.n != row.want || r.bytes != row.writes*row.bytes {
			t.Errorf("%s: got %d deadlines for %d bytes, want %d", row.name, d.n, r.bytes, row.want)
		}
	}
}

// Without a monotonic reading they would move when the wall clock is set.
func TestDeadlinesOfAnswersAreMonotonic(t *testing.T) {
	d := &deadlines{sink: sink{http.Header{}}}
	r := &response{ResponseWriter: d, writing: &writing{last: time.Second}, timing: &Timing{Stall: time.Hour, Answer: time.Minute}}
	check := func(what string, most time.Duration) {
		t.Helper()
		if left := time.Until(d.last); !strings.Contains(d.last.String(), " m=") || left > most || left < most/2 {
			t.Errorf("%s: got %v, want a monotonic time in %v", what, d.last, most)
		}
	}
	_, _ = r.Write(make([]byte, 2*pieceBytes))
	check("an answer", time.Minute)
	r.writing.last = 30 * time.Second
	r.writing.hurry()
	check("a hurried one", 30*time.Second)
	_, _ = r.Write(make([]byte, 2*pieceBytes))
	check("the rest of it", 30*time.Second)
}
