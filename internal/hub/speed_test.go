package hub

import (
	"bytes"
	"context"
	"fmt"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// drain is a Transport that takes everything at once and frames like a
// WebSocket, roughly.
type drain struct{ bytes atomic.Int64 }

func (d *drain) Name() string    { return "drain" }
func (d *drain) Framing() string { return "drain" }
func (d *drain) TryWrite(p []byte) (int, error) {
	d.bytes.Add(int64(len(p)))
	return len(p), nil
}
func (d *drain) WriteAll(p []byte) (int, error)          { return d.TryWrite(p) }
func (d *drain) Hurry()                                  {}
func (d *drain) Finish()                                 {}
func (d *drain) Abort()                                  {}
func (d *drain) Silent(time.Time) bool                   { return false }
func (d *drain) KeepAlive(time.Time) []byte              { return nil }
func (d *drain) AppendFrame([]byte, outbox.Frame) []byte { return nil }
func (d *drain) AppendMessage(dst []byte, _ *message.Message, body []byte) []byte {
	return append(append(dst, 0x81, byte(len(body))), body...)
}
func (d *drain) AppendClose(dst []byte, _ outbox.CloseReason) []byte { return dst }

// crowd is a hub with clients that hold filters.
func crowd(tb testing.TB, clients int, filters func(i int) []string) *Hub {
	tb.Helper()
	h := New(Options{Upstream: newBroker(), Epoch: "e", HistoryBytes: 64 << 20, ValuesBytes: 64 << 20})
	tb.Cleanup(h.Close)
	h.BrokerUp(false)
	for i := range clients {
		c := h.Attach(&drain{}, &drain{}, nil, nil)
		c.Subscribe(context.Background(), &Request{Results: results(filters(i)...)})
	}
	return h
}

// settled returns when all that was accepted has been framed.
func settled(tb testing.TB, h *Hub, delivered uint64) {
	tb.Helper()
	h.mu.Lock()
	framed := h.deliveredBy("drain")
	h.mu.Unlock()
	for framed.Load() < delivered {
		runtime.Gosched()
	}
}

// Once everything has its size, a delivery allocates nothing: what a burst of
// messages costs does not depend on how many clients it goes to.
func TestDeliveryAllocatesNothing(t *testing.T) {
	const burst = 64
	cost := func(clients int) float64 {
		h := crowd(t, clients, func(int) []string { return []string{"bench/x"} })
		in := Inbound{Topic: "bench/x", Payload: bytes.Repeat([]byte("x"), 100)}
		var sent uint64
		return testing.AllocsPerRun(50, func() {
			for range burst {
				h.Accept(in)
				sent += uint64(clients)
			}
			h.Flush()
			for {
				if h.Stats().Delivered["drain"] == sent {
					return
				}
				runtime.Gosched()
			}
		})
	}
	few, many := cost(1), cost(201)
	t.Logf("a burst of %d to 1 client: %.0f allocations, to 201: %.0f", burst, few, many)
	if each := (many - few) / (burst * 200); each > 0.005 {
		t.Errorf("got %.4f allocations a delivery, want 0", each)
	}
}

func BenchmarkIngest(b *testing.B) {
	h := crowd(b, 0, nil)
	in := Inbound{Topic: "bench/x", Payload: bytes.Repeat([]byte("x"), 100)}
	b.ReportAllocs()
	for b.Loop() {
		h.Ingest(in)
	}
}

// BenchmarkFanOut is one message to 200 clients, in bursts of 64.
func BenchmarkFanOut(b *testing.B) {
	const clients, burst = 200, 64
	h := crowd(b, clients, func(int) []string { return []string{"bench/x"} })
	in := Inbound{Topic: "bench/x", Payload: bytes.Repeat([]byte("x"), 100)}
	b.ReportAllocs()
	var sent uint64
	start := time.Now()
	for b.Loop() {
		for range burst {
			h.Accept(in)
			sent += clients
		}
		h.Flush()
		settled(b, h, sent)
	}
	b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(sent), "ns/delivery")
}

// BenchmarkFilters is one message to one client, with few filters and with
// many; the cost of finding the client should hardly grow.
func BenchmarkFilters(b *testing.B) {
	for _, each := range []int{1, 1000} {
		b.Run(fmt.Sprint(10*each), func(b *testing.B) {
			h := crowd(b, 10, func(i int) []string {
				var filters []string
				for j := range each {
					filters = append(filters, fmt.Sprint("bench/", i*each+j))
				}
				return filters
			})
			topics := make([]string, 10*each)
			for i := range topics {
				topics[i] = fmt.Sprint("bench/", i)
			}
			payload := bytes.Repeat([]byte("x"), 100)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				h.Ingest(Inbound{Topic: topics[n*7919%len(topics)], Payload: payload})
				n++
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	f := wire.Fields{Topic: "bench/x", Payload: bytes.Repeat([]byte("x"), 100), Time: time.Now(), Epoch: "k3f9c2", Seq: 1042}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = wire.AppendMessage(buf[:0], &f)
	}
}
