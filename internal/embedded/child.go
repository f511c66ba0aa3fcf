package embedded

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readyPrefix stands before the address in the line that the child prints once
// it listens.
const readyPrefix = "listening on "

// ReadyLine is that line.
func ReadyLine(addr string) string { return readyPrefix + addr }

// Child is the broker as a process. It is started again whenever it dies.
type Child struct {
	command []string
	log     *slog.Logger
	cancel  context.CancelFunc
	done    chan struct{}

	mu   sync.Mutex // guards addr and pid
	addr string
	pid  int
}

// StartChild runs `exe broker -child` with what conf says, and returns when it listens. The error of a broker that
// cannot start is its own last line.
func StartChild(exe string, conf Config, log *slog.Logger) (*Child, error) {
	command := []string{exe, "broker", "-child", fmt.Sprintf("-allow-anonymous=%t", conf.AnyAddr), "-dir", conf.Dir, "-addr"}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Child{command: command, log: log, cancel: cancel, done: make(chan struct{}), addr: conf.Addr}
	p, err := c.spawn()
	if err != nil {
		cancel()
		return nil, err
	}
	go c.supervise(ctx, p)
	return c, nil
}

// Addr is where the broker listens.
func (c *Child) Addr() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// PID is the process's id at the moment.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Stop ends the broker and waits for it.
func (c *Child) Stop() {
	c.cancel()
	<-c.done
}

// Backoff between restarts.
const (
	minPause = 200 * time.Millisecond
	maxPause = 5 * time.Second
)

func (c *Child) supervise(ctx context.Context, p *process) {
	defer close(c.done)
	pause := minPause
	for {
		started := time.Now()
		select {
		case <-ctx.Done():
			p.stop()
			return
		case <-p.exited:
		}
		if time.Since(started) > 30*time.Second {
			pause = minPause
		}
		c.log.Warn("built-in broker ended, starting it again", "reason", p.reason(), "pause", pause)
		for p = nil; p == nil; pause = min(2*pause, maxPause) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			var err error
			if p, err = c.spawn(); err != nil {
				c.log.Error("built-in broker does not start", "err", err)
			}
		}
	}
}

// process is one life of the child.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer // the child ends when this does
	exited chan struct{}
	mu     sync.Mutex // guards cause
	cause  string     // of its end, as it has said it itself
}

func (c *Child) spawn() (*process, error) {
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command(c.command[0], append(c.command[1:], c.Addr())...)
	p.cmd.SysProcAttr = childAttr()
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("built-in broker: %w", err)
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("built-in broker: %w", err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("built-in broker: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("built-in broker: %w", err)
	}
	ready := make(chan string, 1)
	var pipes sync.WaitGroup
	pipes.Go(func() { p.readStdout(stdout, ready) })
	pipes.Go(func() { p.readStderr(stderr, c.log) })
	go func() {
		pipes.Wait()
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	select {
	case addr := <-ready:
		c.mu.Lock()
		c.addr, c.pid = addr, p.cmd.Process.Pid
		c.mu.Unlock()
		return p, nil
	case <-p.exited:
		return nil, errors.New(p.reason())
	}
}

func (p *process) readStdout(r io.Reader, ready chan<- string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if addr, ok := strings.CutPrefix(lines.Text(), readyPrefix); ok {
			select {
			case ready <- addr:
			default:
			}
		}
	}
}

func (p *process) readStderr(r io.Reader, log *slog.Logger) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		p.note(line)
		level := slog.LevelDebug
		if strings.Contains(line, " level=WARN ") || strings.Contains(line, " level=ERROR ") {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "built-in broker says", "line", line)
	}
}

// note keeps the first line that says why the process ends: of its own, or of Go.
func (p *process) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, begin := range []string{"gateway: ", "panic: ", "fatal error: "} {
		if p.cause == "" && strings.HasPrefix(line, begin) {
			p.cause = strings.TrimPrefix(line, "gateway: ")
		}
	}
}

// reason is why the process ended.
func (p *process) reason() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.cause, p.cmd.ProcessState.String())
}

// stop asks, then kills.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(2 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

func isAddrInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
