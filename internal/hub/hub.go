// Package hub is the middle of the gateway: it puts every message from the
// broker in one sequence, encodes it once, and hands the same bytes to each
// client that subscribed. It knows neither MQTT nor HTTP.
//
// A message never waits for a client: each client has a bounded outbox, a few
// shards write all outboxes without blocking, and a client that cannot keep up
// is told and cut off.
package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Inbound is a message as the broker side hands it over. The hub owns Payload
// from then on.
type Inbound struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool // the broker delivered it as a retained copy
}

// Errors of Upstream.
var (
	// ErrRefused: the broker does not grant the filter.
	ErrRefused = errors.New("the broker refused the filter")
	// ErrNotCovered: the gateway is set to watch other filters only.
	ErrNotCovered = errors.New("the filter lies outside of what the gateway watches")
)

// Upstream is what the hub needs from the broker side. All methods may be
// called concurrently.
type Upstream interface {
	// Want makes the messages that match filter reach Ingest and returns when
	// that is in force; each call is undone by one Release. After an error
	// nothing is held.
	Want(ctx context.Context, filter string) error
	Release(filter string)
	// Retained fetches the retained messages that match filter. When it
	// returns, Ingest has been called for every message that the broker
	// handled before it answered the fetch.
	Retained(ctx context.Context, filter string) ([]Inbound, error)
}

// Options of a Hub. Zero values give the defaults in brackets.
type Options struct {
	Upstream   Upstream
	Epoch      string // names this life of the gateway [random]
	QueueBytes int    // outbox of one client [1 MiB]
	Log        *slog.Logger
	Shards     int           // writers [GOMAXPROCS]
	KeepAlive  time.Duration // between keep-alives on each connection [20s]
	FetchTime  time.Duration // longest wait for retained messages before a subscription joins without [3s]
}

// Hub fans messages out to clients. Ingest, BrokerUp, BrokerDown and Dropped
// must be called one at a time, in the order in which things happened;
// everything else may be called concurrently.
type Hub struct {
	opts   Options
	shards []*shard
	wg     sync.WaitGroup
	done   chan struct{}

	mu      sync.Mutex // guards all below: the sequence and who sees what from where
	seq     uint64
	subs    topic.Trie[*subscription]
	clients map[*Client]struct{}
	fetches map[string]*fetch
	owed    map[*Client][]string // filters whose retained messages are still to be sent
	scratch [][]*subscription
	broker  wire.Broker
	downAt  uint64 // seq when the broker connection was lost
	closing bool
	stats   counters

	owing  chan struct{} // wakes the worker that serves owed
	nextID atomic.Uint64
}

// New starts a hub; Close ends it.
func New(o Options) *Hub {
	if o.Epoch == "" {
		o.Epoch = newEpoch()
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 1 << 20
	}
	if o.Shards == 0 {
		o.Shards = runtime.GOMAXPROCS(0)
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 20 * time.Second
	}
	if o.FetchTime == 0 {
		o.FetchTime = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Hub{
		opts:    o,
		done:    make(chan struct{}),
		clients: map[*Client]struct{}{},
		fetches: map[string]*fetch{},
		owed:    map[*Client][]string{},
		owing:   make(chan struct{}, 1),
		broker:  wire.Broker{Type: "broker", Since: time.Now().UTC()},
	}
	h.stats.init()
	for range o.Shards {
		s := newShard(h)
		h.shards = append(h.shards, s)
		h.wg.Go(s.run)
	}
	h.wg.Go(h.serveOwed)
	return h
}

// newEpoch gives 60 random bits as 12 characters that need no escaping.
func newEpoch() string {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range b {
		b[i] = alphabet[b[i]&31]
	}
	return string(b[:])
}

// Epoch names this life of the gateway: the first part of every cursor.
func (h *Hub) Epoch() string { return h.opts.Epoch }

// Cursor is the place of the newest message.
func (h *Hub) Cursor() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cursor(h.seq)
}

func (h *Hub) cursor(seq uint64) string {
	return string(wire.AppendCursor(nil, h.opts.Epoch, seq))
}

// Ingest takes one message from the broker: stamps, encodes, fans out.
// Retained copies are only counted; each newcomer fetches its own.
func (h *Hub) Ingest(in Inbound) {
	h.mu.Lock()
	h.stats.received++
	if in.Retain {
		h.mu.Unlock()
		return
	}
	h.seq++
	m := newMessage(in, h.opts.Epoch, h.seq, time.Now())
	h.scratch = h.subs.Match(h.scratch[:0], in.Topic)
	for _, subs := range h.scratch {
		for _, s := range subs {
			s.take(m)
		}
	}
	h.mu.Unlock()
	for _, s := range h.shards {
		s.kick()
	}
}

// BrokerDown tells every client that the broker connection is gone.
func (h *Hub) BrokerDown() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.downAt = h.seq
	h.setBroker(false)
}

// BrokerUp tells every client that messages flow again. With lost, some may
// have passed while they did not: each client gets a gap first.
func (h *Hub) BrokerUp(lost bool) {
	h.mu.Lock()
	if lost {
		h.gap(h.downAt, wire.GapBrokerConnectionLost, true)
	}
	h.setBroker(true)
	h.mu.Unlock()
	h.wakeOwed()
}

// Dropped tells every client that the broker or the link to it dropped
// messages; certain is false where it is not known that they were ours.
func (h *Hub) Dropped(certain bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gap(h.seq, wire.GapBrokerOverflow, certain)
}

// gap gives the hole a place of its own in the sequence and tells everybody.
func (h *Hub) gap(after uint64, reason string, certain bool) {
	h.seq++
	h.broadcast("gap", &wire.Gap{
		Type: "gap", After: h.cursor(after), Before: h.cursor(h.seq), Reason: reason, Certain: certain,
	}, func(*Client) { h.stats.gaps[reason]++ })
}

func (h *Hub) setBroker(connected bool) {
	if h.broker.Connected == connected {
		return
	}
	h.broker.Connected, h.broker.Since = connected, time.Now().UTC().Truncate(time.Microsecond)
	h.broadcast("broker", &h.broker, func(*Client) {})
}

func (h *Hub) broadcast(kind string, frame any, each func(*Client)) {
	body := encode(frame)
	for c := range h.clients {
		each(c)
		c.send(kind, body)
	}
	for _, s := range h.shards {
		s.kick()
	}
}

// Shutdown tells every client to go, in parallel, and returns when all have
// gone or ctx ends. No client is taken any more.
func (h *Hub) Shutdown(ctx context.Context) {
	h.mu.Lock()
	h.closing = true
	for c := range h.clients {
		c.Close(CloseShutdown)
	}
	h.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		h.mu.Lock()
		left := len(h.clients)
		h.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close aborts what is left and ends the hub's goroutines.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closing = true
	for c := range h.clients {
		c.abort()
	}
	h.mu.Unlock()
	close(h.done)
	h.wg.Wait()
}
