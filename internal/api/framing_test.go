package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/wire"
)

func TestHugeBodyIsRefusedUnread(t *testing.T) {
	g := startRig(t)
	for _, size := range []string{"10485760", "1589249", "9223372036854775807"} {
		c := connect(t, g.public)
		// Not one byte of the body is sent, and still there is an answer.
		fmt.Fprintf(c, "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n", size)
		a := readReply(t, c, bufio.NewReader(c), "POST")
		a.wantProblem(t, http.StatusRequestEntityTooLarge, "body_too_large")
		if !a.ended() {
			t.Errorf("Content-Length %s: the connection stays open, want it closed", size)
		}
	}
	g.wantPublishes(t, 0)
}

func TestEndlessChunkedBodyIsCutAtTheLimit(t *testing.T) {
	g := startRig(t)
	c := connect(t, g.public)
	_, _ = io.WriteString(c, "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	sent := make(chan int)
	go func() {
		chunk := []byte("1000\r\n" + strings.Repeat(" ", 0x1000) + "\r\n")
		total := 0
		for {
			n, err := c.Write(chunk)
			if total += n; err != nil || total > 64<<20 {
				sent <- total
				return
			}
		}
	}()
	a := readReply(t, c, bufio.NewReader(c), "POST")
	a.wantProblem(t, http.StatusRequestEntityTooLarge, "body_too_large")
	if !a.ended() {
		t.Error("the connection stays open, want it closed")
	}
	_ = c.Close()
	if n := <-sent; n > 32<<20 {
		t.Errorf("the gateway took %d bytes, want it to stop near the limit", n)
	}
	g.wantPublishes(t, 0)
}

func TestMalformedFramingEndsTheConnection(t *testing.T) {
	const head = "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	chunked := head + "Transfer-Encoding: chunked\r\n\r\n"
	body := fmt.Sprintf("%x\r\n%s\r\n", len(valid), valid)
	for name, raw := range map[string]string{
		"bare LF behind a chunk size":  chunked + fmt.Sprintf("%x\n%s\r\n0\r\n\r\n", len(valid), valid),
		"bare LF behind the last size": chunked + body + "0\n\r\n",
		"chunk size is no number":      chunked + "zz\r\n" + valid + "\r\n0\r\n\r\n",
		"chunk size with a sign":       chunked + "+2\r\n{}\r\n0\r\n\r\n",
		"chunk size with 0x":           chunked + "0x2\r\n{}\r\n0\r\n\r\n",
		"chunk size beyond 64 bits":    chunked + "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
		"chunk longer than its size":   chunked + "1\r\n{}\r\n0\r\n\r\n",
		"endless chunk extension":      chunked + "1;" + strings.Repeat("x", 5000),
		"two transfer encodings":       head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + body + "0\r\n\r\n",
		"gzip, chunked":                head + "Transfer-Encoding: gzip, chunked\r\n\r\n" + body + "0\r\n\r\n",
		"two lengths":                  head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
		"negative length":              head + "Content-Length: -1\r\n\r\n",
		"length with a sign":           head + "Content-Length: +2\r\n\r\n{}",
		"length beyond 64 bits":        head + "Content-Length: 99999999999999999999\r\n\r\n{}",
		"space before the colon":       head + "Content-Length : 2\r\n\r\n{}",
		"folded header":                head + "X-A: b\r\n c\r\nContent-Length : 2\r\n\r\n{}",
		"NUL in a header":              head + "X-A: b\x00\r\nContent-Length: 2\r\n\r\n{}",
		"no version":                   "POST /publish\r\n\r\n",
		"HTTP/2 preface":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			g := startRig(t)
			a := exchange(t, g.public, raw)
			if a.status < 400 || a.status > 505 || a.status == http.StatusInternalServerError {
				t.Errorf("got %d %s, want a refusal", a.status, a.body)
			}
			if bytes.Contains(a.body, []byte(canary)) {
				t.Errorf("the answer repeats the body: %s", a.body)
			}
			if !a.ended() {
				t.Error("the connection stays open, want it closed: what follows cannot be told from the body")
			}
			g.wantPublishes(t, 0)
			g.cleanLog(t)
		})
	}
}

// Whose request is malformed as HTTP gets no problem: it never comes to a route.
func TestMalformedHTTPIsAnsweredInPlainText(t *testing.T) {
	g := startRig(t)
	for raw, want := range map[string]int{
		"GET /topics/100% HTTP/1.1\r\nHost: localhost\r\n\r\n": 400, "GET /topics/a%zz HTTP/1.1\r\nHost: localhost\r\n\r\n": 400,
		"GET /livez HTTP/1.1\r\n\r\n": 400, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: " + strings.Repeat("a", 40<<10) + "\r\n\r\n": 431,
		"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-A: " + strings.Repeat("a", 31<<10) + "\r\n\r\n": 200,
	} {
		a := exchange(t, g.public, raw)
		if media := a.header.Get("Content-Type"); a.status != want || strings.HasPrefix(media, "text/plain") != (want != 200) || !a.ended() {
			t.Errorf("%.40q: got %d, %s, want %d in plain text, and the end", raw, a.status, media, want)
		}
	}
}

