package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// The tool starts itself as the handler that publish is compared with.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == serveChiArg {
		exit(serveChi(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 7 && os.Args[1] == misbehaveArg {
		exit(misbehave(os.Args[2:]))
	}
	if len(os.Args) == 5 && os.Args[1] == serveUserArg {
		exit(serveUser(os.Args[2], os.Args[3], os.Args[4]))
	}
	os.Exit(m.Run())
}

// A smoke run measures every row, counts every message, and fills every marker
// of docs/performance.md. It judges no speed.
func TestQuickRunMeasuresEveryRow(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "gateway")
	build := exec.Command("go", "build", "-o", binary, "./cmd/gateway")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	page, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "performance.md"), page, 0o600); err != nil {
		t.Fatal(err)
	}
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("x\n<!-- bench: headlines -->\n<!-- /bench -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parseFlags([]string{"-quick", "-gateway", binary, "-docs", dir, "-readme", readme, "-out", filepath.Join(dir, "RESULTS.md")})
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := run(o, &printed); err != nil {
		t.Fatalf("%v\n%s", err, &printed)
	}
	results, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	filled, err := os.ReadFile(filepath.Join(dir, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(readme); err != nil || bytes.Count(b, []byte("\n|")) != 7 {
		t.Errorf("headlines: got %s %v, want five rows", b, err)
	}
	checkRows(t, o, printed.String(), string(results), string(filled))
	for _, m := range measurements {
		if _, err := os.Stat(filepath.Join(dir, "performance", m.name+".svg")); m.growth && err != nil {
			t.Errorf("%s: there is no plot: %v", m.name, err)
		}
	}
}

// checkRows looks for each measurement in what was printed and in the files.
func checkRows(t *testing.T, o options, printed, results, filled string) {
	t.Helper()
	_, noNATS := os.Stat(o.nats)
	for _, m := range measurements {
		_, section, ok := strings.Cut(results, "\n## "+m.title+"\n\n")
		section, _, _ = strings.Cut(section, "\n## ")
		rows := strings.Count(section, "\n|")
		if !ok || rows < 2 {
			t.Errorf("%s: got %d lines of tables, want at least 2: %s", m.name, rows, section)
		}
		if !strings.Contains(printed, section) || !strings.Contains(filled, strings.TrimSpace(section)) {
			t.Errorf("%s: what was printed or the document does not have\n%s", m.name, section)
		}
		for line := range strings.Lines(section) {
			missing := strings.Contains(line, "not measured")
			allowed := noNATS != nil && strings.Contains(line, "nats-server") || strings.Contains(line, errNoNode.Error()) || strings.Contains(line, "not available (404)")
			if missing && !allowed {
				t.Errorf("%s: %s", m.name, line)
			}
		}
	}
}

func TestUnknownMeasurementIsRefused(t *testing.T) {
	for _, args := range [][]string{{"-only", "fanout,speed"}, {"-seconds", "0"}, {"-seconds", "600"}, {"-rounds", "0"}, {"extra"}, {"-only", "own", "-docs", "."}} {
		if o, err := parseFlags(args); err == nil {
			t.Errorf("%v: got %+v, want an error", args, o)
		}
	}
}

func TestMessagesAreCountedHoweverTheyAreCut(t *testing.T) {
	payload := func(n int) []byte {
		b := []byte("m000000000 and more")
		putNumber(b, n)
		return b
	}
	message := func(n int) string {
		return fmt.Sprintf(`{"type":"message","topic":"a/b","payload":"%s","encoding":"text","qos":0}`, payload(n))
	}
	frame := func(op byte, s string) []byte { return append([]byte{0x80 | op, 126, 0, byte(len(s))}, s...) }
	packet := func(n int) []byte { return mqttPublishPacket(nil, "a/b", payload(n), byte(n%2), 7) }
	streams := map[protocol][][]byte{
		mqttTCP:          {packet(1), {0xd0, 0}, packet(2), packet(3)},
		mqttWebSocket:    {frame(opBinary, string(packet(1))+string(packet(2)[:9])), frame(opBinary, string(packet(2)[9:])+string(packet(3)))},
		gatewayWebSocket: {frame(opText, `{"type":"welcome"}`), frame(opText, message(1)), frame(opText, message(2)), frame(opText, message(3))},
		gatewayNDJSON: {
			fmt.Appendf(nil, "%08x\r\n%s\n%s\n\r\n", 2*len(message(1))+2, message(1), message(2)),
			fmt.Appendf(nil, "%x\r\n%s\r\n", 5, message(3)[:5]), fmt.Appendf(nil, "%x\r\n%s\n\r\n", len(message(3))-4, message(3)[5:]),
		},
	}
	for p, units := range streams {
		stream := bytes.Join(units, nil)
		for size := 1; size <= len(stream); size++ {
			s := newSubscriber(p)
			for rest := stream; len(rest) > 0; {
				n := min(size, len(rest))
				if err := s.read(rest[:n]); err != nil {
					t.Fatalf("protocol %d in pieces of %d: %v", p, size, err)
				}
				rest = rest[n:]
			}
			if s.got != 3 || s.last != 3 {
				t.Fatalf("protocol %d in pieces of %d: got %d messages, the last is %d, want 3 and 3", p, size, s.got, s.last)
			}
		}
	}
}

func newSubscriber(p protocol) *subscriber {
	s := &subscriber{crowd: &crowd{closeCodes: map[int]int{}}, last: -1}
	s.carry.scan = s.scanner(p)
	return s
}

func TestDoubledMessageIsAnError(t *testing.T) {
	payload := []byte("m000000005")
	s := newSubscriber(mqttTCP)
	packet := mqttPublishPacket(nil, "a", payload, 0, 0)
	if err := s.read(packet); err != nil {
		t.Fatalf("got %v, want nil", err)
	}
	if err := s.read(packet); err == nil {
		t.Error("got nil for a doubled message, want an error")
	}
}

func TestLostMessageIsAnError(t *testing.T) {
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c := &crowd{loop: l, subs: []*subscriber{{want: 2, got: 2}, {want: 2, got: 1}}}
	if err := c.verify(); err == nil {
		t.Error("got nil for a lost message, want an error")
	}
}

func TestGapIsAnError(t *testing.T) {
	gap := `{"type":"gap","reason":"slow_consumer"}`
	s := newSubscriber(gatewayWebSocket)
	if err := s.read(append([]byte{0x80 | opText, byte(len(gap))}, gap...)); err == nil {
		t.Error("got nil for a gap, want an error")
	}
}

func TestMedianAndSpread(t *testing.T) {
	for _, tt := range []struct {
		s    series
		want string
	}{
		{nil, "-"}, {series{5}, "5.00"}, {series{30_000, 1, 12_345}, "12 345 (1.00..30 000)"}, {series{1, 2, 3, 10}, "2.50 (1.00..10.0)"},
	} {
		if got := tt.s.text(); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.s, got, tt.want)
		}
	}
}

