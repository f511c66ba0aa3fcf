package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	vulture "github.com/vulturepi/gateway/internal/gateway"
)

// sums are what the gateway holds for others: for each a gauge
// gateway_<name>_bytes, and one with its limit.
var sums = []string{"history", "values", "index", "queued", "bodies", "answers", "idempotency", "publishes", "log"}

// hold begins a request with a body of so many bytes, sends what it is given of
// them, and then neither reads nor writes.
func (g *gateway) hold(line string, length int, body string) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.host())
	if err != nil {
		g.t.Fatalf("dial: %v", err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", line, length)
	_, _ = io.WriteString(c, body) // which may be refused before its end
}

// peak is the most memory that the process has ever had resident, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		p.t.Fatalf("VmHWM: %v", err)
	}
	return kib << 10
}

// Everything that is held for somebody is filled at once, and stays so: the
// process takes no more than docs/operations.md adds up.
func TestMemoryStaysWithinTheSums(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "gateway") // the race detector takes memory of its own
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/gateway").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	env := map[string]string{
		"GATEWAY_MQTT_URL": proxy.URL(), "GATEWAY_MQTT_POOL": "1", "GATEWAY_MAX_CONNECTIONS": "200",
		"GATEWAY_HISTORY_BYTES": mib(32), "GATEWAY_VALUES_BYTES": mib(32), "GATEWAY_INDEX_BYTES": mib(16),
		"GATEWAY_CLIENTS_QUEUE_BYTES": mib(48), "GATEWAY_BODIES_BYTES": mib(96), "GATEWAY_ANSWERS_BYTES": mib(32),
	}
	r, w, err := os.Pipe() // nobody reads the log
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	log := &output{}
	listens := make(chan struct{})
	go func() { // but for its beginning
		defer close(listens)
		b := make([]byte, 4096)
		for {
			n, err := r.Read(b)
			_, _ = log.Write(b[:n])
			if err != nil || strings.Contains(log.String(), "gateway listens") {
				return
			}
		}
	}()
	p := launchCmd(t, variables(env), w, w, exec.Command(binary))
	_ = w.Close()
	<-listens
	g := newGateway(t)
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "gateway listens") {
			l := logLines(t, line)[0]
			g.at(l.HTTP, l.Admin)
		}
	}
	g.waitReady(http.StatusOK)

	most := map[string]float64{}
	look := func() (now map[string]float64) {
		now = g.metrics()
		for _, name := range sums {
			most[name] = max(most[name], now["gateway_"+name+"_bytes"])
		}
		return now
	}
	fill := func(name string, share float64, more func(i int)) {
		t.Helper()
		limit := g.metric("gateway_" + name + "_limit_bytes")
		for i := 0; most[name] < share*limit; i++ {
			if i > 2000 {
				t.Fatalf("%s: got %.0f bytes, want %.2f of %.0f", name, most[name], share, limit)
			}
			more(i)
			look()
		}
	}

	// A fleet with long names and large values.
	fleet := brokertest.Dial(t, broker.Addr())
	publish := func(topic string, size int) {
		if err := fleet.Publish(topic, []byte(strings.Repeat("x", size)), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	fill("index", 0.7, func(i int) {
		for n := range 100 {
			publish(fmt.Sprintf("%s/%d/%d", strings.Repeat("long/", 20)+strings.Repeat("n", 700), i, n), 10)
		}
	})
	fill("values", 0.9, func(i int) {
		for n := range 10 {
			publish(fmt.Sprintf("large/%d/%d", i, n), 20_000)
		}
	})
	fill("history", 0.9, func(int) { publish("large/again", 50_000) })

	// Answers that are kept, and a log that nobody reads.
	bad := strings.Repeat(`{"topic":"a/+","payload":1},`, 5000)
	fill("idempotency", 0.7, func(i int) {
		a := g.do(request{
			method: "POST", path: "/publish/batch", header: map[string]string{"Content-Type": "application/json", "Idempotency-Key": fmt.Sprint("k", i)},
			body: "[" + bad + `{"topic":"a","payload":1}]`,
		})
		if a.status != http.StatusMultiStatus {
			t.Fatalf("batch: got %d %.300s", a.status, a.body)
		}
	})
	fill("log", 0.9, func(int) {
		for range 50 {
			g.mustSend("GET", "/livez", nil)
		}
	})

	// A broker that takes nothing, bodies that do not end, lists and streams that nobody reads.
	readers := 100
	proxy.Stall(true, false)
	payload := strings.Repeat("x", 200_000)
	fill("publishes", 0.8, func(int) {
		body := `{"topic":"a","payload":"` + payload + `"}`
		g.hold("POST /publish", len(body), body)
	})
	fill("bodies", 0.7, func(int) {
		body := "[" + strings.Repeat(bad, 7)
		g.hold("POST /publish/batch", len(body)+1, body)
	})
	for range readers {
		g.stall("?topic=stream/%23&overflow=drop")
	}
	eventually(t, "all are subscribed", func() bool { return g.metric("gateway_subscriptions") == float64(readers) })
	fill("queued", 0.9, func(i int) { publish(fmt.Sprint("stream/", i), 100_000) })
	for range 1000 {
		g.hold("GET /livez", 0, "")
	}
	fill("answers", 0.6, func(int) { g.hold("GET /history?filter=large/%23&limit=1000", 0, "") })

	var now, limits, rest float64
	figures := look()
	for _, name := range sums {
		held, limit := figures["gateway_"+name+"_bytes"], figures["gateway_"+name+"_limit_bytes"]
		t.Logf("%-12s %6.1f of %6.1f MiB", name, held/(1<<20), limit/(1<<20))
		now, limits = now+held, limits+limit
	}
	budget := float64(vulture.Memory(configuration(t, env)))
	rest = budget - limits
	t.Logf("all          %6.1f of %6.1f MiB, and %.1f MiB of rest; the process took %.1f MiB at most", now/(1<<20), limits/(1<<20), rest/(1<<20), float64(p.peak())/(1<<20))
	if rest < 0 || rest > 160<<20 {
		t.Errorf("the rest is %.0f bytes", rest)
	}
	if got := float64(p.peak()); got > 1.25*budget {
		t.Errorf("the process took %.1f MiB, want at most 1.25 times %.1f MiB", got/(1<<20), budget/(1<<20))
	}
}

func mib(n int) string { return fmt.Sprint(n << 20) }
