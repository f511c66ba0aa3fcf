// Package broker is a small MQTT broker for one machine: versions 3.1, 3.1.1 and 5, QoS 0 to 2, retained messages,
// wills, sessions that are kept, shared subscriptions. It lets everybody in and gives everybody every right.
//
// A packet goes one way: packet.Reader reads and checks it in the connection's goroutine; under the one lock of
// the Broker it is acted on; what it leads to is put into queues; each connection's writer empties its own. Nobody ever
// waits for another client's socket, and everything that is held for somebody has a bound (Limits).
//
// Unless its comment says that it takes the lock, everything in this package that touches a Broker, a session or
// a connection is called with Broker.mu held.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
	"github.com/vulturepi/gateway/internal/embedded/store"
	"github.com/vulturepi/gateway/internal/topic"
)

// Limits bound what clients can make the broker hold. Bytes of messages are those of topic, properties and payload, and
// some for keeping them.
type Limits struct {
	Packet        int           // bytes of a packet
	Arriving      int64         // bytes of packets that arrive, all connections together
	Connections   int           // open at once
	Connecting    int           // of these, without a CONNECT yet; the oldest makes room
	ConnectTime   time.Duration // for the CONNECT to arrive
	PartTime      time.Duration // for the next bytes of a packet to arrive
	EndTime       time.Duration // for a last answer to be taken
	Queue         int           // messages that wait for one client
	QueueBytes    int64         // and their bytes
	Window        int           // messages at QoS 1 and 2 that are sent to a client and not acknowledged
	Held          int64         // bytes of all messages that wait or are retained; each counts once. Who holds most is cut off
	Retained      int           // retained messages
	RetainedBytes int64         // and their bytes
	Subscriptions int64         // bytes of all filters
	Filters       int           // of one session
	Width         int           // places that one topic may lead to among all filters
	Sessions      int           // that are kept without a connection; the one that is gone longest makes room
	File          int           // bytes of the file on disk
	Answers       int           // bytes of answers that wait before no more is read from a client
}

// DefaultLimits are those of the built-in broker.
func DefaultLimits() Limits {
	return Limits{
		Packet:        16 << 20,
		Arriving:      64 << 20,
		Connections:   1024,
		Connecting:    128,
		ConnectTime:   10 * time.Second,
		PartTime:      20 * time.Second,
		EndTime:       2 * time.Second,
		Queue:         131_072,
		QueueBytes:    64 << 20,
		Window:        1000,
		Held:          256 << 20,
		Retained:      100_000,
		RetainedBytes: 64 << 20,
		Subscriptions: 32 << 20,
		Filters:       10_000,
		Width:         2048, // some 0.2 ms
		Sessions:      1000,
		File:          1 << 30,
		Answers:       64 << 10,
	}
}

// Options are what a Broker needs.
type Options struct {
	Dir    string // where retained messages and sessions are kept; "": in memory
	Log    *slog.Logger
	Limits Limits
}

// Broker is a running broker.
type Broker struct {
	limits  Limits
	log     throttle
	budget  *packet.Budget
	store   *store.Store // nil: nothing is on disk
	started time.Time
	stop    chan struct{}  // closed by Close
	tasks   sync.WaitGroup // connections and the janitor

	mu         sync.Mutex // guards everything below, and sessions and connections
	closing    bool
	listeners  []net.Listener
	conns      map[*conn]struct{}
	connecting []*conn // those without a CONNECT yet, oldest first
	sessions   map[string]*session
	number     uint64 // of the newest session
	offline    int    // sessions without a connection

	subscriptions     topic.Trie[*subscription]
	subscriptionBytes int64
	groups            map[groupKey]*group
	retained          topic.Names[*message]
	retainedCount     int // the broker's own are not among them
	retainedBytes     int64
	swept             string // up to where retained messages have been looked at for their expiry
	held              int64

	round   uint64            // of route: a session with this number has been found already
	found   [][]*subscription // scratch of route
	hits    []*session        // scratch of route
	touched uint64            // store mark of what the packet at hand changed; 0: nothing
	stats   stats
	sys     map[string]string // what was published last
}

// New makes a broker. With a directory it takes up what is kept there.
func New(o Options) (*Broker, error) {
	b := &Broker{
		limits: o.Limits, log: throttle{log: o.Log}, budget: packet.NewBudget(o.Limits.Arriving),
		started: time.Now(), stop: make(chan struct{}),
		conns: map[*conn]struct{}{}, sessions: map[string]*session{}, groups: map[groupKey]*group{}, sys: map[string]string{},
	}
	if o.Dir != "" {
		if err := b.open(o.Dir, o.Log); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	b.publishSys()
	b.mu.Unlock()
	b.tasks.Go(b.janitor)
	return b, nil
}

// Failed is closed when the disk does not take what is to be kept. The broker acknowledges nothing that depends on it
// from then on; Err says why.
func (b *Broker) Failed() <-chan struct{} { return b.store.Failed() }

// Err is the error behind Failed.
func (b *Broker) Err() error { return b.store.Err() }

// Serve accepts connections until Close. It may be called for several listeners, and closes them. It takes the lock.
func (b *Broker) Serve(l net.Listener) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return l.Close()
	}
	b.listeners = append(b.listeners, l)
	b.tasks.Add(1) // as long as it is here, more may be added
	b.mu.Unlock()
	defer b.tasks.Done()
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			if c := b.admit(nc); c != nil {
				b.tasks.Go(c.serve)
			}
		case errors.Is(err, net.ErrClosed):
			return nil
		default: // such as no file descriptor being left
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			b.log.Warn("a connection cannot be accepted", "err", err)
			select {
			case <-time.After(pause):
			case <-b.stop:
			}
		}
	}
}

// Close ends all connections, tells those who can hear it why, and writes what is to be kept. It takes the lock.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return nil
	}
	b.closing = true
	close(b.stop)
	for _, l := range b.listeners {
		_ = l.Close()
	}
	for c := range b.conns {
		if c.session == nil {
			_ = c.nc.Close()
			continue
		}
		b.detach(c, true, "")
		c.end(packet.ServerShuttingDown, "the broker stops")
	}
	b.mu.Unlock()
	b.tasks.Wait()
	return b.store.Close()
}

// throttle logs at most so many lines a second, since clients can cause them. It may be used concurrently.
type throttle struct {
	log *slog.Logger

	mu     sync.Mutex // guards the rest
	second int64
	lines  int
	missed int
}

const linesPerSecond = 20

func (t *throttle) Info(msg string, args ...any) { t.say(slog.LevelInfo, msg, args) }
func (t *throttle) Warn(msg string, args ...any) { t.say(slog.LevelWarn, msg, args) }

func (t *throttle) say(level slog.Level, msg string, args []any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now().Unix(); now != t.second {
		t.second, t.lines = now, 0
	}
	if t.lines++; t.lines > linesPerSecond {
		t.missed++
		return
	}
	if t.missed > 0 {
		args = append(args, "lines_left_out", t.missed)
		t.missed = 0
	}
	t.log.Log(context.Background(), level, msg, args...)
}
