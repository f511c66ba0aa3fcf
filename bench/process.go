package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// process is a server under measurement.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
}

func startProcess(env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	var mu sync.Mutex
	w := lockedWriter{&mu, &p.out}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	return p, nil
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// cpu is the time that the process has computed, user and system.
func (p *process) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	const perTick = time.Second / 100 // USER_HZ
	return time.Duration(user+system) * perTick
}

// rss is the resident memory in bytes.
func (p *process) rss() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// conf is the shipped broker configuration, as far as a benchmark can use it.
const conf = `listener %s 127.0.0.1
allow_anonymous true
max_queued_messages 100000
max_queued_bytes 134217728
max_inflight_messages 1000
set_tcp_nodelay true
log_dest none
`

func startMosquitto(dir string) (*process, string, error) {
	addr := freeAddr()
	_, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(dir, "mosquitto-"+port+".conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, conf, port), 0o644); err != nil {
		return nil, "", err
	}
	p, err := startProcess(nil, "mosquitto", "-c", file)
	if err != nil {
		return nil, "", fmt.Errorf("mosquitto: %w (run scripts/test-deps.sh)", err)
	}
	return p, addr, waitDial(addr)
}

func waitDial(addr string) error {
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New(addr + " does not answer")
}

// gateway is the gateway under measurement.
type gateway struct {
	*process
	http, admin string
}

func startGateway(binary, broker string, env ...string) (*gateway, error) {
	g := &gateway{http: freeAddr(), admin: freeAddr()}
	env = append([]string{
		"GATEWAY_HTTP_ADDR=" + g.http, "GATEWAY_ADMIN_ADDR=" + g.admin, "GATEWAY_MQTT_URL=mqtt://" + broker,
		"GATEWAY_MAX_CONNECTIONS=100000",
	}, env...)
	var err error
	if g.process, err = startProcess(env, binary); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if res, err := http.Get("http://" + g.admin + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return g, nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	g.stop()
	return nil, errors.New("the gateway did not become ready: " + g.out.String())
}
