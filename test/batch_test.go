package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// heap is what is in use after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A stream of any length is published in order and answered line by line, in
// constant memory.
func TestMillionLinesStreamInConstantMemory(t *testing.T) {
	lines := sized(1_000_000, 50_000)
	const room = 32 << 20
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": "nothing", "GATEWAY_LOG_LEVEL": "warn"})
	before := heap()
	body, feed := io.Pipe()
	go func() {
		w := bufio.NewWriterSize(feed, 64<<10)
		for n := range lines {
			fmt.Fprintf(w, `{"topic":"batch/%d","payload":%d,"qos":%d}`+"\n", n%100, n, n%2)
		}
		_ = w.Flush()
		_ = feed.Close()
	}()
	res, err := g.client.Post(g.url+"/publish/batch", "application/x-ndjson", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	results := bufio.NewReaderSize(res.Body, 64<<10)
	var most int64
	for n := range lines {
		line, err := results.ReadSlice('\n')
		want := fmt.Appendf(nil, `{"index":%d,"status":%d,`, n, 202-n%2*2)
		if err != nil || !bytes.HasPrefix(line, want) {
			t.Fatalf("got %s %v, want %s…", line, err, want)
		}
		if n%(lines/10) == lines/20 {
			most = max(most, heap()-before)
		}
	}
	if rest, err := io.ReadAll(results); err != nil || len(rest) > 0 {
		t.Errorf("got %q %v behind the last result", rest, err)
	}
	if most > room {
		t.Errorf("%d MiB more were in use on the way, want at most %d", most>>20, room>>20)
	}
	t.Logf("%d lines, %d KiB more in use at most", lines, most>>10)
	for qos, want := range map[string]int{"0": lines / 2, "1": lines / 2} {
		if got := g.metric(fmt.Sprintf(`gateway_publish_total{outcome="ok",qos="%s",via="batch"}`, qos)); int(got) != want {
			t.Errorf("QoS %s: got %v publishes, want %d", qos, got, want)
		}
	}
}

// The messages of a stream arrive at the broker in the order of their lines.
func TestStreamKeepsTheOrderOfATopic(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	raw := brokertest.Dial(t, broker.Addr())
	raw.Subscribe("order/#", 1)
	const lines = 2000
	var body bytes.Buffer
	for n := range lines {
		fmt.Fprintf(&body, `{"topic":"order/%d","payload":%d}`+"\n", n%3, n)
	}
	a := g.mustSend("POST", "/publish/batch", body.Bytes(), "Content-Type: application/x-ndjson")
	if n := bytes.Count([]byte(a.body), []byte(`"status":200`)); n != lines {
		t.Fatalf("got %d results with status 200, want %d", n, lines)
	}
	raw.WaitCount(lines, patience)
	checkOrder(t, raw.Received())
}