func TestFillKeepsWhatTheRunDoesNotHave(t *testing.T) {
	r := &report{machine: "2 cores", sections: []*section{{name: "own", head: []string{"A"}, rows: [][]string{{"new"}}}}}
	doc := "x\n<!-- bench: machine -->\n<!-- /bench -->\n<!-- bench: summary -->\nold\n<!-- /bench -->\n<!-- bench: own -->\nold\n<!-- /bench -->\n<!-- bench: idle -->\nkept\n<!-- /bench -->\n"
	got, err := r.fill(doc)
	if err != nil {
		t.Fatal(err)
	}
	want := "x\n<!-- bench: machine -->\n2 cores\n<!-- /bench -->\n<!-- bench: summary -->\n<!-- /bench -->\n<!-- bench: own -->\n| A   |\n|-----|\n| new |\n<!-- /bench -->\n<!-- bench: idle -->\nkept\n<!-- /bench -->\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := r.fill("no markers"); err == nil {
		t.Error("got nil for a document without markers, want an error")
	}
}

func TestEachSampleBelongsToOnePart(t *testing.T) {
	for want, stack := range map[string][]string{
		toClients:  {"internal/runtime/syscall/linux.Syscall6", "syscall.write", "net.(*conn).Write", "net/http.checkConnErrorWriter.Write", "net/http.(*conn).serve"},
		toBroker:   {"syscall.Syscall", "internal/poll.(*FD).Write", module + "/internal/bridge.(*sock).Write", module + "/internal/bridge.(*wire).writer"},
		switching:  {"internal/runtime/syscall/linux.EpollWait", "runtime.netpoll", "runtime.findRunnable", "runtime.schedule"},
		allocating: {"runtime.memclrNoHeapPointers", "runtime.mallocgc", "runtime.newobject", "net/http.readRequest"},
		httpServer: {"runtime.memmove", "net/textproto.readMIMEHeader", "net/http.(*conn).serve"},
		ownCode:    {"runtime.mapaccess1_faststr", module + "/internal/hub.(*Hub).Accept", module + "/internal/bridge.(*live).got"},
		otherCode:  {"runtime.memmove"},
	} {
		s := &profile.Sample{}
		for _, name := range stack {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}})
		}
		if got := partOf(s); got != want {
			t.Errorf("%v: got %q, want %q", stack, got, want)
		}
	}
}
