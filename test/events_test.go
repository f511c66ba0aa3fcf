package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// curl is a running curl -N that prints a stream.
type curl struct {
	t      *testing.T
	g      *gateway
	cmd    *exec.Cmd
	stderr output
	ended  chan struct{} // standard output is read to its end

	mu     sync.Mutex // guards all below
	lines  []string
	change chan struct{}
}

// curl starts curl -N with more arguments and waits until it is subscribed.
func (g *gateway) curl(t *testing.T, query string, args ...string) *curl {
	t.Helper()
	before := g.metric("gateway_subscriptions")
	args = append([]string{"-sS", "-N", "--fail-with-body"}, append(args, g.url+"/events?"+query)...)
	c := &curl{t: t, g: g, cmd: exec.Command("curl", args...), ended: make(chan struct{}), change: make(chan struct{})}
	c.cmd.Stderr = &c.stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatalf("curl: %v", err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			c.mu.Lock()
			c.lines = append(c.lines, lines.Text())
			close(c.change)
			c.change = make(chan struct{})
			c.mu.Unlock()
		}
	}()
	eventually(t, "curl is subscribed", func() bool { return g.metric("gateway_subscriptions") > before })
	return c
}

// until waits until the lines so far please done.
func (c *curl) until(what string, done func(lines []string) bool) []string {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		c.mu.Lock()
		lines, change := slices.Clone(c.lines), c.change
		c.mu.Unlock()
		if done(lines) {
			return lines
		}
		select {
		case <-change:
		case <-timeout:
			c.t.Fatalf("waiting for %s: timed out behind %q; %s", what, lines[max(0, len(lines)-10):], &c.stderr)
		}
	}
}

// line waits for a line that begins so.
func (c *curl) line(start string) {
	c.t.Helper()
	c.until(start, func(lines []string) bool {
		return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, start) })
	})
}

// exit waits for curl's end and gives its exit status.
func (c *curl) exit() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatal("curl goes on")
	}
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}

// kill kills curl, waits until the gateway knows, and gives all lines.
func (c *curl) kill() []string {
	c.t.Helper()
	before := c.g.metric("gateway_subscriptions")
	_ = c.cmd.Process.Kill()
	c.exit()
	eventually(c.t, "the gateway sees that curl is gone", func() bool { return c.g.metric("gateway_subscriptions") < before })
	return c.lines
}

func TestCurlPrintsTheStreamInEveryFormat(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	raw := brokertest.Dial(t, broker.Addr())
	if err := raw.Publish("c/kept", []byte("old"), 1, true); err != nil {
		t.Fatal(err)
	}
	curls := map[string]*curl{
		"sse": g.curl(t, "topic=c/%23", "-H", "Accept: text/event-stream"), "ndjson": g.curl(t, "topic=c/%23"), "text": g.curl(t, "topic=c/%23&format=text"),
	}
	for name, want := range map[string]string{"sse": `data: {"type":"message","topic":"c/kept","payload":"old"`, "ndjson": `{"type":"message","topic":"c/kept","payload":"old"`, "text": "old"} {
		curls[name].line(want)
	}
	for i := range 5 { // each comes before the next is published
		if err := raw.Publish("c/live", fmt.Appendf(nil, "2%d.50", i), 1, false); err != nil {
			t.Fatal(err)
		}
		curls["sse"].line(fmt.Sprintf(`data: {"type":"message","topic":"c/live","payload":2%d.50,"encoding":"json"`, i))
		curls["ndjson"].line(fmt.Sprintf(`{"type":"message","topic":"c/live","payload":2%d.50,"encoding":"json"`, i))
		curls["text"].line(fmt.Sprintf("2%d.50", i))
	}
	if err := g.shutdown(); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	for name, c := range curls {
		if got := c.exit(); got != 0 {
			t.Errorf("%s: curl ended with %d %s, want 0: the stream ends in order", name, got, &c.stderr)
		}
	}
	if got, want := strings.Join(curls["text"].lines, " "), "old 20.50 21.50 22.50 23.50 24.50"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
}

