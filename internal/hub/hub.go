// Package hub is the middle of the gateway: it puts every message from the
// broker in one sequence, encodes it once, and hands the same bytes to each
// client that subscribed. It knows neither MQTT nor HTTP.
//
// A message never waits for a client: each client has a bounded outbox, a few
// shards write all outboxes without blocking, and a client that does not keep
// up is served from the history, or told and cut off.
//
// # The lock
//
// Hub.mu guards the sequence, what is remembered, and who sees what from where.
// An outbox's own lock is taken under it, a shard's under that. Nothing is
// logged, written, decoded or encoded under it, and what is done under it at
// one time is bounded:
//
//	Accept            a map look-up, a trie look-up (maxWidth, whatever filters
//	                  there are), a heap of topics (logarithm),
//	                  two look-ups for all waiters of a filter, a step for each
//	                  subscription that matches the message, and a decision for
//	                  each class of rights among them
//	trimming          trimSteps messages or topics, then the lock is given back
//	expiring          expireSteps topics or messages
//	lists, snapshots  walkSteps topics, matching or not
//	history, resume,  searchSteps topics or evictions and replayLooks messages,
//	catching up       matching or not
//	min_interval      releaseSteps topics; what waits of one client, at most its
//	                  limit, when a gap or an ack has to follow it
//	joining           lastMerged messages; the filters of one request
//	gaps for all,     clientSteps clients
//	shedding, closing
//	leaving           the filters of one client
package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"hash/maphash"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Upstream is what the hub needs from the broker side. All methods may be
// called concurrently.
type Upstream interface {
	// Want makes the messages that match filter reach Accept and returns when
	// that is in force; each call is undone by one Release. After an error
	// nothing is held. The errors are ErrRefused, ErrNotCovered, or any other
	// when the broker does not confirm.
	Want(ctx context.Context, filter string) error
	Release(filter string)
	// Watched reports whether the filter is covered as long as the gateway
	// runs. It is called under the hub's lock and must not block.
	Watched(filter string) bool
	// Retained fetches the retained messages that match filter. When it
	// returns, Accept has been called for every message that the broker
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
	KeepAlive  time.Duration // how often each connection is looked at for keep-alives [1s]
	FetchTime  time.Duration // longest wait for retained messages before a subscription joins without [3s]
	Linger     time.Duration // how long a filter that nobody wants any more is watched on [5s]

	HistoryBytes int64         // 0: no history
	HistoryAge   time.Duration // [10m]
	ValuesBytes  int64         // newest messages, for snapshots [64 MiB]
	IndexBytes   int64         // topics, without their messages [64 MiB]

	// Decode gives the value of a payload, one JSON text without line breaks,
	// or the problem with it, in valid UTF-8; neither where the topic has no
	// decoder. It may be called concurrently and does not keep the payload.
	Decode func(topic string, payload []byte) (value []byte, problem string) // [none]

	// Problem is what a client is told of an Error. [its code and detail]
	Problem func(error) *wire.Problem
}

