package embedded

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// TestMain is also what StartChild starts: the broker as a process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "broker" {
		if err := childMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "gateway:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func childMain(args []string) error {
	var conf Config
	flags := flag.NewFlagSet("broker", flag.ExitOnError)
	flags.Bool("child", false, "")
	flags.StringVar(&conf.Addr, "addr", "", "")
	flags.StringVar(&conf.Dir, "dir", "", "")
	flags.BoolVar(&conf.AnyAddr, "allow-anonymous", false, "")
	_ = flags.Parse(args)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return Run(UntilEOF(context.Background(), os.Stdin), conf, log, func(addr string) { fmt.Println(ReadyLine(addr)) })
}

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

// startChild runs the broker as a process until the end of the test.
func startChild(t testing.TB, dir string) (*Child, *logBuffer) {
	t.Helper()
	c, log, err := tryStartChild(t, dir)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return c, log
}

func tryStartChild(t testing.TB, dir string) (*Child, *logBuffer, error) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := new(logBuffer)
	c, err := StartChild(exe, Config{Addr: "127.0.0.1:0", Dir: dir}, slog.New(slog.NewTextHandler(log, nil)))
	if err == nil {
		t.Cleanup(func() {
			c.Stop()
			if t.Failed() {
				t.Logf("log:\n%s", log)
			}
		})
	}
	return c, log, err
}

// kill ends the process as kill -9 does, and waits until it has been started again.
func kill(t *testing.T, c *Child) {
	t.Helper()
	old := c.PID()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(raw.Patience); c.PID() == old; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the broker was not started again")
		}
	}
}

// healthy fails unless a client can subscribe, publish and receive.
func healthy(t testing.TB, addr string) {
	t.Helper()
	c := brokertest.Dial(t, addr)
	defer c.Close()
	if got := c.Subscribe("healthy", 1); got != 1 {
		t.Fatalf("SUBSCRIBE: got %#x, want 1", got)
	}
	if err := c.Publish("healthy", []byte("yes"), 1, false); err != nil {
		t.Fatalf("PUBLISH: %v", err)
	}
	c.WaitCount(1, raw.Patience)
}

// A line of the child's log is not why it has ended.
func TestTheReasonOfAnEndIsTold(t *testing.T) {
	c, log := startChild(t, t.TempDir()) // it says "kept messages are read"
	kill(t, c)
	if got := log.String(); !strings.Contains(got, `starting it again" reason="signal: killed"`) {
		t.Errorf("got %s, want the signal", got)
	}
}

// What was acknowledged before kill -9 is there afterwards, if there is a directory to keep it in.
func TestKeptMessagesSurviveKill(t *testing.T) {
	for name, dir := range map[string]string{"in a directory": t.TempDir(), "in memory": ""} {
		t.Run(name, func(t *testing.T) {
			c, _ := startChild(t, dir)
			addr := c.Addr()
			p := brokertest.Dial(t, addr)
			session := brokertest.Dial(t, addr, brokertest.ClientID("kept"), brokertest.PersistentSession())
			session.Subscribe("kept/#", 2)
			session.Drop()
			<-session.Lost()
			for round := range 3 {
				for i := range 20 {
					p.PublishAsync(fmt.Sprint("r/", i), []byte(fmt.Sprintf("%d of round %d", i, round)), byte(1+i%2), true)
				}
				last := p.PublishAsync("kept/1", []byte(fmt.Sprint(round)), 2, false)
				if err := <-last; err != nil { // what was published before it has been acknowledged, too
					t.Fatal(err)
				}
				kill(t, c)
				if c.Addr() != addr {
					t.Fatalf("got address %s, want %s as before", c.Addr(), addr)
				}
				if err := p.Reconnect(); err != nil {
					t.Fatal(err)
				}
				if dir == "" {
					continue
				}
				reader := brokertest.Dial(t, addr)
				reader.Subscribe("r/#", 1)
				for _, m := range reader.WaitCount(20, raw.Patience) {
					if want := fmt.Sprintf("%s of round %d", strings.TrimPrefix(m.Topic, "r/"), round); string(m.Payload) != want {
						t.Errorf("%s: got %q, want %q", m.Topic, m.Payload, want)
					}
				}
			}
			if err := session.Reconnect(); err != nil {
				t.Fatal(err)
			}
			if session.SessionPresent() != (dir != "") {
				t.Errorf("session present: got %v, want %v", session.SessionPresent(), dir != "")
			}
			if dir != "" {
				if got := session.WaitCount(3, raw.Patience); len(got) != 3 {
					t.Errorf("got %d messages of the session, want 3", len(got))
				}
			}
		})
	}
}

func TestADamagedFileIsSaidAndTheStartGoesOn(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "broker.db"), []byte("this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, log := startChild(t, dir)
	healthy(t, c.Addr())
	aside, _ := filepath.Glob(filepath.Join(dir, "broker.db.damaged-*"))
	if len(aside) != 1 {
		t.Fatalf("got %q set aside, want one file", aside)
	}
	if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, aside[0]) {
		t.Errorf("got log %q, want a warning that names %s", got, aside[0])
	}
}

