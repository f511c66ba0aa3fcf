package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/wire"
)

// patience is how long a test waits for something that should be quick.
const patience = 30 * time.Second

// gateway is the whole program, running inside the test on free ports.
type gateway struct {
	t         testing.TB
	url       string // of the public listener
	admin     string
	ws        string
	brokerPID int
	log       *logBuffer

	stop context.CancelFunc
	done chan error
}

// start runs the gateway with env on top of an empty environment, and waits
// until it listens. It ends with the test.
func start(t testing.TB, env map[string]string) *gateway {
	t.Helper()
	setenv(t, map[string]string{"GATEWAY_HTTP_ADDR": "127.0.0.1:0", "GATEWAY_ADMIN_ADDR": "127.0.0.1:0", "GATEWAY_LOG_FORMAT": "json", "GATEWAY_LOG_LEVEL": "debug"})
	setenv(t, env)
	cfg, _, err := config.Load()
	if err != nil {
		t.Fatalf("configuration: %v", err)
	}
	g := &gateway{t: t, log: &logBuffer{}, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	listening := make(chan addresses, 1)
	go func() {
		g.done <- serve(ctx, cfg, newLoggerForTest(g.log), func(a addresses) { listening <- a })
	}()
	select {
	case a := <-listening:
		g.url, g.admin, g.ws, g.brokerPID = "http://"+a.HTTP, "http://"+a.Admin, "ws://"+a.HTTP+"/ws", a.BrokerPID
	case err := <-g.done:
		t.Fatalf("the gateway did not start: %v\n%s", err, g.log)
	}
	t.Cleanup(func() {
		g.shutdown()
		if t.Failed() {
			t.Logf("gateway log (end):\n%s", tail(g.log.String(), 8000))
		}
	})
	return g
}

// startReady is start, and waits until the gateway is ready.
func startReady(t testing.TB, brokerURL string, env map[string]string) *gateway {
	t.Helper()
	setenv(t, map[string]string{"GATEWAY_MQTT_URL": brokerURL})
	g := start(t, env)
	g.waitReady(http.StatusOK)
	return g
}

// shutdown stops the gateway as SIGTERM does and returns what serve returned.
func (g *gateway) shutdown() error {
	g.stop()
	err, open := <-g.done
	if open {
		close(g.done)
	}
	return err
}

func (g *gateway) waitReady(status int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("/readyz answers %d", status), func() bool {
		res, err := http.Get(g.admin + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == status
	})
}

// metric reads one sample from /metrics; labels are written as there.
func (g *gateway) metric(name string) float64 {
	g.t.Helper()
	for line := range strings.Lines(g.get(g.admin + "/metrics")) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err != nil {
				g.t.Fatalf("metric %s: %v", name, err)
			}
			return v
		}
	}
	return 0
}

func (g *gateway) get(url string) string {
	g.t.Helper()
	res, err := http.Get(url)
	if err != nil {
		g.t.Fatalf("GET %s: %v", url, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatalf("GET %s: %v", url, err)
	}
	return string(b)
}

// answer is an HTTP answer, read.
type answer struct {
	status  int
	header  http.Header
	body    string
	problem wire.Problem // set if the body is one
}

// post publishes body as JSON.
func (g *gateway) post(body string) answer {
	g.t.Helper()
	a, err := g.tryPost(body)
	if err != nil {
		g.t.Fatalf("POST /publish: %v", err)
	}
	return a
}

func (g *gateway) tryPost(body string) (answer, error) {
	res, err := http.Post(g.url+"/publish", "application/json", strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(b)}
	if res.Header.Get("Content-Type") == "application/problem+json" {
		err = json.Unmarshal(b, &a.problem)
	}
	return a, err
}

// frame is any frame from the gateway.
type frame struct {
	wire.Message
	ID        json.RawMessage
	Results   []wire.Result
	Status    int
	Delivery  string
	Problem   *wire.Problem
	Reason    string
	Certain   bool
	After     string
	Before    string
	Connected bool
	Epoch     string
	Resumed   *bool
	Limits    wire.Limits
	raw       string
}

// socket is a WebSocket client that reads into memory as fast as it can.
type socket struct {
	t    testing.TB
	conn *websocket.Conn

	mu     sync.Mutex // guards all below
	frames []frame
	err    error // why reading ended
	change chan struct{}
}

// dial opens a WebSocket and waits for the welcome. query is what stands
// behind /ws, with its question mark.
func (g *gateway) dial(query string) *socket {
	g.t.Helper()
	s, err := g.tryDial(query)
	if err != nil {
		g.t.Fatalf("WebSocket %s: %v", query, err)
	}
	s.wait("welcome", func(f frame) bool { return f.Type == "welcome" })
	return s
}

func (g *gateway) tryDial(query string) (*socket, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, g.ws+query, &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", err, res)
	}
	conn.SetReadLimit(-1)
	s := &socket{t: g.t, conn: conn, change: make(chan struct{})}
	go s.read()
	g.t.Cleanup(func() { _ = conn.CloseNow() })
	return s, nil
}

