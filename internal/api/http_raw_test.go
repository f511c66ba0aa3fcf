package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// reply is an HTTP answer with the connection that it came on.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
	conn   net.Conn
	r      *bufio.Reader
}

// connect opens a TCP connection that ends with the test.
func connect(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange writes the bytes of a request as they are and reads the answer.
func exchange(t testing.TB, addr, request string) *reply {
	t.Helper()
	return exchangeOn(t, connect(t, addr), request)
}

// exchangeOn is exchange on a connection that is there.
func exchangeOn(t testing.TB, c net.Conn, request string) *reply {
	t.Helper()
	go func() { _, _ = io.WriteString(c, request) }() // the answer may come before all is written
	method, _, _ := strings.Cut(request, " ")
	return readReply(t, c, bufio.NewReader(c), method)
}

func readReply(t testing.TB, c net.Conn, r *bufio.Reader, method string) *reply {
	t.Helper()
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	a := &reply{t: t, status: res.StatusCode, header: res.Header, conn: c, r: r}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return a
	}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		t.Fatalf("the answer breaks off: %v", err)
	}
	return a
}

// get is a plain request with extra header lines.
func (g *rig) get(path string, headers ...string) *reply {
	g.t.Helper()
	return exchange(g.t, g.public, request("GET", path, "", headers...))
}

// request puts a request together. Host is localhost unless a header names it.
func request(method, target, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, target)
	hasHost := false
	for _, h := range headers {
		hasHost = hasHost || strings.HasPrefix(h, "Host:")
		b.WriteString(h + "\r\n")
	}
	if !hasHost {
		b.WriteString("Host: localhost\r\n")
	}
	if body != "" || method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// publishRequest is a POST /publish of JSON with extra header lines.
func publishRequest(body string, headers ...string) string {
	return request("POST", "/publish", body, append([]string{"Content-Type: application/json"}, headers...)...)
}

// open reports whether the connection answers another request.
func (a *reply) open() bool {
	if _, err := io.WriteString(a.conn, request("GET", "/livez", "")); err != nil {
		return false
	}
	res, err := http.ReadResponse(a.r, nil)
	return err == nil && res.StatusCode == http.StatusOK
}

// ended reports whether the gateway closes the connection without another word.
func (a *reply) ended() bool {
	n, err := io.Copy(io.Discard, a.r)
	if e, timeout := err.(net.Error); timeout && e.Timeout() { //nolint:errorlint // straight from the socket
		return false
	}
	return n == 0
}

// wantProblem checks that the answer is that problem and has the whole shape
// of one.
func (a *reply) wantProblem(t testing.TB, status int, code wire.Code) (p wire.Problem) {
	t.Helper()
	if a.status != status {
		t.Errorf("got status %d, want %d; body %.300s", a.status, status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("got Content-Type %q, want application/problem+json; body %.300s", got, a.body)
		return p
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", got)
	}
	if bytes.Contains(a.body, []byte(canary)) {
		t.Errorf("the answer repeats what the client sent: %.300s", a.body)
	}
	if len(a.body) > 64<<10 {
		t.Errorf("the answer has %d bytes, want at most 64 KiB", len(a.body))
	}
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Errorf("the answer is no problem: %v; %.300s", err, a.body)
		return p
	}
	if p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("got request_id %q, want that of the header %q", p.RequestID, a.header.Get("X-Request-Id"))
	}
	checkProblem(t, &p, status, code)
	return p
}

// checkProblem checks the members that every problem has.
func checkProblem(t testing.TB, p *wire.Problem, status int, code wire.Code) {
	t.Helper()
	if p.Code != code || p.Status != status {
		t.Errorf("got code %q status %d, want %q %d; detail %q", p.Code, p.Status, code, status, p.Detail)
	}
	if strings.TrimLeft(p.Type, "./") != "docs/errors#"+string(p.Code) || p.Title == "" || p.Detail == "" || p.RequestID == "" {
		t.Errorf("got an incomplete problem %+v", p)
	}
	for _, f := range p.Errors {
		if !strings.HasPrefix(f.Pointer, "/") || f.Detail == "" || len(f.Pointer) > 256 {
			t.Errorf("got error %+v, want a pointer of at most 256 bytes and a detail", f)
		}
	}
}
