// Package bridge is the MQTT side of the gateway: it publishes, receives and fetches retained messages, and says
// honestly what became of each. It is policy: which connections there are, what is subscribed, and what it means; package
// mqtt is the connection. It knows nothing of HTTP or JSON.
//
// A [Bridge] keeps four kinds of links to one broker, each replaced by its own supervisor when it dies:
//
//	publisher lanes   Pool links; a topic always uses the same lane, so order per topic holds
//	subscriber link   everything that is received, in one stream to the [Receiver]
//	control link      fetches retained messages and reads the broker's own figures ($SYS)
//	trial link        only while something is suspected to make the broker close connections
//
// A link lives once. It never reconnects and nothing is resumed on the next one, because an acknowledgement that is
// said to belong to a message sent on another connection proves nothing. So each [Publication] ends in one of four
// ways: acknowledged on the connection it was sent on, refused by the broker, certainly not sent, or unknown.
//
// Receiving is with a clean session, or with a kept one when [Config.ClientID] is set. Whenever messages may have been
// missed the Receiver is told, in its place in the stream.
//
// Locks: inbound.mu is held while the Receiver is called, and sys.mu, fetcher.mu, subscriptions.mu, lane.mu and
// status.mu are never held while another of them is taken, but for status.mu, which may be taken last.
package bridge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// The errors of this package. Callers compare with errors.Is.
var (
	ErrNoConnection = errors.New("no connection to the broker") // nothing was sent
	ErrOverloaded   = errors.New("too many publications wait for the broker")
	ErrNotSent      = mqtt.ErrNotSent // certainly not: safe to repeat
	ErrUnknown      = mqtt.ErrUnknown
	ErrRefused      = errors.New("the broker refused the subscription")
	ErrNotCovered   = errors.New("the filter is outside of what the gateway watches")
	ErrBehind       = errors.New("the live stream has not caught up")   // of Retained: try again
	ErrInvalid      = errors.New("not a message that can be published") // bad topic, QoS or size
	ErrNeedsMQTT5   = errors.New("the broker speaks MQTT 3.1.1, which has no properties")
)

// Config says what to connect to and as whom.
type Config struct {
	URL                *url.URL // scheme mqtt, mqtts, ws or wss; credentials in it are not used
	Username, Password string
	TLS                *tls.Config // for mqtts and wss; nil: system roots

	// Version is the protocol to speak. 0: 5, or 3.1.1 where the broker does not speak that.
	Version mqtt.Version

	// SubscribeQoS is the QoS at which the gateway itself subscribes.
	SubscribeQoS SubscribeQoS

	// ClientID names the gateway at the broker. Empty: random for each process, and sessions are clean. Set: stable,
	// and the subscriber link keeps a broker session, so that QoS 1 messages published while it is down arrive later.
	ClientID string

	Pool       int           // publisher lanes; 0: 1
	Watch      []string      // filters always subscribed; empty: only what is wanted
	MaxPayload int           // largest payload accepted from the broker; 0: 256 KiB
	KeepAlive  time.Duration // 0: 10 s
	RefusedFor time.Duration // how long the like of what the broker ends a connection on is refused; 0: 1 min
	Linger     time.Duration // how long an unwanted filter stays subscribed; 0: 5 s
	Log        *slog.Logger  // nil: none
	Receiver   Receiver      // nil: everything received is counted and forgotten

	// System are filters of the broker's own topics that are read in the order of the live stream, between Up and Down.
	// What comes on them goes to OnSystem, in the way that messages go to the Receiver.
	System   []string
	OnSystem func(Message)
}

// A Bridge is the gateway's side of one broker. All methods may be called from any goroutine.
type Bridge struct {
	cfg    Config
	log    *slog.Logger
	timing timing
	prefix string // of the client ids
	fence  string // the topic that both the control and the subscriber link hear

	version  *versions
	broker   *software
	status   *status
	lanes    []*lane
	inbound  *inbound
	subs     *subscriptions
	fetch    *fetcher
	suspects *suspects
	trial    *trial
	links    links
	fought   atomic.Pointer[time.Time] // until when somebody else is taken to use our client ids; nil: nobody has
	sys      *sys
	system   systemWants
	roles    []*role
	stats    counters
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
	b.version = &versions{fixed: cfg.Version, log: b.log}
	b.broker = &software{choice: cfg.SubscribeQoS, keeps: cfg.ClientID != ""}
	b.inbound = newInbound(cfg, b.fence, b.broker, &b.stats)
	b.inbound.operator = b.system.match
	b.suspects = newSuspects(b.log, cfg.RefusedFor)
	b.subs = newSubscriptions(cfg, b.fence, b.suspects, b.ending)
	b.sys = newSys(b.inbound, b.log)
	b.fetch = newFetcher(b)
	b.status = newStatus(cfg.Pool, b.log, cfg.URL, cfg.Username)
	b.subs.changed = b.status.refused
	for n := range cfg.Pool {
		b.lanes = append(b.lanes, newLane(n, laneRoom(laneBytes, cfg.MaxPayload), &b.stats))
	}
	b.roles = b.plan()
	b.trial = newTrial(b)
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
	if cfg.RefusedFor <= 0 {
		cfg.RefusedFor = time.Minute
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
	for _, s := range b.roles {
		all.Go(func() { s.run(ctx) })
	}
	all.Go(func() { b.trial.run(ctx) })
	all.Wait()
	return nil
}

// Own reports whether a client of the broker's is one of the bridge's connections.
func (b *Bridge) Own(clientID string) bool {
	return clientID == b.trial.role.id.clientID || slices.ContainsFunc(b.roles, func(s *role) bool { return s.id.clientID == clientID })
}

// MayDropSystem reports whether the broker may drop messages for the subscriber link while that reads: not mosquitto at
// QoS 0, which has no bound there but the connection's own.
func (b *Bridge) MayDropSystem() bool {
	name, qos := b.broker.get()
	return qos > 0 || !strings.HasPrefix(name, "mosquitto ")
}

func randomID(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// fenceTopic is private to the process; with a stable client id it stays the same, so that a kept session does not
// collect one more subscription with every start.
func fenceTopic(clientID string) string {
	id := randomID(8)
	if clientID != "" {
		sum := sha256.Sum256([]byte(clientID))
		id = hex.EncodeToString(sum[:8])
	}
	return "$gateway/" + id + "/fence"
}
