package api

import (
	"log/slog"
	"runtime"
	"testing"
)

// TestClosedWebSocketsAreCollected opens and closes many connections, with a
// close frame and without: what is left of each must be nothing, or a gateway
// that runs for months fills up.
func TestClosedWebSocketsAreCollected(t *testing.T) {
	g := startRig(t, func(o *Options) { o.Log = slog.New(slog.DiscardHandler) })
	const round = 400
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // finalizers and pools need more than one
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	openAndClose := func(t *testing.T) {
		for i := range round {
			s := g.dial(t, "/ws?topic=a/b")
			s.until("ack")
			if i%2 == 0 {
				s.write(maskedFrame(0x88, closePayload(1000, "")))
				s.closed()
			}
			_ = s.conn.Close()
		}
		eventuallyTrue(t, "all streams to end", func() bool { return g.server.streams.Load() == 0 })
	}
	t.Run("first", openAndClose) // pools and tables grow to their size
	before := heap()
	for range 3 {
		t.Run("more", openAndClose)
	}
	if left := (heap() - before) / (3 * round); left > 256 {
		t.Errorf("each closed WebSocket leaves %d bytes, want none", left)
	}
}
