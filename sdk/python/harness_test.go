// Package devicecom_test runs device_com.py as its users do: a program in a
// directory of its own, with a settings.ini, against a real mosquitto that is
// started with the documented configuration.
package devicecom_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that must happen.
const patience = time.Minute

const conf = "../../mosquitto/server_settings.conf"

// startBroker runs the documented configuration. It also logs subscriptions,
// so that a test can wait for them.
func startBroker(t *testing.T, opts ...brokertest.Option) *brokertest.Broker {
	t.Helper()
	return brokertest.Start(t, append([]brokertest.Option{brokertest.ConfFile(conf), brokertest.Conf("log_type subscribe")}, opts...)...)
}

// waitSubscribed waits until n subscriptions to # have been made in all. A
// Python may take long to start on a busy machine.
func waitSubscribed(t *testing.T, b *brokertest.Broker, n int) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); strings.Count(b.Log(), " 0 #\n") < n; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("got no %d subscriptions to #", n)
		}
	}
}

// ini is a settings.ini for an address, with more lines of the section.
func ini(addr string, lines ...string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("[system]\nip_address = %s\nmqtt_port = %s\n%s\n", host, port, strings.Join(lines, "\n"))
}

// python is the interpreter; PYTHON names another one than python3.
func python() string {
	if p := os.Getenv("PYTHON"); p != "" {
		return p
	}
	return "python3"
}

// program is a main.py that runs beside a copy of device_com.py.
type program struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err output
	done     chan struct{} // closed at its end; exit is set before
	exit     error
}

// start runs source as main.py in a directory with this settings.ini.
func start(t *testing.T, settings, source string) *program {
	t.Helper()
	dir := t.TempDir()
	module, err := os.ReadFile("device_com.py")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"settings.ini": settings, "main.py": source, "device_com.py": string(module)} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What is not closed is complained about on stderr.
	p := &program{t: t, cmd: exec.Command(python(), "-B", "-W", "always::ResourceWarning", "main.py"), done: make(chan struct{})}
	p.out.changed, p.err.changed = make(chan struct{}), make(chan struct{})
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, &p.out, &p.err
	p.cmd.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.exit = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
	return p
}

// status waits for the program's end, and returns its exit status; -2 is the
// end by SIGINT.
func (p *program) status() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the program does not end; got\n%s", p)
	}
	var exit *exec.ExitError
	if errors.As(p.exit, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return -int(ws.Signal())
		}
		return exit.ExitCode()
	}
	if p.exit != nil {
		p.t.Fatalf("the program: %v", p.exit)
	}
	return 0
}

// ends waits for the program's end: this status, this stdout, and nothing on stderr.
func (p *program) ends(status int, out string) {
	p.t.Helper()
	if got := p.status(); got != status || p.out.String() != out || p.err.String() != "" {
		p.t.Errorf("status: got %d, want %d, stdout %q and an empty stderr; got\n%s", got, status, out, p)
	}
}

// fails waits for the program's end with status 2 and one line on stderr that
// has all these words.
func (p *program) fails(words ...string) {
	p.t.Helper()
	status, text := p.status(), p.err.String()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	last := lines[len(lines)-1]
	if status != 2 || strings.Contains(text, "Traceback") {
		p.t.Errorf("got status %d, want 2 and no traceback; got\n%s", status, p)
	}
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasPrefix(line, "device_com: waiting for ") {
			p.t.Errorf("stderr: got %q, want one line that says what is wrong", text)
		}
	}
	for _, w := range append(words, "device_com: ", "(main.py, line ") {
		if !strings.Contains(last, w) {
			p.t.Errorf("stderr: got %q, want %q in it", last, w)
		}
	}
}

// prints waits until the program has printed these words.
func (p *program) prints(words string) { p.t.Helper(); p.until(&p.out, words) }

// complains waits until the program has printed these words on stderr.
func (p *program) complains(words string) { p.t.Helper(); p.until(&p.err, words) }

func (p *program) until(o *output, words string) {
	p.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		text, changed := o.look()
		if strings.Contains(text, words) {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			if text, _ := o.look(); !strings.Contains(text, words) {
				p.t.Fatalf("the program has ended (%v) without %q; got\n%s", p.exit, words, p)
			}
		case <-timer.C:
			p.t.Fatalf("no %q; got\n%s", words, p)
		}
	}
}

func (p *program) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

func (p *program) String() string {
	return fmt.Sprintf("stdout:\n%s\nstderr:\n%s", p.out.String(), p.err.String())
}

// output collects what a program prints.
type output struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed when there is more
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(b), nil
}

func (o *output) look() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text), o.changed
}

func (o *output) String() string { s, _ := o.look(); return s }

// send publishes at QoS 1.
func send(t *testing.T, c *brokertest.Client, topic, payload string) {
	t.Helper()
	if err := c.Publish(topic, []byte(payload), 1, false); err != nil {
		t.Fatalf("publish to %s: %v", topic, err)
	}
}

func TestPartsThatNeedNoBroker(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), python(), "-B", "-X", "dev", "-W", "error", "-m", "unittest", "test_device_com").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nOK\n") {
		t.Errorf("unittest: %v\n%s", err, out)
	}
}
