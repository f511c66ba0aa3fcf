package test

import (
	"encoding/json"
	"errors"
	"io"
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
	stdout, stderr *output // nil with launchTo
	exited         chan struct{}
}

// launch runs the gateway with arguments and environment, both as on a command
// line.
func launch(t testing.TB, env map[string]string, args ...string) *process {
	t.Helper()
	stdout, stderr := &output{}, &output{}
	p := launchCmd(t, env, stdout, stderr, exec.Command(gatewayBinary(t), args...))
	p.stdout, p.stderr = stdout, stderr
	return p
}

// launchTo is launch with other places for what it writes.
func launchTo(t testing.TB, stdout, stderr io.Writer, env map[string]string, args ...string) *process {
	t.Helper()
	return launchCmd(t, env, stdout, stderr, exec.Command(gatewayBinary(t), args...))
}

// launchCmd is launchTo for a command that leads to the gateway.
func launchCmd(t testing.TB, env map[string]string, stdout, stderr io.Writer, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}
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
		if p.stderr != nil {
			sealed(t, "standard error", p.stderr.String())
		}
		if t.Failed() && p.stderr != nil {
			t.Logf("%s: standard error (end):\n%s", cmd, tail(p.stderr.String(), 4000))
		}
	})
	return p
}

// exit waits for the end of the process and returns its exit status.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("the process still runs after %v", patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// logLine is one line of a log in JSON.
type logLine struct {
	Msg, Level                    string
	HTTP, Admin                   string
	Addr                          string // of the built-in broker
	Method, Route, Remote         string
	Code, Origin, Host            string
	Status, Lines                 int
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
	p := launch(t, variables(env))
	g := newGateway(t)
	g.said = p.stderr
	listens := p.stderr.until(p.exited, func(log string) bool {
		for _, l := range logLines(t, log) {
			if l.HTTP != "" {
				g.at(l.HTTP, l.Admin)
			}
		}
		return g.url != ""
	})
	if !listens {
		t.Fatalf("the gateway does not listen: %s", tail(p.stderr.String(), 4000))
	}
	g.waitReady(200)
	t.Cleanup(g.birds)
	return p, g
}

// pid is the process's.
func (p *process) pid() int { return p.cmd.Process.Pid }

// brokerAddr is where the built-in broker of the process listens.
func (p *process) brokerAddr() string {
	p.t.Helper()
	return builtInAddr(p.t, p.stderr.String())
}

// builtInAddr reads it off a log.
func builtInAddr(t testing.TB, log string) string {
	t.Helper()
	for _, l := range logLines(t, log) {
		if strings.Contains(l.Msg, "built-in") && l.Addr != "" {
			return l.Addr
		}
	}
	t.Fatal("the log does not say where the built-in broker listens")
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