func TestADirectoryInUseIsAClearError(t *testing.T) {
	dir := t.TempDir()
	startChild(t, dir)
	_, _, err := tryStartChild(t, dir)
	if err == nil {
		t.Fatal("got no error for a directory that another broker uses, want one")
	}
	for _, want := range []string{"GATEWAY_EMBEDDED_DIR", dir, "another broker"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got error %q, want %q in it", err, want)
		}
	}
}

// The process lives through whatever clients send: it is the same one afterwards.
func TestTheProcessSurvivesHostileClients(t *testing.T) {
	c, log := startChild(t, t.TempDir())
	pid, addr := c.PID(), c.Addr()
	for _, version := range []byte{4, 5} {
		for name, packet := range hostile(version) {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, _ = nc.Write(packet)
			_ = nc.(*net.TCPConn).CloseWrite()
			_ = nc.SetReadDeadline(time.Now().Add(raw.Patience))
			var answer bytes.Buffer
			if _, err := answer.ReadFrom(nc); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%s: %v", name, err)
			}
			_ = nc.Close()
		}
	}
	healthy(t, addr)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		data := make([]byte, random.IntN(600))
		for j := range data {
			if data[j] = byte(random.Uint32()); j%2 == 0 {
				data[j] %= 16
			}
		}
		play(t, addr, raw.Sequence(data))
	}
	healthy(t, addr)
	if got := c.PID(); got != pid {
		t.Errorf("seed %d: got process %d, want %d as before; log:\n%s", seed, got, pid, log)
	}
}

// The same, for as long as one likes: go test -run '^$' -fuzz FuzzProcess -fuzztime 10m ./internal/embedded.
func FuzzProcess(f *testing.F) {
	for _, version := range []byte{4, 5} {
		for _, packet := range hostile(version) {
			f.Add(packet, false)
		}
	}
	f.Add([]byte("\x00\x01\x02\x03 a sequence of packets for a few clients"), true)
	c, log := startChild(f, f.TempDir())
	pid := c.PID()
	f.Fuzz(func(t *testing.T, data []byte, sequence bool) {
		steps := []raw.Step{{Bytes: data}}
		if sequence {
			steps = raw.Sequence(data)
		}
		play(t, c.Addr(), steps)
		healthy(t, c.Addr())
		if got := c.PID(); got != pid {
			t.Fatalf("got process %d, want %d as before; log:\n%s", got, pid, log)
		}
	})
}

// hostile are things that broke brokers, or might.
func hostile(version byte) map[string][]byte {
	connect := raw.Connect(version, 2, nil, "hostile")
	after := func(p ...[]byte) []byte { return raw.Join(connect, raw.Join(p...)) }
	p := []byte(nil)
	if version == 5 {
		p = raw.Props()
	}
	deep := strings.Repeat("/", 60_000)
	return map[string][]byte{
		"nothing":                  {},
		"SUBSCRIBE, empty filter":  after([]byte{0x82, 5, 0, 1, 0, 0, 0}),
		"SUBSCRIBE, no options":    after(raw.Packet(0x82, raw.U16(1), p, raw.Text("a"))),
		"SUBSCRIBE, nothing":       after([]byte{0x82, 0}),
		"huge PUBLISH announced":   after([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}),
		"huge CONNECT announced":   {0x10, 0xFF, 0xFF, 0xFF, 0x7F},
		"endless length":           after([]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}),
		"endless property length":  after(raw.Packet(0x30, raw.Text("a"), []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF})),
		"deep topic":               after(raw.Publish(1, deep, 0, p, "x")),
		"deep filter":              after(raw.Subscribe(1, p, deep, 0)),
		"level 0x82":               raw.Packet(0x10, raw.Text("MQTT"), []byte{0x82, 2, 0, 0}, raw.Text("a")),
		"many user properties":     raw.Join(raw.Connect(5, 2, nil, "many"), raw.Publish(1, "a", 0, raw.Props(bytes.Repeat(raw.User("", ""), 200_000)), "x")),
		"many filters":             after(raw.Packet(0x82, raw.U16(1), p, bytes.Repeat(raw.Join(raw.Text("a"), []byte{0}), 100_000))),
		"HTTP":                     []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"TLS":                      {0x16, 3, 1, 0, 0xA5, 1, 0, 0, 0xA1, 3, 3},
		"every type, empty":        after([]byte{0xC0, 0, 0x00, 0}),
		"many small packets":       after(bytes.Repeat([]byte{0xC0, 0}, 100_000)),
		"acknowledgements of none": after(bytes.Repeat([]byte{0x40, 2, 0, 1, 0x50, 2, 0, 1, 0x62, 2, 0, 1, 0x70, 2, 0, 1}, 1000)),
	}
}

// play sends the steps of a sequence over one connection for each client, and reads until they end.
func play(t testing.TB, addr string, steps []raw.Step) {
	t.Helper()
	var clients sync.WaitGroup
	for i := range raw.Clients {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			for _, step := range steps {
				if step.Client == i {
					_, _ = nc.Write(step.Bytes)
				}
			}
			_ = nc.(*net.TCPConn).CloseWrite()
			_ = nc.SetReadDeadline(time.Now().Add(raw.Patience))
			_, _ = new(bytes.Buffer).ReadFrom(nc)
			_ = nc.Close()
		})
	}
	clients.Wait()
}