// sseIDs gives the last id of an event stream, and the payloads with an id.
func sseIDs(t *testing.T, lines []string) (last string, payloads []string) {
	t.Helper()
	id := ""
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, "id: "); ok {
			id = v
		}
		data, ok := strings.CutPrefix(l, "data: ")
		if !ok {
			continue
		}
		var f frame
		if err := json.Unmarshal([]byte(data), &f); err != nil {
			break // curl was killed in the middle of a line
		}
		if f.Type == "gap" {
			t.Errorf("got a gap: %s", l)
		}
		if f.Type == "message" && f.Cursor == id {
			payloads = append(payloads, string(f.Payload))
		}
		last = id
	}
	return last, payloads
}

func TestCurlResumesWhereItWasKilled(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	l := startTraffic(t, broker.Addr(), 1, time.Millisecond)
	c := g.curl(t, "topic=load/%23", "-H", "Accept: text/event-stream")
	var all []string
	for range 10 {
		c.until("some messages", func(lines []string) bool { return len(lines) > 60 })
		last, payloads := sseIDs(t, c.kill())
		all = append(all, payloads...)
		acked := l.acked[0].Load()
		eventually(t, "some are missed", func() bool { return l.acked[0].Load() > acked+20 })
		c = g.curl(t, "topic=load/%23", "-H", "Accept: text/event-stream", "-H", "Last-Event-ID: "+last)
	}
	l.stop()
	newest := fmt.Sprintf(`data: {"type":"message","topic":"load/0","payload":%d,`, l.acked[0].Load())
	c.line(newest)
	_, payloads := sseIDs(t, c.kill())
	all = append(all, payloads...)
	var first, n int
	for i, p := range all {
		if _, err := fmt.Sscan(p, &n); err != nil {
			t.Fatalf("payload %q: %v", p, err)
		}
		if i == 0 {
			first = n
		}
		if n != first+i {
			t.Fatalf("message %d: got number %d, want %d: nothing is missed, nothing comes twice", i, n, first+i)
		}
	}
	if int64(n) != l.acked[0].Load() {
		t.Errorf("the last one has number %d, want %d", n, l.acked[0].Load())
	}
}

func TestBrokerChangesAreNamedEvents(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	c := g.curl(t, "topic=a", "-H", "Accept: text/event-stream")
	c.line("event: ack")
	broker.Stop()
	c.line(`data: {"type":"broker","connected":false`)
	g.waitReady(503)
	late := g.curl(t, "topic=a", "-H", "Accept: text/event-stream") // who comes now is told first
	late.line("event: ack")
	broker.StartAgain()
	c.line(`data: {"type":"broker","connected":true`)
	late.line(`data: {"type":"broker","connected":true`)
	events := func(lines []string) (names []string) {
		for _, l := range lines {
			if name, ok := strings.CutPrefix(l, "event: "); ok {
				names = append(names, name)
			}
		}
		return names
	}
	if got, want := strings.Join(events(c.kill()), " "), "ack broker gap broker"; got != want {
		t.Errorf("who stayed: got events %q, want %q", got, want)
	}
	if got, want := strings.Join(events(late.kill()), " "), "broker ack gap broker"; got != want {
		t.Errorf("who came meanwhile: got events %q, want %q", got, want)
	}
	for i, l := range c.lines {
		if kind := strings.TrimPrefix(l, "event: "); kind == "broker" && !strings.HasPrefix(c.lines[i+1], `data: {"type":"broker"`) ||
			kind == "gap" && (!strings.HasPrefix(c.lines[i+1], "id: ") || !strings.HasPrefix(c.lines[i+2], `data: {"type":"gap"`)) {
			t.Errorf("got %q, want a broker event without id and a gap with one", c.lines[i:i+3])
		}
	}
}
