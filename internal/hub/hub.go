// Package hub is the middle of the gateway: it puts every message from the
// broker in one sequence, encodes it once, and hands the same bytes to each
// client that subscribed. It knows neither MQTT nor HTTP.
//
// A message never waits for a client: each client has a bounded outbox, a few
// shards write all outboxes without blocking, and a client that cannot keep up
// is told and cut off.
package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime"
	"slices"
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
	// Watched reports whether the filter is covered as long as the gateway runs.
	Watched(filter string) bool
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
	TotalQueue int64  // all outboxes together [256 MiB]
	Log        *slog.Logger
	Shards     int           // writers [GOMAXPROCS]
	KeepAlive  time.Duration // how often each connection is looked at for keep-alives [5s]
	FetchTime  time.Duration // longest wait for retained messages before a subscription joins without [3s]
	Linger     time.Duration // how long a filter that nobody wants any more is watched on [5s]

	HistoryBytes int64         // 0: no history
	HistoryAge   time.Duration // [10m]
	ValuesBytes  int64         // newest messages, for snapshots [64 MiB]

	// Decode gives the value of a payload, one JSON text without line breaks,
	// or the problem with it, in valid UTF-8; neither where the topic has no
	// decoder. It may be called concurrently and does not keep the payload.
	Decode func(topic string, payload []byte) (value []byte, problem string) // [none]
}

// Hub fans messages out to clients. Ingest, Accept, Flush, BrokerUp, BrokerDown
// and Dropped must be called one at a time, in the order in which things
// happened; everything else may be called concurrently.
type Hub struct {
	opts   Options
	shards []*shard
	wg     sync.WaitGroup
	done   chan struct{}

	mu        sync.Mutex // guards all below: the sequence and who sees what from where
	seq       uint64
	subs      topic.Trie[*subscription]
	clients   map[*Client]struct{}
	fetches   map[string]*fetch
	watches   map[string]*watch
	clears    map[string][]*expected // empty messages on their way that delete a topic's retained one
	archive   archive
	throttled []*subscription      // scratch
	owed      map[*Client][]string // filters whose retained messages are still to be sent
	scratch   [][]*subscription
	broker    wire.Broker
	downAt    uint64 // seq when the broker connection was lost
	wasUp     bool   // the broker connection has been up before
	upAt      time.Time
	clock     clock
	closing   bool
	stats     counters

	// Of whoever calls Accept and Flush.
	press     press
	batch     []*Client // scratch
	unflushed int       // bytes accepted since the writers were woken

	owing   chan struct{} // wakes the worker that serves owed
	greedy  chan struct{} // wakes the worker that sheds
	queued  atomic.Int64  // bytes that wait for all clients
	replays chan struct{} // places for those who read the history
	nextID  atomic.Uint64
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
		o.KeepAlive = 5 * time.Second
	}
	if o.FetchTime == 0 {
		o.FetchTime = 3 * time.Second
	}
	if o.TotalQueue == 0 {
		o.TotalQueue = 256 << 20
	}
	if o.Linger == 0 {
		o.Linger = 5 * time.Second
	}
	if o.HistoryAge == 0 {
		o.HistoryAge = 10 * time.Minute
	}
	if o.ValuesBytes == 0 {
		o.ValuesBytes = 64 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Hub{
		opts:    o,
		done:    make(chan struct{}),
		clients: map[*Client]struct{}{},
		fetches: map[string]*fetch{},
		watches: map[string]*watch{},
		clears:  map[string][]*expected{},
		archive: archive{limit: o.HistoryBytes, age: o.HistoryAge, values: o.ValuesBytes},
		clock:   newClock(o.HistoryAge),
		owed:    map[*Client][]string{},
		owing:   make(chan struct{}, 1),
		greedy:  make(chan struct{}, 1),
		replays: make(chan struct{}, maxReplays),
		broker:  wire.Broker{Type: "broker", Since: time.Now().UTC().Truncate(time.Microsecond)},
	}
	h.stats.init()
	for range o.Shards {
		s := newShard(h)
		h.shards = append(h.shards, s)
		h.wg.Go(s.run)
	}
	h.wg.Go(h.serveOwed)
	h.wg.Go(h.housekeeping)
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

// Ingest is Accept and Flush.
func (h *Hub) Ingest(in Inbound) {
	h.Accept(in)
	h.Flush()
}

// Accept takes one message from the broker: stamps, encodes, remembers, queues
// it for everybody who subscribed. It is written with the next Flush. Retained
// copies are only remembered; each newcomer fetches its own.
func (h *Hub) Accept(in Inbound) {
	now := time.Now()
	d := h.decode(in) // without the lock: it may take its time
	h.mu.Lock()
	h.stats.received++
	if in.Retain {
		if len(in.Payload) > 0 {
			h.archive.addRetained(newMessage(in, d, "", 0, now), h.downAt)
		}
		h.mu.Unlock()
		return
	}
	h.seq++
	m := newMessage(in, d, h.opts.Epoch, h.seq, now)
	h.archive.add(m, now, m.empty() && h.takeClear(m.Topic))
	h.scratch = h.subs.Match(h.scratch[:0], in.Topic)
	for _, subs := range h.scratch {
		for _, s := range subs {
			s.take(m)
		}
	}
	for _, s := range h.throttled {
		s.takeThrottled(m, now)
	}
	h.throttled = h.throttled[:0]
	h.mu.Unlock()
	if h.unflushed += len(m.JSON); h.unflushed > batchBytes { // a long burst
		h.unflushed = 0
		h.kick()
	}
}

// few is how many clients of a shard the caller of Flush writes to itself.
const few = 16

// Flush lets what was accepted be written: to a few clients at once, which is
// quicker than to wake a shard for it, to many by the shards, side by side.
func (h *Hub) Flush() {
	h.unflushed = 0
	for _, s := range h.shards {
		batch, all := s.takeFew(h.batch[:0])
		for i, c := range batch {
			if c.out.flush(&h.press) {
				s.add(c)
				all = false
			}
			batch[i] = nil
		}
		h.batch = batch
		if !all {
			s.kick()
		}
	}
	h.press.reset()
}

// BrokerDown tells every client that the broker connection is gone.
func (h *Hub) BrokerDown() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.downAt = h.seq
	h.setBroker(false)
}

