package api

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
)

// comings are the ways to come and to go. What is left of each must be nothing,
// or a gateway that runs for months fills up.
var comings = map[string]func(t *testing.T, g *rig, i int){
	"WebSockets": func(t *testing.T, g *rig, i int) {
		s := g.dial(t, "/ws?topic=a/b")
		s.until("ack")
		if i%2 == 0 { // with a close frame, or without
			s.write(maskedFrame(0x88, closePayload(1000, "")))
			s.closed()
		}
		_ = s.conn.Close()
	},
	"WebSockets that are closed for what they send": func(t *testing.T, g *rig, _ int) {
		s := g.dial(t, "/ws")
		s.write(maskedFrame(binaryFrame, "x"))
		s.closed()
		_ = s.conn.Close()
	},
	"refused upgrades": func(t *testing.T, g *rig, _ int) {
		_ = exchange(t, g.public, request("GET", "/ws?topic=a/%23/b", "", upgradeHeaders...)).conn.Close()
	},
	"server-sent events": func(t *testing.T, g *rig, _ int) { comeAndGo(t, g, "sse") },
	"lines of JSON":      func(t *testing.T, g *rig, _ int) { comeAndGo(t, g, "ndjson") },
	"lines of text":      func(t *testing.T, g *rig, _ int) { comeAndGo(t, g, "text") },
	"streams with min_interval": func(t *testing.T, g *rig, _ int) {
		s := g.open(t, "/events?topic=a/b&min_interval=1h&format=ndjson")
		s.line()
		g.server.opts.Hub.Ingest(hub.Inbound{Topic: "a/b", Payload: []byte("1")})
		_ = s.conn.Close()
	},
	"streams of devices": func(t *testing.T, g *rig, i int) {
		s := g.open(t, "/events?devices=true&snapshot=true&format="+[]string{"sse", "ndjson"}[i%2])
		s.line()
		_ = s.conn.Close()
	},
	"WebSockets with devices": func(t *testing.T, g *rig, i int) {
		s := g.dial(t, "/ws")
		for range 1 + i%2 { // the second takes the place of the first
			s.write(maskedFrame(textFrame, `{"op":"subscribe","id":1,"devices":true,"snapshot":true}`))
			s.until("snapshot_end")
		}
		_ = s.conn.Close()
	},
	"requests": func(t *testing.T, g *rig, i int) {
		if i%2 == 0 { // with a reply, or without
			_ = exchange(t, g.public, request("POST", "/request/cmnd/x/POWER?reply=stat/x/POWER", "x")).conn.Close()
			return
		}
		c := connect(t, g.public)
		fmt.Fprint(c, request("POST", "/request/a?reply=never&timeout=1m", "x"))
		eventuallyTrue(t, "it waits", func() bool { return g.server.waiting.Load() > 0 })
		_ = c.Close()
	},
	"waiting reads": func(t *testing.T, g *rig, _ int) {
		c := connect(t, g.public)
		fmt.Fprint(c, request("GET", "/topics/never", "", "Prefer: wait=60"))
		eventuallyTrue(t, "it waits", func() bool { return g.server.streams.Load() > 0 })
		_ = c.Close()
	},
	"lists": func(t *testing.T, g *rig, _ int) {
		_ = exchange(t, g.public, request("GET", "/topics", "")).conn.Close()
		_ = exchange(t, g.public, request("GET", "/history?filter=%23", "")).conn.Close()
	},
	"publishes": func(t *testing.T, g *rig, _ int) { _ = exchange(t, g.public, publishRequest(valid)).conn.Close() },
	"batches": func(t *testing.T, g *rig, i int) {
		array := "[" + strings.Repeat(valid+",", 9) + valid + "]"
		_ = exchange(t, g.public, request("POST", "/publish/batch", array, "Content-Type: application/json")).conn.Close()
		d := g.duplex(t)
		d.send(valid + "\n" + valid[:i%10])
		d.line()
		_ = d.conn.Close()
	},
	"documents": func(t *testing.T, g *rig, _ int) { _ = exchange(t, g.public, request("GET", "/docs", "")).conn.Close() },
}

// passing is a broker side that remembers nothing, with a device that answers.
type passing struct {
	memoryBroker
	hub *hub.Hub
}

func (p *passing) Publish(m Outbound) (Pending, error) {
	if m.Topic == "cmnd/x/POWER" {
		p.hub.Ingest(hub.Inbound{Topic: "stat/x/POWER", Payload: []byte("ON")})
	}
	return done{}, nil
}

func (*passing) Want(context.Context, string) error { return nil }
func (*passing) Release(string)                     {}

func comeAndGo(t *testing.T, g *rig, format string) {
	t.Helper()
	s := g.open(t, "/events?snapshot=true&topic=a/b&format="+format)
	if format == "text" { // which says nothing by itself
		eventuallyTrue(t, "it is subscribed", func() bool { return g.server.joining.Load() == 0 })
	} else {
		s.line()
	}
	_ = s.conn.Close()
}

// TestWhatHasEndedIsCollected lets many of each kind come and go, and compares
// the heap.
func TestWhatHasEndedIsCollected(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // finalizers and pools need more than one
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for name, come := range comings {
		t.Run(name, func(t *testing.T) {
			broker := &passing{}
			broker.hub = hub.New(hub.Options{Upstream: broker, Linger: time.Millisecond})
			broker.hub.BrokerUp(false)
			t.Cleanup(broker.hub.Close)
			g := startRig(t, func(o *Options) { o.Log, o.Publisher, o.Hub = slog.New(slog.DiscardHandler), broker, broker.hub })
			const round = 80
			comeAndGo := func(t *testing.T) {
				for i := range round {
					come(t, g, i)
				}
				eventuallyTrue(t, "all to end", func() bool {
					return g.server.streams.Load() == 0 && g.server.waiting.Load() == 0 && g.server.writing.len() == 0 &&
						g.server.bodies.bytes() == 0 && g.server.answers.bytes() == 0
				})
			}
			t.Run("first", comeAndGo) // pools and tables grow to their size
			before := heap()
			for range 3 {
				t.Run("more", comeAndGo)
			}
			if left := (heap() - before) / (3 * round); left > 512 {
				t.Errorf("%d bytes are left of each, want none", left)
			}
		})
	}
}
