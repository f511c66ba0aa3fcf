package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/client"
)

// patience is how long a busy machine may take.
const patience = 2 * time.Minute

var (
	binary string
	shared string // address of the gateway that the examples use, and tests that leave it as it is
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/gateway").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("go build: %v\n%s", err, out))
	}
	g, err := launch(nil)
	if err != nil {
		panic(err)
	}
	defer g.stop()
	shared = "http://" + g.addr
	_ = os.Setenv("GATEWAY_URL", shared)
	return m.Run()
}

// gateway is a real one, as a process with its built-in broker.
type gateway struct {
	cmd          *exec.Cmd
	leash        io.Closer // the gateway ends with it, and so with the test program
	log          *output
	addr, broker string // host:port
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// launch runs a gateway with these settings, on free ports, until it is ready.
func launch(env map[string]string) (*gateway, error) {
	g := &gateway{cmd: exec.Command("sh", "-c", `"$0" & cat; kill -9 $!`, binary), log: &output{}}
	g.cmd.Stdout, g.cmd.Stderr = io.Discard, g.log
	g.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "GATEWAY_HTTP_ADDR=127.0.0.1:0", "GATEWAY_ADMIN_ADDR=127.0.0.1:0", "GATEWAY_EMBEDDED_ADDR=127.0.0.1:0",
		"GATEWAY_LOG_FORMAT=json", "GATEWAY_PUBLISH_TIMEOUT=1m", "GATEWAY_SHUTDOWN_TIMEOUT=90s",
	}
	for name, value := range env {
		g.cmd.Env = append(g.cmd.Env, name+"="+value)
	}
	leash, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	g.leash = leash
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // between two looks
		for line := range strings.Lines(g.log.String()) {
			var l struct{ HTTP, Addr string }
			if json.Unmarshal([]byte(line), &l) == nil && l.HTTP != "" {
				g.addr = l.HTTP
			} else if l.Addr != "" {
				g.broker = l.Addr
			}
		}
		if g.addr != "" {
			res, err := once.Get("http://" + g.addr + "/readyz")
			if err == nil {
				_ = res.Body.Close()
				if res.StatusCode == http.StatusOK {
					return g, nil
				}
			}
		}
		if time.Now().After(end) {
			g.stop()
			return nil, fmt.Errorf("the gateway is not ready: %s", g.log)
		}
	}
}

// once keeps no connection.
var once = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (g *gateway) stop() {
	_ = g.leash.Close()
	_ = g.cmd.Wait()
}

// start is launch for a test, and ends with it.
func start(t *testing.T, env map[string]string) *gateway {
	t.Helper()
	g, err := launch(env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.stop()
		if log := g.log.String(); t.Failed() {
			t.Logf("gateway log (end):\n%s", log[max(0, len(log)-4000):])
		}
	})
	return g
}

// restart ends the gateway and runs another one at the same addresses.
func (g *gateway) restart(t *testing.T, env map[string]string) *gateway {
	t.Helper()
	g.stop()
	all := map[string]string{"GATEWAY_HTTP_ADDR": g.addr}
	for name, value := range env {
		all[name] = value
	}
	return start(t, all)
}

// dial gives a client that ends with the test and leaves nothing behind.
func dial(t *testing.T, addr string, options client.Options) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	c, err := client.Dial(ctx, addr, options)
	if err != nil {
		t.Fatal(err)
	}
	clients++
	t.Cleanup(func() {
		c.Close()
		if clients--; clients == 0 {
			nothingIsLeft(t)
		}
	})
	return c
}

// clients counts those that the test has, and has not closed.
var clients int

// nothingIsLeft waits until no goroutine of a closed client is there.
func nothingIsLeft(t *testing.T) {
	t.Helper()
	eventually(t, "no goroutine is left", func() bool { return len(leftovers()) == 0 })
}

// leftovers are the stacks of goroutines that run the client's code, or that of
// connections.
func leftovers() []string {
	b := make([]byte, 4<<20)
	b = b[:runtime.Stack(b, true)]
	var found []string
	for _, stack := range strings.Split(string(b), "\n\n") {
		if strings.Contains(stack, "client_test.leftovers") {
			continue
		}
		if strings.Contains(stack, "vulturepi/gateway/client.") || strings.Contains(stack, "coder/websocket") || strings.Contains(stack, "http.(*persistConn)") {
			found = append(found, stack)
		}
	}
	return found
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) { // between two looks
		if time.Now().After(end) {
			t.Fatalf("still not so: %s\n%s", what, strings.Join(leftovers(), "\n\n"))
		}
	}
}

// freeAddr is an address where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// reader loops over a subscription in a goroutine of its own.
type reader struct {
	t    *testing.T
	done chan struct{}

	mu     sync.Mutex
	events []client.Event // guarded by mu
	errs   []error        // guarded by mu
}

func read(t *testing.T, sub *client.Subscription) *reader {
	r := &reader{t: t, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for event, err := range sub.Events() {
			r.mu.Lock()
			if err != nil {
				r.errs = append(r.errs, err)
			} else {
				r.events = append(r.events, event)
			}
			r.mu.Unlock()
		}
	}()
	t.Cleanup(func() { sub.Close(); <-r.done })
	return r
}

func (r *reader) all() ([]client.Event, []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events), slices.Clone(r.errs)
}

// live are the messages that are no copies, copies the others.
func (r *reader) live() (live, copies []*client.Message) {
	events, _ := r.all()
	for _, e := range events {
		if m, ok := e.(*client.Message); ok && m.Cursor != "" {
			live = append(live, m)
		} else if ok {
			copies = append(copies, m)
		}
	}
	return live, copies
}

func (r *reader) gaps() []*client.Gap {
	var all []*client.Gap
	events, _ := r.all()
	for _, e := range events {
		if g, ok := e.(*client.Gap); ok {
			all = append(all, g)
		}
	}
	return all
}

// waitLive waits for so many live messages.
func (r *reader) waitLive(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d messages came", n), func() bool { live, _ := r.live(); return len(live) >= n })
}

// inOrder checks that every topic has the numbers from 0 on, each once and in
// order, and returns how many there are.
func inOrder(t *testing.T, messages []*client.Message) int {
	t.Helper()
	next := map[string]int{}
	for _, m := range messages {
		if want := fmt.Sprint(next[m.Topic]); string(m.Payload) != want {
			t.Fatalf("%s: got %s, want %s", m.Topic, m.Payload, want)
		}
		next[m.Topic]++
	}
	return len(messages)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func sha256Hex(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

var uniques atomic.Int64

// unique is a name that no other test has, nor the same one when it is run again.
func unique(name string) string { return fmt.Sprintf("%s-%d", name, uniques.Add(1)) }
