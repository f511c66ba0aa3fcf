package test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stream is an open GET /events that is read line by line.
type stream struct {
	t    testing.TB
	res  *http.Response
	r    *bufio.Reader
	body strings.Builder // read so far
}

// open begins a stream. It is cut when it lasts longer than a test waits.
func (g *gateway) open(t testing.TB, path string, header map[string]string) *stream {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := g.client.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: got %v %v, want 200", path, res, err)
	}
	cut := time.AfterFunc(patience, func() { _ = res.Body.Close() })
	t.Cleanup(func() {
		cut.Stop()
		_ = res.Body.Close()
	})
	return &stream{t: t, res: res, r: bufio.NewReader(res.Body)}
}

// stream opens a stream of everything and waits until it is subscribed.
func (g *gateway) stream(t testing.TB, format string) *stream {
	t.Helper()
	before := g.metric("gateway_subscriptions")
	s := g.open(t, "/events?topic=%23&format="+format, nil)
	eventually(t, "the stream is subscribed", func() bool { return g.metric("gateway_subscriptions") > before })
	return s
}

// line is the next line, with its end.
func (s *stream) line(wanted string) string {
	s.t.Helper()
	line, err := s.r.ReadString('\n')
	s.body.WriteString(line)
	if err != nil {
		s.t.Fatalf("the stream ended without %s: %v\n%s", wanted, err, tail(s.body.String(), 4000))
	}
	return line
}

// next gives the next line that begins with start, without it.
func (s *stream) next(start string) string {
	s.t.Helper()
	for {
		if rest, found := strings.CutPrefix(s.line(start), start); found {
			return strings.TrimSuffix(rest, "\n")
		}
	}
}

// until reads to the end of the object that has this text.
func (s *stream) until(text string) {
	s.t.Helper()
	for seen := false; ; {
		line := s.line(text)
		seen = seen || strings.Contains(line, text)
		if seen && !strings.HasPrefix(line, "data:") { // an event ends behind its data
			return
		}
	}
}

// end hangs up and gives what was read.
func (s *stream) end() answer {
	_ = s.res.Body.Close()
	return answer{status: s.res.StatusCode, header: s.res.Header, body: s.body.String()}
}
