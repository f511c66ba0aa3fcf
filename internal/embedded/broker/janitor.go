package broker

import (
	"fmt"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// stats are counters; those that are not atomic are guarded by Broker.mu.
type stats struct {
	packetsIn           int64
	received, published int64 // messages in PUBLISH packets
	dropped             int64 // messages that a client did not get
	mostConnected       int
	bytesIn, bytesOut   atomic.Int64
}

const sysInterval = 10 * time.Second

// janitor does what is due, each second until Close. It takes the lock.
func (b *Broker) janitor() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	published := time.Now()
	for {
		select {
		case <-b.stop:
			return
		case now := <-tick.C:
			b.mu.Lock()
			b.touched = 0
			b.tidy(now)
			if now.Sub(published) >= sysInterval {
				b.publishSys()
				published = now
			}
			b.mu.Unlock()
		}
	}
}

// tidy publishes wills whose delay is over, and forgets sessions and retained messages that have expired.
func (b *Broker) tidy(now time.Time) {
	for _, s := range b.sessions {
		if s.conn != nil {
			continue
		}
		if s.will != nil && now.After(s.willAt) {
			will := s.will
			s.will = nil
			b.publishWill(s, will)
		}
		if at := s.expiresAt(); !at.IsZero() && now.After(at) {
			b.forget(s)
		}
	}
	b.sweepRetained(now)
	b.relieve()
}

// publishSys publishes the broker's figures, under the names that mosquitto gave them, as far as they have changed.
func (b *Broker) publishSys() {
	connected := len(b.conns) - len(b.connecting)
	b.stats.mostConnected = max(b.stats.mostConnected, connected)
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	figures := map[string]string{
		"version":                   "vulture gateway built-in broker",
		"uptime":                    fmt.Sprintf("%d seconds", int(time.Since(b.started).Seconds())),
		"clients/connected":         n(int64(connected)),
		"clients/disconnected":      n(int64(b.offline)),
		"clients/maximum":           n(int64(b.stats.mostConnected)),
		"clients/total":             n(int64(len(b.sessions))),
		"messages/received":         n(b.stats.packetsIn),
		"publish/messages/received": n(b.stats.received),
		"publish/messages/sent":     n(b.stats.published),
		"publish/messages/dropped":  n(b.stats.dropped),
		"bytes/received":            n(b.stats.bytesIn.Load()),
		"bytes/sent":                n(b.stats.bytesOut.Load()),
		"store/messages/bytes":      n(b.held),
		"retained messages/count":   n(int64(b.retainedCount)),
		"subscriptions/count":       n(int64(b.subscriptions.Len())),
		"heap/current":              n(int64(heap[0].Value.Uint64())),
	}
	for name, value := range figures {
		if b.sys[name] == value {
			continue
		}
		b.sys[name] = value
		m := newMessage(packet.Message{Topic: "$SYS/broker/" + name, Payload: []byte(value), Retain: true}, time.Now())
		b.retained.Set(m.Topic, m)
		b.route(m, nil)
	}
}
