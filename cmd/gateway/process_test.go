package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is the gateway as a process of its own.
type process struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr *logBuffer
	exited         chan struct{}
}

// launch runs the gateway with arguments and environment, both as on a command
// line.
func launch(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return launchCmd(t, env, exec.Command(exe, args...))
}

// launchCmd is launch for a command that leads to the gateway.
func launchCmd(t testing.TB, env map[string]string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stdout: &logBuffer{}, stderr: &logBuffer{}, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.Env = []string{"RUN_AS_GATEWAY=1", "PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s: standard error (end):\n%s", cmd, tail(p.stderr.String(), 4000))
		}
	})
	return p
}

// exit waits for the end of the process and returns its exit status.
func (p *process) exit(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.t.Fatalf("the process still runs after %v", limit)
	}
	return p.cmd.ProcessState.ExitCode()
}

// logLine is one line of a log in JSON.
type logLine struct {
	Msg, Level                    string
	HTTP, Admin                   string
	Addr                          string // of the built-in broker
	Method, Route, Remote         string
	Status                        int
	RequestID                     string   `json:"request_id"`
	TookMS                        *float64 `json:"took_ms"`
	Time                          time.Time
	Complete, Embedded            *bool
	Version, Broker, Notice, Link string
}

// logLines reads a log in JSON; anything else in it fails the test.
func logLines(t testing.TB, log string) []logLine {
	t.Helper()
	var all []logLine
	for line := range strings.Lines(log) {
		if !strings.HasSuffix(line, "\n") {
			break // still being written
		}
		var l logLine
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Msg == "" || l.Level == "" || l.Time.IsZero() {
			t.Fatalf("log line %q: not a JSON object with time, level and msg (%v)", line, err)
		}
		all = append(all, l)
	}
	return all
}

// launchReady runs the gateway on free ports, waits until it is ready and
// returns it with a client for its listeners.
func launchReady(t testing.TB, env map[string]string) (*process, *gateway) {
	t.Helper()
	all := map[string]string{
		"GATEWAY_HTTP_ADDR": "127.0.0.1:0", "GATEWAY_ADMIN_ADDR": "127.0.0.1:0",
		"GATEWAY_LOG_FORMAT": "json", "GATEWAY_LOG_LEVEL": "debug",
	}
	for k, v := range env {
		all[k] = v
	}
	p := launch(t, all)
	g := &gateway{t: t}
	eventually(t, "the gateway listens", func() bool {
		for _, l := range logLines(t, p.stderr.String()) {
			if l.HTTP != "" {
				g.url, g.admin, g.ws = "http://"+l.HTTP, "http://"+l.Admin, "ws://"+l.HTTP+"/ws"
			}
		}
		select {
		case <-p.exited:
			t.Fatalf("it ended with status %d", p.cmd.ProcessState.ExitCode())
		default:
		}
		return g.url != ""
	})
	g.waitReady(200)
	return p, g
}

// brokerAddr is where the built-in broker of the process listens.
func (p *process) brokerAddr() string {
	p.t.Helper()
	for _, l := range logLines(p.t, p.stderr.String()) {
		if strings.Contains(l.Msg, "built-in") && l.Addr != "" {
			return l.Addr
		}
	}
	p.t.Fatal("the log does not say where the built-in broker listens")
	return ""
}

// isGone waits until nobody listens on addr.
func isGone(t testing.TB, addr string) {
	t.Helper()
	eventually(t, "nobody listens on "+addr, func() bool {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}
