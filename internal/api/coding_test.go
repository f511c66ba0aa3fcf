package api

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

func TestBodiesMayBeCompressed(t *testing.T) {
	g := startRig(t)
	const gz = "Content-Encoding: gzip"
	for name, req := range map[string]string{
		"publish":           publishRequest(zipped(valid), gz),
		"x-gzip":            publishRequest(zipped(valid), "Content-Encoding: X-GZIP"),
		"identity":          publishRequest(valid, "Content-Encoding: identity"),
		"raw":               request("POST", "/topics/a/b", zipped("on"), gz),
		"array":             request("POST", "/publish/batch", zipped("["+valid+"]"), gz, jsonType),
		"lines":             request("POST", "/publish/batch", zipped(valid+"\n"+valid), gz, ndjsonType),
		"two members":       publishRequest(zipped(valid[:10])+zipped(valid[10:]), gz),
		"utf8 without -":    request("POST", "/publish", valid, "Content-Type: application/json; charset=utf8"),
		"US-ASCII":          request("POST", "/publish", valid, `Content-Type: application/json; charset="US-ASCII"`),
		"lines as UTF8":     request("POST", "/publish/batch", valid, "Content-Type: application/x-ndjson; charset=UTF8"),
		"gzip and identity": publishRequest(zipped(valid), "Content-Encoding: identity, GZIP", "Content-Encoding: identity"),
		"identity twice":    publishRequest(valid, "Content-Encoding: identity,identity"),
		"ASCII":             request("POST", "/publish", valid, "Content-Type: application/json; charset=ascii"),
		"array, identity":   request("POST", "/publish/batch", "["+valid+"]", "Content-Encoding: Identity", jsonType),
	} {
		if a := exchange(t, g.public, req); a.status != http.StatusOK || bytes.Contains(a.body, []byte(`"code"`)) {
			t.Errorf("%s: got %d %s, want 200", name, a.status, a.body)
		} else if !a.open() && name != "lines" && name != "lines as UTF8" {
			t.Errorf("%s: the connection is closed, want it open", name)
		}
	}
	g.wantPublishes(t, 15)
}

// What comes out of a compressed body has the bounds of one that is not.
func TestCompressedBodiesAreBounded(t *testing.T) {
	g := startRig(t, func(o *Options) { o.MaxPayload = 1000 })
	const gz = "Content-Encoding: gzip"
	bomb := zipped(strings.Repeat("x", 16<<20))
	for name, row := range map[string]struct {
		request string
		status  int
		code    wire.Code
	}{
		"bomb":             {request("POST", "/topics/a", bomb, gz), 413, wire.CodePayloadTooLarge},
		"bomb of JSON":     {publishRequest(zipped(`{"topic":"a","payload":"`+strings.Repeat("x", 16<<20)+`"}`), gz), 413, wire.CodeBodyTooLarge},
		"broken":           {publishRequest(zipped(valid)[:20], gz), 400, wire.CodeInvalidJSON},
		"wrong checksum":   {publishRequest(zipped(valid)[:len(zipped(valid))-8]+"12345678", gz), 400, wire.CodeInvalidJSON},
		"not gzip":         {publishRequest(valid, gz), 400, wire.CodeInvalidJSON},
		"not gzip, raw":    {request("POST", "/topics/a", "on, in plain text", gz), 400, wire.CodeInvalidBody},
		"another way":      {publishRequest(valid, "Content-Encoding: br"), 415, wire.CodeUnsupportedEncoding},
		"two ways":         {publishRequest(valid, "Content-Encoding: gzip, gzip"), 415, wire.CodeUnsupportedEncoding},
		"byte-order mark":  {publishRequest("\xEF\xBB\xBF" + valid), 400, wire.CodeInvalidJSON},
		"mark in an array": {request("POST", "/publish/batch", "\xEF\xBB\xBF["+valid+"]", jsonType), 400, wire.CodeInvalidJSON},
	} {
		a := exchange(t, g.public, row.request)
		a.wantProblem(t, row.status, row.code)
		if strings.Contains(name, "mark") && !bytes.Contains(a.body, []byte("byte-order mark")) {
			t.Errorf("%s: got %s, want it named", name, a.body)
		}
	}
	if line := exchange(t, g.public, request("POST", "/publish/batch", valid, gz, ndjsonType)).body; !bytes.Contains(line, []byte(wire.CodeInvalidBody)) {
		t.Errorf("lines that are not gzip: got %s", line)
	}
	eventuallyTrue(t, "all is given back", func() bool { return g.server.bodies.bytes() == 0 })
	g.wantPublishes(t, 0)
}

