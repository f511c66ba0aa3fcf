package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/wire"
)

// manyDevices is a registry with n devices.
func manyDevices(n int) *device.Registry {
	r := device.New(device.Options{Log: true})
	r.Up()
	for i := range n {
		r.Line(fmt.Sprintf("New client connected from 10.0.0.1:1 as dev-%d (p2, c1, k60).", i))
	}
	return r
}

// A reader of very many devices gets them all, and they never wait for
// it in memory all at once.
func TestAllDevicesComeAtTheReadersPace(t *testing.T) {
	const n = 20_000
	devices := manyDevices(n)
	g := startRig(t, func(o *Options) { o.Devices = devices })
	conn, err := net.Dial("tcp", g.listen(g.server.Public(), 4096))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET /events?devices=true&snapshot=true HTTP/1.0\r\nHost: localhost\r\n\r\n")
	seen, most := map[string]bool{}, int64(0)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "{") {
			continue
		}
		var d wire.Device
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if d.Type == wire.TypeSnapshotEnd {
			break
		}
		if d.Type == wire.TypeDevice {
			seen[d.ID] = true
		}
		if len(seen)%1000 == 0 {
			most = max(most, g.hub.Stats().Queued)
		}
	}
	if len(seen) != n {
		t.Errorf("got %d devices (%v), want %d", len(seen), lines.Err(), n)
	}
	if most > 512<<10 {
		t.Errorf("%d bytes waited for the reader, want a part of the list", most)
	}
	// What changes is told from then on.
	devices.Line("Client dev-7 disconnected.")
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"id":"dev-7","state":"offline"`) {
			return
		}
	}
	t.Errorf("the stream ended: %v", lines.Err())
}

// Ids that are long when they are escaped end nobody's stream: what waits for a
// reader is a part of them.
func TestLongIdsOfDevicesEndNoStream(t *testing.T) {
	const n = 300
	devices := device.New(device.Options{Log: true})
	devices.Up()
	for i := range n {
		devices.Line(fmt.Sprintf("New client connected from 10.0.0.1:1 as %s%d (p2, c1, k60).", strings.Repeat("\x01", 1000), i))
	}
	h := hub.New(hub.Options{Upstream: &memoryBroker{}, QueueBytes: 64 << 10})
	h.BrokerUp(false)
	t.Cleanup(h.Close)
	g := startRig(t, func(o *Options) { o.Devices, o.Hub = devices, h })
	conn, err := net.Dial("tcp", g.listen(g.server.Public(), 4096))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET /events?devices=true&snapshot=true HTTP/1.0\r\nHost: localhost\r\n\r\n")
	got := 0
	lines := bufio.NewScanner(conn)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), `{"type":"snapshot_end"`) {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, `{"type":"device"`):
			got++
		case strings.HasPrefix(line, `{"type":"gap"`):
			t.Fatalf("behind %d devices: got %s", got, line)
		}
	}
	if got != n {
		t.Errorf("got %d devices (%v), want %d", got, lines.Err(), n)
	}
}

// Who reads nothing is cut off, and nobody goes on writing. The rig fails if a
// goroutine is left.
func TestWhoReadsNoDevicesIsCutOff(t *testing.T) {
	devices := manyDevices(10_000)
	g := startRig(t, func(o *Options) { o.Devices, o.Stream = devices, stream.Timing{Write: 100 * time.Millisecond} })
	addr := g.listen(g.server.Public(), 4096)
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /events?devices=true&snapshot=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := conn.Read(make([]byte, 12)); err != nil { // the stream is there
			t.Fatal(err)
		}
	}
	eventuallyTrue(t, "no stream is left", func() bool { return g.server.streams.Load() == 0 })
}
