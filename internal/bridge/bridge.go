// Package bridge is the MQTT side of the gateway: it publishes, receives and fetches retained messages, and says
// honestly what became of each. It knows nothing of HTTP or JSON.
//
// A [Bridge] keeps three kinds of links to one broker, each replaced by its own supervisor when it dies:
//
//	publisher lanes   Pool links; a topic always uses the same lane, so order per topic holds
//	subscriber link   everything that is received, at QoS 1, in one stream to the [Receiver]
//	control link      fetches retained messages and reads the broker's own figures ($SYS)
//
// A link lives once. It never reconnects and nothing is resumed on the next one, because an acknowledgement that is
// said to belong to a message sent on another connection proves nothing. So each [Publication] ends in one of three
// ways: acknowledged on the connection it was sent on, certainly not sent, or unknown.
//
// Receiving is at QoS 1 with a clean session, or with a kept one when [Config.ClientID] is set. Whenever messages may
// have been missed the Receiver is told, in its place in the stream.
package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"
)

// The errors of this package. Callers compare with errors.Is.
var (
	ErrNoConnection = errors.New("no connection to the broker") // nothing was sent
	ErrOverloaded   = errors.New("too many publications wait for the broker")
	ErrNotSent      = errors.New("the message was not sent") // certainly not: safe to repeat
	ErrUnknown      = errors.New("the message was sent, or may have been, and no answer came")
	ErrRefused      = errors.New("the broker refused the subscription")
	ErrNotCovered   = errors.New("the filter is outside of what the gateway watches")
	ErrBehind       = errors.New("the live stream has not caught up")   // of Retained: try again
	ErrInvalid      = errors.New("not a message that can be published") // bad topic, QoS or size
)

// A Message is one MQTT message, either way.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

// Config says what to connect to and as whom.
type Config struct {
	URL                *url.URL // scheme mqtt, mqtts, ws or wss; credentials in it are not used
	Username, Password string
	TLS                *tls.Config // for mqtts and wss; nil: system roots

	// ClientID names the gateway at the broker. Empty: random for each process, and sessions are clean. Set: stable,
	// and the subscriber link keeps a broker session, so that QoS 1 messages published while it is down arrive later.
	ClientID string

	Pool       int           // publisher lanes; 0: 1
	Watch      []string      // filters always subscribed; empty: only what is wanted
	MaxPayload int           // largest payload accepted from the broker; 0: 256 KiB
	KeepAlive  time.Duration // 0: 10 s
	Linger     time.Duration // how long an unwanted filter stays subscribed; 0: 5 s
	Log        *slog.Logger  // nil: none
	Receiver   Receiver      // nil: everything received is counted and forgotten
}

// A Receiver gets the subscriber link's events, from one goroutine at a time and in order.
// It must not block for long: nothing is read meanwhile, and after some seconds the link counts as dead. And it must
// not call [Bridge.Retained], which waits for it.
type Receiver interface {
	// Message is a message of the live stream. Retain is set on the copies that a broker sends when a filter is
	// subscribed. The payload is the receiver's.
	Message(m Message)

	// Rest: every message that has arrived has been handed over, and the bridge waits for more. It is called before
	// any such wait that follows a message, so what is done for many messages at once can wait for it.
	Rest()

	// Up: the subscriber link is up and every wanted filter has been subscribed. Messages may have been missed since
	// the last Down if lost is set; it is not at the very first Up and when the broker kept the session.
	Up(lost bool)

	// Down: the subscriber link is gone. Down and Up alternate.
	Down(reason error)

	// Dropped: messages were left out. Certain: one was too large and has been skipped at this place of the stream.
	// Otherwise the broker has counted dropped messages, for us or for another of its clients, after since.
	Dropped(certain bool, since time.Time)
}

// A Bridge is the gateway's side of one broker. All methods may be called from any goroutine.
type Bridge struct {
	cfg    Config
	log    *slog.Logger
	timing timing
	prefix string // of the client ids
	fence  string // the topic that both the control and the subscriber link hear

	status *status
	lanes  []*lane
	live   *live
	up     *upstream
	fetch  *fetcher
	sys    *sys
	slots  []*slot
	stats  counters
}

// New makes a bridge that does nothing until Run is called.
func New(cfg Config) *Bridge {
	cfg = withDefaults(cfg)
	cfg.Watch = slices.Clone(cfg.Watch)
	b := &Bridge{cfg: cfg, log: cfg.Log, timing: defaultTiming(cfg.KeepAlive)}
	b.prefix = cfg.ClientID
	if b.prefix == "" {
		b.prefix = "gw-" + randomID(4)
	}
	b.fence = fenceTopic(cfg.ClientID)
	b.live = newLive(cfg, b.fence, &b.stats)
	b.up = newUpstream(cfg, b.fence)
	b.sys = newSys(b.live, b.log)
	b.fetch = newFetcher(b)
	b.status = newStatus(cfg.Pool, b.log, cfg.URL)
	b.up.changed = b.status.refused
	for n := range cfg.Pool {
		b.lanes = append(b.lanes, newLane(n, cfg.MaxPayload, &b.stats))
	}
	b.slots = b.plan()
	return b
}

func withDefaults(cfg Config) Config {
	if cfg.Pool < 1 {
		cfg.Pool = 1
	}
	if cfg.MaxPayload <= 0 {
		cfg.MaxPayload = 256 << 10
	}
	if cfg.KeepAlive <= 0 {
		cfg.KeepAlive = 10 * time.Second
	}
	// MQTT counts it in seconds, and 0 would switch it off.
	cfg.KeepAlive = max(cfg.KeepAlive.Truncate(time.Second), time.Second)
	if cfg.Linger <= 0 {
		cfg.Linger = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Receiver == nil {
		cfg.Receiver = deaf{}
	}
	return cfg
}

// Run keeps everything connected until ctx is done, then disconnects cleanly and returns when all goroutines have
// ended. It is called once.
func (b *Bridge) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range b.slots {
		all.Go(func() { s.run(ctx) })
	}
	all.Wait()
	return nil
}

// Stats are counters since New, and the newest figures of the broker.
type Stats struct {
	Reconnects      uint64 // links made after the first of each role
	UpstreamFilters int    // subscribed at the broker for the gateway's clients
	Received        uint64 // messages handed to the Receiver
	Oversize        uint64 // messages that were skipped because of their size
	InFlight        int    // publications that have no outcome yet
	Sys             map[string]float64
}

// Stats reads the counters.
func (b *Bridge) Stats() Stats {
	return Stats{
		Reconnects:      b.stats.reconnects.Load(),
		UpstreamFilters: b.up.size(),
		Received:        b.stats.received.Load(),
		Oversize:        b.stats.oversize.Load(),
		InFlight:        int(b.stats.inFlight.Load()),
		Sys:             b.sys.figures(),
	}
}

type deaf struct{}

func (deaf) Message(Message)         {}
func (deaf) Rest()                   {}
func (deaf) Up(bool)                 {}
func (deaf) Down(error)              {}
func (deaf) Dropped(bool, time.Time) {}