// A client that sends a body in chunks may send an empty one where none is
// wanted.
func TestEmptyBodyMayComeInChunks(t *testing.T) {
	g := startRig(t)
	send := func(line, body string) *reply {
		return exchange(t, g.public, line+" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
	}
	for line, want := range map[string]int{"DELETE /topics/a": http.StatusOK, "POST /auth/ticket": http.StatusCreated, "GET /topics": http.StatusOK} {
		if a := send(line, "0\r\n\r\n"); a.status != want {
			t.Errorf("%s: got %d %s, want %d", line, a.status, a.body, want)
		}
	}
	const x = "1\r\nx\r\n0\r\n\r\n"
	send("DELETE /topics/a", x).wantProblem(t, http.StatusBadRequest, wire.CodeBodyNotAllowed)
	send("POST /auth/ticket", x).wantProblem(t, http.StatusUnsupportedMediaType, wire.CodeUnsupportedMediaType)
}

// trickle is an answer's writer that has read deadlines, and a body that brings
// some bytes at a time, after a pause.
type trickle struct {
	http.ResponseWriter
	deadline time.Time
	bytes    int
	pause    time.Duration
}

func (d *trickle) SetReadDeadline(t time.Time) error { d.deadline = t; return nil }

func (d *trickle) Read(p []byte) (int, error) {
	time.Sleep(d.pause) // of the bubble's clock
	if !time.Now().Before(d.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	return min(len(p), d.bytes), nil
}

func (*trickle) Close() error        { return nil }
func (*trickle) Header() http.Header { return http.Header{} }

// A picture over a slow uplink arrives: a body must make progress, not be
// short.
func TestBodyMustMakeProgress(t *testing.T) {
	for name, row := range map[string]struct {
		bytes int
		pause time.Duration
		want  time.Duration // until it is given up
	}{
		"steady":            {2048, 8 * time.Second, 5 * time.Minute},
		"1 KiB in 10 s":     {103, time.Second, 5 * time.Minute},
		"less":              {50, time.Second, 12 * time.Second},
		"nothing":           {0, 3 * time.Second, 12 * time.Second},
		"fast, without end": {1 << 20, time.Millisecond, 5 * time.Minute},
		"too long a pause":  {4096, 12 * time.Second, 12 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &Server{opts: Options{Timing: Timing{}.withDefaults()}}
			d := &trickle{bytes: row.bytes, pause: row.pause}
			s.expectBody(d, &http.Request{Header: http.Header{}}, time.Now())
			body, began, p := s.steady(d, d), time.Now(), make([]byte, 1<<20)
			var err error
			for err == nil {
				_, err = body.Read(p)
			}
			if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took < row.want-12*time.Second || took > row.want+12*time.Second {
				t.Errorf("%s: got %v after %v, want the deadline after about %v", name, err, took, row.want)
			}
		})
	}
}

// Lists, history and documents come compressed to those who ask for it; values
// and short answers do not.
func TestListsComeCompressedWhereAskedFor(t *testing.T) {
	g := startRig(t, func(o *Options) {
		o.Hub = hub.New(hub.Options{Upstream: &memoryBroker{}, HistoryBytes: 64 << 20})
		o.Console = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = io.WriteString(w, strings.Repeat("let x\n", 1000))
		})
	})
	lists := g.server.opts.Hub
	lists.BrokerUp(false)
	t.Cleanup(lists.Close)
	for i := range 100 {
		lists.Ingest(hub.Inbound{Topic: fmt.Sprint("list/", i), Payload: bytes.Repeat([]byte("x"), 100)})
	}
	for path, want := range map[string]bool{
		"/topics": true, "/topics?limit=1": false, "/history?filter=%23": true, "/openapi.yaml": true, "/asyncapi.yaml": true, "/docs/errors": true, "/console/app.js": true,
		"/topics/list/1": false, "/livez": false, "/topics?limit=0": false,
	} {
		plain := exchange(t, g.public, request("GET", path, ""))
		a := exchange(t, g.public, request("GET", path, "", "Accept-Encoding: gzip"))
		if got := a.header.Get("Content-Encoding") == "gzip"; got != want || a.status != plain.status {
			t.Errorf("%s: got status %d, compressed %t, want %d and %t", path, a.status, got, plain.status, want)
			continue
		}
		if !want {
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(a.body))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if text, err := io.ReadAll(z); err != nil || !bytes.Equal(text, plain.body) || len(a.body) >= len(text) {
			t.Errorf("%s: got %d bytes that become %d (%v), want %d", path, len(a.body), len(text), err, len(plain.body))
		}
		if vary := strings.Join(a.header.Values("Vary"), ","); !strings.Contains(vary, "Accept-Encoding") || plain.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: got Vary %q, want Accept-Encoding in it", path, vary)
		}
		if a := exchange(t, g.public, request("GET", path, "", "Accept-Encoding: gzip;q=0, br")); a.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: compressed for a client that does not take it", path)
		}
	}
}
