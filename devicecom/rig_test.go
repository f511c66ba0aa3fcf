package devicecom

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// patience is for what must come, on a machine that is busy.
const patience = 2 * time.Minute

// documented is the configuration that the device documentation shows, with the
// limits that lose nothing in a burst.
const documented = "../mosquitto/server_settings.conf"

func startBroker(t *testing.T, opts ...brokertest.Option) *brokertest.Broker {
	return brokertest.Start(t, append([]brokertest.Option{brokertest.ConfFile(documented)}, opts...)...)
}

// settingsFor writes a settings.ini for the broker at host:port, with more lines.
func settingsFor(t *testing.T, address string, more ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return writeSettings(t, append([]string{"[system]", "ip_address = " + host, "mqtt_port = " + port}, more...)...)
}

func writeSettings(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.ini")
	write(t, path, strings.Join(lines, "\n")+"\n")
	return path
}

// connect connects to host:port and closes at the end of the test. What is not
// set in o is shorter than usual.
func connect(t *testing.T, address string, o Options, lines ...string) *Values {
	t.Helper()
	o.SettingsFile = settingsFor(t, address, lines...)
	vals, err := ConnectBrokerContext(t.Context(), quick(t, o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vals.Close() })
	return vals
}

func quick(t *testing.T, o Options) Options {
	if o.timing == (timing{}) {
		o.timing = usual
		o.timing.minPause, o.timing.maxPause = 20*time.Millisecond, 200*time.Millisecond
	}
	o.Timeout = orElse(o.Timeout, patience)
	o.Logger = orElse(o.Logger, slog.New(newLogbook(t)))
	return o
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// next is a message of All.
func next(t *testing.T, vals *Values) Message {
	t.Helper()
	for m := range vals.All(within(t)) {
		return m
	}
	t.Fatal("no message came")
	return Message{}
}

func publish(t *testing.T, c *brokertest.Client, topic string, payload any, retain bool) {
	t.Helper()
	if err := c.Publish(topic, fmt.Append(nil, payload), 1, retain); err != nil {
		t.Fatal(err)
	}
}

// logbook is a slog.Handler whose lines a test can wait for.
type logbook struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced by each line
}

func newLogbook(*testing.T) *logbook { return &logbook{more: make(chan struct{})} }

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logbook) WithGroup(string) slog.Handler            { return l }

func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	close(l.more)
	l.more = make(chan struct{})
	return nil
}

func (l *logbook) look() ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines), l.more
}

// wait waits until n lines contain text.
func (l *logbook) wait(t *testing.T, text string, n int) {
	t.Helper()
	timeout := time.After(patience)
	for {
		lines, more := l.look()
		count := 0
		for _, line := range lines {
			if strings.Contains(line, text) {
				count++
			}
		}
		if count >= n {
			return
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("log: got %q, want %d times %q", lines, n, text)
		}
	}
}

const (
	lostLine  = "the connection to the broker was lost"
	againLine = "connected to the broker again"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
		panic("unreachable")
	}
}

// until looks at a condition again and again until it holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("within %v: not %s", patience, what)
		}
	}
}
