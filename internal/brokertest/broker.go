package brokertest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 15 * time.Second
	stopTimeout  = 15 * time.Second
	logTimeout   = 10 * time.Second
	portAttempts = 20
)

// errPortTaken means that somebody else listens on the chosen port.
var errPortTaken = errors.New("port taken")

// Broker is a real mosquitto on a port of 127.0.0.1 that stays the same over
// restarts. Log and Connections may be called at any time; the methods that
// start and stop the process are for one goroutine at a time.
type Broker struct {
	t        testing.TB
	settings settings
	binary   string
	conf     string // path
	dir      string
	port     int
	claim    io.Closer
	log      logBuffer

	mu      sync.Mutex
	process *process // guarded by mu; nil when stopped
}

// process is one life of the broker.
type process struct {
	cmd  *exec.Cmd
	dead chan struct{} // closed after Wait; err is set before
	err  error
}

// Start runs a mosquitto until the end of the test.
func Start(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	b := &Broker{t: t, dir: t.TempDir(), binary: Mosquitto(t)}
	for _, opt := range opts {
		opt(&b.settings)
	}
	b.conf = filepath.Join(b.dir, "mosquitto.conf")
	t.Cleanup(b.cleanup)
	for range portAttempts {
		if err := b.choosePort(); err != nil {
			t.Fatalf("brokertest: configuration: %v", err)
		}
		err := b.launch()
		if err == nil {
			return b
		}
		if !errors.Is(err, errPortTaken) {
			t.Fatalf("brokertest: mosquitto did not start: %v\n%s", err, b.Log())
		}
	}
	t.Fatalf("brokertest: no free port in %d attempts", portAttempts)
	return nil
}

// Mosquitto is the path of the broker; the test fails if there is none.
func Mosquitto(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("brokertest: mosquitto is not installed: run scripts/test-deps.sh")
	return ""
}

// choosePort takes a port below the range that the kernel gives to outgoing
// connections, so that it is still free after a restart.
func (b *Broker) choosePort() error {
	if b.claim != nil {
		_ = b.claim.Close()
		b.claim = nil
	}
	for {
		port := 20000 + rand.IntN(12000)
		claim, err := claimPort(port)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			_ = claim.Close()
			continue
		}
		_ = l.Close()
		b.port, b.claim = port, claim
		break
	}
	text, err := b.settings.confText(b.port, b.dir)
	if err != nil {
		return err
	}
	return os.WriteFile(b.conf, []byte(text), 0o644)
}

// launch starts the process and returns when it listens.
func (b *Broker) launch() error {
	offset := len(b.log.String())
	p := &process{cmd: exec.Command(b.binary, "-c", b.conf), dead: make(chan struct{})}
	p.cmd.Stderr = &b.log // stdout repeats it, in blocks
	dieWithParent(p.cmd)
	started := make(chan error, 1)
	go func() {
		// The thread must live as long as the process: see dieWithParent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
		close(p.dead)
	}()
	if err := <-started; err != nil {
		return err
	}
	b.mu.Lock()
	b.process = p
	b.mu.Unlock()
	if b.log.wait(" running\n", offset, 1, startTimeout, p.dead) {
		return nil
	}
	b.signal(syscall.SIGKILL)
	if !b.waitDead(stopTimeout) {
		return errors.New("it neither listens nor ends")
	}
	if strings.Contains(b.Log()[offset:], "Address already in use") {
		return errPortTaken
	}
	if p.err != nil {
		return p.err
	}
	return fmt.Errorf("no %q in its log within %v", "running", startTimeout)
}

// Addr is the address as host:port.
func (b *Broker) Addr() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// Port is the TCP port.
func (b *Broker) Port() int { return b.port }

// URL is the address as mqtt://host:port.
func (b *Broker) URL() string { return "mqtt://" + b.Addr() }

// ConfText is the configuration that runs.
func (b *Broker) ConfText() string {
	text, err := os.ReadFile(b.conf)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Log is all output of the broker so far, over all its lives.
func (b *Broker) Log() string { return b.log.String() }

// Connections counts the MQTT connections accepted so far.
func (b *Broker) Connections() int { return strings.Count(b.Log(), "New client connected") }

// WaitLog waits until the log contains substr.
func (b *Broker) WaitLog(substr string) {
	b.t.Helper()
	b.WaitLogCount(substr, 1)
}

// WaitLogCount waits until the log contains substr n times.
func (b *Broker) WaitLogCount(substr string, n int) {
	b.t.Helper()
	if !b.log.wait(substr, 0, n, logTimeout, nil) {
		b.t.Fatalf("brokertest: %q is not %d times in the broker's log after %v:\n%s", substr, n, logTimeout, b.Log())
	}
}

// Running reports whether the process lives; a paused one does.
func (b *Broker) Running() bool {
	b.mu.Lock()
	p := b.process
	b.mu.Unlock()
	if p == nil {
		return false
	}
	select {
	case <-p.dead:
		return false
	default:
		return true
	}
}

// Stop ends the broker in order, as an operator would, and waits for its end.
// mosquitto forgets a SIGTERM that comes between its last line of start-up and
// its main loop, so the signal is repeated.
func (b *Broker) Stop() {
	b.t.Helper()
	b.signal(syscall.SIGCONT)
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); {
		b.signal(syscall.SIGTERM)
		if b.waitDead(500 * time.Millisecond) {
			return
		}
	}
	b.t.Fatalf("brokertest: mosquitto still runs %v after SIGTERM", stopTimeout)
}

// Kill ends the broker at once, as a crash would, and waits for its end.
func (b *Broker) Kill() {
	b.t.Helper()
	b.signal(syscall.SIGKILL)
	if !b.waitDead(stopTimeout) {
		b.t.Fatalf("brokertest: mosquitto still runs %v after SIGKILL", stopTimeout)
	}
}

// Pause freezes the broker: connections stay, nothing is answered.
func (b *Broker) Pause() { b.signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (b *Broker) Continue() { b.signal(syscall.SIGCONT) }

// StartAgain starts the stopped broker on the same port with the same
// configuration and returns when it listens.
func (b *Broker) StartAgain() {
	b.t.Helper()
	if b.Running() {
		b.t.Fatal("brokertest: StartAgain: the broker runs")
	}
	if err := b.launch(); err != nil {
		b.t.Fatalf("brokertest: mosquitto did not start again: %v\n%s", err, b.Log())
	}
}

// Restart is Stop and StartAgain.
func (b *Broker) Restart() {
	b.t.Helper()
	b.Stop()
	b.StartAgain()
}

func (b *Broker) signal(sig syscall.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process != nil {
		_ = b.process.cmd.Process.Signal(sig)
	}
}

func (b *Broker) waitDead(timeout time.Duration) bool {
	b.mu.Lock()
	p := b.process
	b.mu.Unlock()
	if p == nil {
		return true
	}
	select {
	case <-p.dead:
		return true
	case <-time.After(timeout):
		return false
	}
}

func (b *Broker) cleanup() {
	b.signal(syscall.SIGKILL)
	b.waitDead(stopTimeout)
	if b.claim != nil {
		_ = b.claim.Close()
	}
	if b.t.Failed() {
		b.t.Logf("end of the broker's log:\n%s", tail(b.Log(), 4<<10))
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "..." + s[len(s)-n:]
}