func (o *Options) complete() {
	o.Epoch = cmp.Or(o.Epoch, newEpoch())
	o.QueueBytes = cmp.Or(o.QueueBytes, 1<<20)
	o.TotalQueue = cmp.Or(o.TotalQueue, 256<<20)
	o.Shards = cmp.Or(o.Shards, runtime.GOMAXPROCS(0))
	o.KeepAlive = cmp.Or(o.KeepAlive, time.Second)
	o.FetchTime = cmp.Or(o.FetchTime, 3*time.Second)
	o.Linger = cmp.Or(o.Linger, 5*time.Second)
	o.HistoryAge = cmp.Or(o.HistoryAge, 10*time.Minute)
	o.ValuesBytes = cmp.Or(o.ValuesBytes, 64<<20)
	o.IndexBytes = cmp.Or(o.IndexBytes, 64<<20)
	if o.Problem == nil {
		o.Problem = func(err error) *wire.Problem {
			e := explained(err)
			return &wire.Problem{Code: e.Code, Detail: e.Detail}
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Hub fans messages out to clients. Ingest, Accept, Flush, BrokerUp, BrokerDown
// and Dropped must be called one at a time, in the order in which things
// happened; everything else may be called concurrently.
type Hub struct {
	// Static after New.
	opts      Options
	shared    *outbox.Shared
	queued    *outbox.Sum
	writers   *outbox.Writers
	gapCounts map[string]*atomic.Uint64 // gap frames sent, by reason
	seeds     [2]maphash.Seed           // of payloadKey
	ctx       context.Context           // ends with Close
	cancel    context.CancelFunc
	done      <-chan struct{} // of ctx
	wg        sync.WaitGroup

	mu           lock // guards all below: see the package's comment
	seq          uint64
	interests    topic.Trie[*interest]
	byFilter     map[string]*interest
	levels       map[any]int // of the filters of each holder: see charge
	filters      int         // subscriptions in force
	clients      clients
	fetches      map[string]*fetch
	watches      map[string]*watch
	watched      topic.Trie[*watch] // of them, those in force
	clears       clears
	classes      map[any]*class // of rights, by Rights.Class
	memory       *memory.Memory
	owed         owed
	broker       wire.Broker
	downAt       uint64 // seq when the broker connection was lost
	upAt         uint64 // seq when it was there again
	closing      bool
	received     uint64
	unremembered uint64                    // messages on topics that are too deep or long
	keepsSuch    bool                      // the broker keeps some of them as retained
	subscribers  map[string]int            // by transport
	delivered    map[string]*atomic.Uint64 // by transport

	// Scratch, empty between calls.
	throttled []*subscription
	matched   [][]*interest
	covering  [][]*watch
	satisfied []*interest

	// Of the caller of Accept.
	unflushed int  // bytes accepted since the writers were woken
	wasUp     bool // the broker connection has been up before

	preparing  sync.Mutex    // held while the copies of one fetch are encoded; hub.mu is taken under it
	expecting  atomic.Int64  // waiters for a certain payload
	owing      chan struct{} // wakes the worker that pays what is owed
	readers    chan struct{} // places for those who read the history or the topics, one part at a time
	collectors chan struct{} // places for those who make a snapshot
	nextID     atomic.Uint64 // of clients
}

// lock is a mutex that counts how often it was taken: work that is done in parts
// takes it once for each.
type lock struct {
	sync.Mutex
	taken uint64
}

// Lock implements sync.Locker.
func (l *lock) Lock() {
	l.Mutex.Lock()
	l.taken++
}

// New starts a hub; Close ends it.
func New(o Options) *Hub {
	o.complete()
	h := &Hub{
		opts:      o,
		queued:    outbox.NewSum(o.TotalQueue),
		writers:   outbox.NewWriters(o.Shards, o.KeepAlive),
		gapCounts: newGapCounts(),
		seeds:     [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},

		byFilter:    map[string]*interest{},
		levels:      map[any]int{},
		fetches:     map[string]*fetch{},
		watches:     map[string]*watch{},
		clears:      clears{byTopic: map[string][]*expected{}},
		classes:     map[any]*class{},
		memory:      memory.New(memory.Limits{History: o.HistoryBytes, Age: o.HistoryAge, Values: o.ValuesBytes, Index: o.IndexBytes}),
		owed:        owed{},
		broker:      wire.Broker{Type: "broker", Since: time.Now().UTC().Truncate(time.Microsecond)},
		subscribers: map[string]int{},
		delivered:   map[string]*atomic.Uint64{},

		owing:      make(chan struct{}, 1),
		readers:    make(chan struct{}, maxReaders),
		collectors: make(chan struct{}, maxReaders),
	}
	h.shared = &outbox.Shared{Epoch: o.Epoch, Limit: o.QueueBytes, Queued: h.queued, Gaps: h.gapCounts}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.done = h.ctx.Done()
	h.wg.Go(h.serveOwed)
	h.wg.Go(h.expire)
	h.wg.Go(h.shed)
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

// What expire looks at: so much under one lock, so often in one round.
const (
	expireSteps  = 1024
	expireRounds = 20
)

// expire forgets what is older than the window.
func (h *Hub) expire() {
	tick := time.NewTicker(min(time.Second, max(h.opts.HistoryAge/10, time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-h.done:
			return
		case now := <-tick.C:
			for more, rounds := true, 0; more && rounds < expireRounds; rounds++ {
				h.mu.Lock()
				more = h.memory.Expire(now, expireSteps)
				h.memory.Tick(now, h.seq)
				h.mu.Unlock()
			}
		}
	}
}

// shed ends the clients that hold the most whenever all together hold too much,
// until they fit again.
func (h *Hub) shed() {
	for {
		select {
		case <-h.done:
			return
		case <-h.queued.Over():
			h.shedOnce()
		}
	}
}

func (h *Hub) shedOnce() {
	if h.queued.Excess() <= 0 { // those that are being ended hold it
		return
	}
	type holder struct {
		client *Client
		bytes  int64
	}
	var holders []holder
	h.eachClient(func(c *Client) int {
		if n := c.out.Bytes(); n > 0 {
			holders = append(holders, holder{c, n})
		}
		return 1
	})
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, x := range holders {
		if h.queued.Excess() <= 0 {
			return
		}
		x.client.out.Shed()
		x.client.out.Kick()
	}
}

// Shutdown tells every client to go, in parallel, and returns when all have
// gone or ctx ends. No client is taken any more.
func (h *Hub) Shutdown(ctx context.Context) {
	h.mu.Lock()
	h.closing = true
	empty := h.clients.whenEmpty()
	h.mu.Unlock()
	h.eachClient(func(c *Client) int { c.Close(outbox.CloseShutdown); return 1 })
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// Close aborts what is left and ends the hub's goroutines.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	h.eachClient(func(c *Client) int { c.out.Abort(); return 1 })
	h.cancel()
	h.wg.Wait()
	h.writers.Close()
}
