package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawConn is a connection on which a test says what no library would.
type rawConn struct {
	t testing.TB
	*net.TCPConn
	r *bufio.Reader
}

// connect opens one and says something; the gateway need not read all of it.
func (g *gateway) connect(t testing.TB, said string) *rawConn {
	t.Helper()
	c, err := net.Dial("tcp", g.host())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	raw := &rawConn{t, c.(*net.TCPConn), bufio.NewReader(c)}
	go func() { _, _ = io.WriteString(c, said) }()
	return raw
}

// text is the request as it is sent, with a body that is announced to have so
// many bytes; -1: its own.
func (r request) text(host string, announced int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, host)
	for name, value := range r.header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if announced < 0 {
		announced = len(r.body)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", announced, r.body)
	return b.String()
}

// answer reads one HTTP answer.
func (c *rawConn) answer() answer {
	c.t.Helper()
	a, err := c.tryAnswer()
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	return a
}

func (c *rawConn) tryAnswer() (answer, error) {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return answer{}, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return answer{status: res.StatusCode, header: res.Header}, nil
	}
	defer res.Body.Close()
	return read(res)
}
