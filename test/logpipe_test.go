package test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// pipedLog is the standard output and error of a gateway, as a shell's | has
// them: the test is the program behind it.
type pipedLog struct {
	*os.File
	lines *bufio.Scanner
}

// launchPiped runs the gateway with its output in a pipe, and reads the log up
// to the line that says where it listens.
func launchPiped(t *testing.T) (*process, *gateway, *pipedLog) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	env := variables(map[string]string{"GATEWAY_MQTT_URL": brokertest.Start(t).URL(), "GATEWAY_SHUTDOWN_TIMEOUT": "1h"})
	p := launchTo(t, w, w, env)
	_ = w.Close()
	log := &pipedLog{r, bufio.NewScanner(r)}
	g := newGateway(t)
	for g.url == "" {
		at := log.next(t, "gateway listens")
		g.at(at.HTTP, at.Admin)
	}
	g.waitReady(http.StatusOK)
	return p, g, log
}

// next reads the log up to a message, which must come in time.
func (l *pipedLog) next(t *testing.T, message string) logLine {
	t.Helper()
	if err := l.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for l.lines.Scan() {
		var line logLine
		if err := json.Unmarshal(l.lines.Bytes(), &line); err != nil {
			t.Fatalf("log line %q: %v", l.lines.Text(), err)
		}
		if line.Msg == message {
			return line
		}
	}
	t.Fatalf("the log ended without %q: %v", message, l.lines.Err())
	return logLine{}
}

// fillLog makes requests that leave a line in the log each, at level debug,
// until the function says that it is enough.
func (g *gateway) fillLog(enough func() bool) {
	g.t.Helper()
	id := strings.Repeat("x", 64)
	for !enough() {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 50 {
					a, err := g.try(g.client, request{method: "GET", path: "/livez", header: map[string]string{"X-Request-Id": id}})
					if err != nil || a.status != http.StatusOK {
						g.t.Errorf("got %d %v, want 200", a.status, err)
						return
					}
				}
			})
		}
		all.Wait()
		if g.t.Failed() {
			return
		}
	}
}

// works checks that the gateway does all that it is there for.
func (g *gateway) works(what string) {
	g.t.Helper()
	g.waitReady(http.StatusOK)
	s := g.dial("?topic=log/%23")
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	if a := g.post(`{"topic":"log/a","payload":1}`); a.status != http.StatusOK {
		g.t.Errorf("%s: a publish got %d %s, want 200", what, a.status, a.body)
	}
	s.waitMessages(1)
}

// `gateway serve 2>&1 | (read line; sleep 1000)`: the reader of the log is there
// and does not read. Nothing waits for it, not even the end.
func TestHangingLogReaderHoldsUpNothing(t *testing.T) {
	t.Parallel()
	p, g, _ := launchPiped(t)
	g.fillLog(func() bool { return g.metric("gateway_log_dropped_total") > 0 })
	g.works("with a full log")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := p.exit(); got != 0 {
		t.Errorf("exit status: got %d, want 0", got)
	}
}

// The audit log may be a pipe, too, and its reader may hang: neither a hangup
// nor the end waits for it, and what is not written is counted.
func TestHangingAuditReaderHoldsUpNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0) // never reads
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	p, g := launchReady(t, map[string]string{"GATEWAY_MQTT_URL": brokertest.Start(t).URL(), "GATEWAY_AUDIT_LOG": path, "GATEWAY_SHUTDOWN_TIMEOUT": "1h"})
	item := `{"qos":0,"payload":1,"topic":"` + strings.Repeat("x", 950) + `"}`
	for g.metric("gateway_log_dropped_total") == 0 {
		if a := g.do(request{method: "POST", path: "/publish/batch", header: jsonHeader, body: `[` + strings.Repeat(item+",", 499) + item + `]`}); a.status != http.StatusOK {
			t.Fatalf("got %d %s, want 200", a.status, a.body)
		}
	}
	g.works("with a full audit log")
	for range 2 { // the second one shows that the first one is over
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := p.exit(); got != 0 {
		t.Errorf("exit status: got %d, want 0", got)
	}
}

// When the reader reads again, the log flows again, and says how much is
// missing.
func TestLogSaysWhatIsMissingWhenItFlowsAgain(t *testing.T) {
	t.Parallel()
	p, g, log := launchPiped(t)
	g.fillLog(func() bool { return g.metric("gateway_log_dropped_total") > 100 })
	notice := log.next(t, "log lines were dropped, because the log is not read fast enough")
	if dropped := g.metric("gateway_log_dropped_total"); float64(notice.Lines) != dropped || notice.Level != "WARN" {
		t.Errorf("got %d lines at level %s, want %v at WARN", notice.Lines, notice.Level, dropped)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log.next(t, "gateway stopped")
	if got := p.exit(); got != 0 {
		t.Errorf("exit status: got %d, want 0", got)
	}
	for log.lines.Scan() { // what the broker's connections have to say at level debug
		if l := logLines(t, log.lines.Text()+"\n")[0]; l.Level != "DEBUG" {
			t.Errorf("got %q behind the last line, want the end", log.lines.Text())
		}
	}
}

// `gateway serve 2>&1 | head -1`: the reader of the log has gone.
func TestGatewayGoesOnWithoutALog(t *testing.T) {
	t.Parallel()
	p, g, log := launchPiped(t)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	g.fillLog(func() bool { return g.metric("gateway_log_dropped_total") > 0 })
	g.works("without a log")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := p.exit(); got != 0 {
		t.Errorf("exit status: got %d, want 0", got)
	}
}