// Of Content-Length and chunked only one can be right. Whichever a server
// believes, what stands behind that body must not run as a second request.
func TestLengthBesideChunkedSmugglesNothing(t *testing.T) {
	g := startRig(t)
	smuggled := publishRequest(`{"topic":"smuggled","payload":"` + canary + `"}`)
	raw := "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
		fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5+len(smuggled)) + smuggled
	a := exchange(t, g.public, raw)
	if a.status < 400 || a.status > 499 {
		t.Errorf("got %d %s, want a refusal", a.status, a.body)
	}
	if !a.ended() {
		t.Error("the connection goes on behind an ambiguous request, want it closed (RFC 9112 section 6.1)")
	}
	g.wantPublishes(t, 0)
}

func TestBodyThatBreaksOffIsNotPublished(t *testing.T) {
	g := startRig(t)
	c := connect(t, g.public)
	raw := publishRequest(valid)
	_, _ = io.WriteString(c, raw[:len(raw)-1])
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	readReply(t, c, bufio.NewReader(c), "POST").wantProblem(t, http.StatusBadRequest, "invalid_json")
	g.wantPublishes(t, 0)
}

// slowRequest never ends; the gateway must end it.
type slowRequest struct {
	name, raw string
	drip      bool // go on with a byte every 100 ms
	status    int
	code      wire.Code
}

// A body has its time, however the request would have been answered and
// whether or not a byte comes now and then. All rows run at once.
func TestSlowBodyDoesNotHoldAConnection(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Timing.Progress = 500 * time.Millisecond })
	post := func(path string, headers string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "Content-Length: 1000\r\n\r\n"
	}
	const json = "Content-Type: application/json\r\n"
	rows := []slowRequest{
		{"nothing comes", post("/publish", json), false, 408, "request_timeout"},
		{"a byte now and then", post("/publish", json), true, 408, "request_timeout"},
		{"chunks now and then", strings.Replace(post("/publish", json), "Content-Length: 1000", "Transfer-Encoding: chunked", 1), false, 408, "request_timeout"},
		{"100-continue, then nothing", post("/publish", json+"Expect: 100-continue\r\n"), false, 408, "request_timeout"},
		{"wrong media type", post("/publish", "Content-Type: text/plain\r\n"), false, 415, "unsupported_media_type"},
		{"wrong media type, a byte now and then", post("/publish", "Content-Type: text/plain\r\n"), true, 415, "unsupported_media_type"},
		{"unknown parameter", post("/publish?x=1", json), false, 400, "unknown_parameter"},
		{"unknown path", post("/nothing", json), false, 404, "not_found"},
		{"wrong method", strings.Replace(post("/publish", json), "POST", "PUT", 1), false, 405, "method_not_allowed"},
		{"foreign host", strings.Replace(post("/publish", json), "localhost", "evil.example", 1), false, 421, "host_not_allowed"},
		{"foreign page", post("/publish", json+"Origin: http://evil.example\r\n"), false, 403, "cross_origin"},
		{"GET with a body", strings.Replace(post("/livez", ""), "POST", "GET", 1), true, 200, ""},
	}
	var wg sync.WaitGroup
	for _, row := range rows {
		wg.Go(func() { g.slow(row) })
	}
	wg.Wait()
	g.wantPublishes(t, 0)
}

func (g *rig) slow(row slowRequest) {
	c := connect(g.t, g.public)
	_, _ = io.WriteString(c, row.raw)
	stop := make(chan struct{})
	defer close(stop)
	if row.drip {
		go func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					_, _ = c.Write([]byte{' '})
				case <-stop:
					return
				}
			}
		}()
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err == nil && res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(r, nil)
	}
	if err != nil {
		g.t.Errorf("%s: no answer: %v", row.name, err)
		return
	}
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != row.status || row.code != "" && !bytes.Contains(body, []byte(`"code":"`+row.code+`"`)) {
		g.t.Errorf("%s: got %d %s %v, want %d %s", row.name, res.StatusCode, body, err, row.status, row.code)
	}
	if a := (&reply{conn: c, r: r}); !a.ended() {
		g.t.Errorf("%s: the connection stays open behind half a body, want it closed", row.name)
	}
}