// BrokerUp tells every client that messages flow again, and first that some
// passed while they did not. With lost that is certain; otherwise the broker
// has kept those of QoS 1, but none of QoS 0.
func (h *Hub) BrokerUp(lost bool) {
	h.mu.Lock()
	if h.wasUp {
		h.gap(h.downAt, wire.GapBrokerConnectionLost, lost)
	}
	h.wasUp, h.upAt = true, time.Now()
	h.setBroker(true)
	h.mu.Unlock()
	h.wakeOwed()
}

// Dropped tells every client that the broker or the link to it dropped
// messages after since; certain is false where it is not known that they were
// ours.
func (h *Hub) Dropped(certain bool, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	after := h.seq
	if !certain {
		after = h.clock.at(since)
	}
	h.gap(after, wire.GapBrokerOverflow, certain)
}

// gap gives the hole a place of its own in the sequence, tells everybody, and
// keeps it for those who come back later.
func (h *Hub) gap(after uint64, reason string, certain bool) {
	h.seq++
	place := h.cursor(h.seq)
	body := encode(&wire.Gap{Type: "gap", After: h.cursor(after), Before: place, Reason: reason, Certain: certain})
	h.archive.mark(&Message{Topic: reason, Seq: h.seq, JSON: body, mark: true}, time.Now())
	for c := range h.clients {
		if c.replaying == 0 { // who reads the history finds it there, in its place
			c.flushHeld()
			h.stats.gaps[reason].Add(1)
			c.send(Frame{Kind: "gap", Cursor: place, Body: body})
		}
	}
	h.kick()
}

func (h *Hub) setBroker(connected bool) {
	if h.broker.Connected == connected {
		return
	}
	h.broker.Connected, h.broker.Since = connected, time.Now().UTC().Truncate(time.Microsecond)
	h.broadcast(Frame{Kind: "broker", Body: encode(&h.broker)})
}

func (h *Hub) broadcast(f Frame) {
	for c := range h.clients {
		c.send(f)
	}
	h.kick()
}

func (h *Hub) kick() {
	for _, s := range h.shards {
		s.kick()
	}
}

// housekeeping expires history and sheds the greediest clients.
func (h *Hub) housekeeping() {
	tick := time.NewTicker(min(time.Second, max(h.opts.HistoryAge/10, time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-h.done:
			return
		case now := <-tick.C:
			h.mu.Lock()
			h.archive.expire(now)
			h.clock.tick(now, h.seq)
			h.mu.Unlock()
		case <-h.greedy:
			h.shed()
		}
	}
}

// count keeps the sum of what waits for all clients.
func (h *Hub) count(bytes int) {
	if bytes != 0 && h.queued.Add(int64(bytes)) > h.opts.TotalQueue && bytes > 0 {
		select {
		case h.greedy <- struct{}{}:
		default:
		}
	}
}

// shed ends the clients that hold the most until all together fit again.
func (h *Hub) shed() {
	type holder struct {
		client *Client
		bytes  int
	}
	var holders []holder
	h.mu.Lock()
	for c := range h.clients {
		if n := c.out.held(); n > 0 {
			holders = append(holders, holder{c, n})
		}
	}
	h.mu.Unlock()
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, x := range holders {
		if h.queued.Load() <= h.opts.TotalQueue {
			return
		}
		if x.client.out.shed() {
			h.stats.shed.Add(1)
			x.client.shard.kick()
		}
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