func (s *socket) read() {
	for {
		_, b, err := s.conn.Read(context.Background())
		f := frame{raw: string(b)}
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		s.mu.Lock()
		if err == nil {
			s.frames = append(s.frames, f)
		} else {
			s.err = err
		}
		close(s.change)
		s.change = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send writes one op.
func (s *socket) send(op string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, []byte(op)); err != nil {
		s.t.Fatalf("send %s: %v", op, err)
	}
}

// subscribe subscribes and waits for the ack.
func (s *socket) subscribe(filters ...string) frame {
	s.t.Helper()
	b, _ := json.Marshal(map[string]any{"op": "subscribe", "id": "sub " + strings.Join(filters, " "), "topics": filters})
	id, _ := json.Marshal("sub " + strings.Join(filters, " "))
	s.send(string(b))
	return s.wait("ack", func(f frame) bool { return f.Type == "ack" && bytes.Equal(f.ID, id) })
}

// all returns the frames so far.
func (s *socket) all() []frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames[:len(s.frames):len(s.frames)]
}

// messages returns the message frames so far.
func (s *socket) messages() []frame {
	var m []frame
	for _, f := range s.all() {
		if f.Type == "message" {
			m = append(m, f)
		}
	}
	return m
}

// wait waits for a frame and returns it.
func (s *socket) wait(what string, match func(frame) bool) frame {
	s.t.Helper()
	var found frame
	s.until(what, func(frames []frame) bool {
		for _, f := range frames {
			if match(f) {
				found = f
				return true
			}
		}
		return false
	})
	return found
}

// waitMessages waits for n messages and returns them.
func (s *socket) waitMessages(n int) []frame {
	s.t.Helper()
	have, seen := 0, 0
	s.until(fmt.Sprintf("%d messages", n), func(frames []frame) bool {
		for ; seen < len(frames); seen++ {
			if frames[seen].Type == "message" {
				have++
			}
		}
		return have >= n
	})
	return s.messages()
}

// until waits until the frames so far please done.
func (s *socket) until(what string, done func([]frame) bool) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		frames, err, change := s.frames, s.err, s.change
		s.mu.Unlock()
		if done(frames) {
			return
		}
		if err != nil {
			s.t.Fatalf("waiting for %s: the connection ended: %v; frames: %s", what, err, lastFrames(frames))
		}
		select {
		case <-change:
		case <-timeout:
			s.t.Fatalf("waiting for %s: timed out; %d frames: %s", what, len(frames), lastFrames(frames))
		}
	}
}

func lastFrames(frames []frame) string {
	var b strings.Builder
	for _, f := range frames[max(0, len(frames)-10):] {
		b.WriteString("\n  " + f.raw)
	}
	return b.String()
}

// sync sends a ping op and waits for its pong: everything that the gateway
// queued for this socket before is here then.
func (s *socket) sync() {
	s.t.Helper()
	id := fmt.Sprintf("%q", fmt.Sprint("sync ", time.Now().UnixNano()))
	s.send(`{"op":"ping","id":` + id + `}`)
	s.wait("pong", func(f frame) bool { return f.Type == "pong" && string(f.ID) == id })
}

// closed waits for the end of the connection and returns its close code, -1
// without one.
func (s *socket) closed() int {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		err, change := s.err, s.change
		s.mu.Unlock()
		if err != nil {
			return int(websocket.CloseStatus(err))
		}
		select {
		case <-change:
		case <-timeout:
			s.t.Fatalf("the connection stays open; frames: %s", lastFrames(s.all()))
		}
	}
}

func setenv(t testing.TB, env map[string]string) {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
}

// eventually waits for a condition that nothing signals.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func newLoggerForTest(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// logBuffer is a log that a test can read while it grows.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// The test binary is the gateway, too, so that it can run its own broker and
// be tested as a process.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_GATEWAY") == "1" || len(os.Args) > 1 && os.Args[1] == "broker" {
		main()
		return
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "GATEWAY_") {
			_ = os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}
