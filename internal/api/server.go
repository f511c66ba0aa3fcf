// Package api is the HTTP side of the gateway: REST, WebSocket, health,
// metrics and documentation. routes.go shows every route.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/gauge"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/wire"
)

// Options of a Server; all are required unless it says otherwise.
type Options struct {
	Hub       *hub.Hub
	Publisher Publisher
	// Health says whether the broker side can publish and subscribe.
	Health  func() Health
	Devices *device.Registry // nil: nothing is known of devices
	Values  *gauge.Set       // the numbers that are metrics; nil: none
	// BrokerStats feeds the metrics.
	BrokerStats func() BrokerStats

	MaxPayload     int // bytes
	QueueBytes     int // outbox of one client
	MaxConnections int // streams open at once
	PublishTimeout time.Duration

	BodiesBytes      int64 // bodies and frames under way; 0: 64 MiB
	AnswersBytes     int64 // answers that are being written; 0: 64 MiB
	IdempotencyBytes int   // what is remembered by Idempotency-Key; 0: 32 MiB

	BasePath       string         // the path below which the public handler answers: /mqtt; empty: none
	AllowedHosts   []string       // besides localhost and the machine's addresses; may be empty
	AllowedOrigins []string       // besides same-origin; may be empty
	TrustedProxies []netip.Prefix // whose X-Forwarded-For counts; may be empty
	PProf          bool           // profiles on the admin listener
	Console        http.Handler   // of / and /console/*; nil: there is nothing

	Access      *access.Authenticator // who callers are; nil: nobody is asked
	UserHeader  string                // in which TrustedProxies name the principal; empty: they do not
	RolesHeader string                // and its roles

	RatePublish, RateRequests int          // a second, of one principal or address; 0: no limit
	StreamsPerClient          int          // open at once; 0: no limit
	Audit                     *slog.Logger // a line for what callers do, and are refused; nil: none

	Timing Timing        // zero values give its defaults
	Stream stream.Timing // the same, of streams

	Log      *slog.Logger
	LogStats func() LogStats // nil: none
	Version  string
}

// Health of the broker side.
type Health struct {
	Publish, Subscribe bool
	Detail             string   // the last error in plain words, empty when all is well
	Refused            []string // filters that the broker does not grant
	Warning            string   // what does not work as it should, and what to do; empty: nothing is known
	MQTT               string   // the version that is spoken with the broker; empty: not known yet
}

// Server answers HTTP requests. Its handlers may be called concurrently.
type Server struct {
	opts      Options
	guard     *guard
	metrics   *metrics
	streams   atomic.Int64 // open now
	strangers atomic.Int64 // of them, those that have to say who they are
	joining   atomic.Int64 // of them, those whose subscriptions are not in force yet
	inFlight  tally        // publishes that have not ended
	waiting   atomic.Int64 // requests that wait for a reply
	orphaned  atomic.Int64 // of them, those whose clients are gone
	draining  atomic.Bool
	closing   chan struct{} // closed by Drain
	drain     sync.Once
	writing   writing // answers that are being written
	bodies    *budget // of what has come of bodies and frames under way
	answers   *budget // of what is being written

	access                     *access.Authenticator
	asks                       bool // callers have to show who they are
	logins                     *access.Logins
	publishRates, requestRates *access.Rates
	perClient                  *access.Streams
	decisions                  decisions
	guests                     guests
	connections                *connections

	refusedLog, failedLog, brokerLog logLimit // of requests that were refused, that failed, that the broker refused

	devices     *device.Registry
	idempotency *onceStore
	names       *names
	lists       chan struct{} // places for lists that are being made
	timers      sync.Pool     // of *time.Timer, stopped
}

// New makes a server.
func New(o Options) *Server {
	o.Timing = o.Timing.withDefaults()
	s := &Server{opts: o, guard: newGuard(o.AllowedHosts, o.AllowedOrigins), closing: make(chan struct{}), writing: writing{last: o.Timing.Last}}
	if s.devices = o.Devices; s.devices == nil {
		s.devices = device.New(device.Options{})
	}
	s.bodies = newBudget(cmp.Or(o.BodiesBytes, 64<<20))
	s.answers = newBudget(cmp.Or(o.AnswersBytes, 64<<20))
	s.lists = make(chan struct{}, maxLists)
	s.connections = newConnections(o.MaxConnections, o.Log, o.Timing.Log)
	s.names = newNames()
	s.refusedLog = logLimit{log: o.Log, level: slog.LevelInfo, window: o.Timing.Log}
	s.failedLog = logLimit{log: o.Log, level: slog.LevelWarn, window: o.Timing.Log}
	s.idempotency = newOnceStore(cmp.Or(o.IdempotencyBytes, IdempotencyBytes))
	s.brokerLog = logLimit{log: o.Log, level: slog.LevelWarn, window: o.Timing.Log}
	s.openAccess()
	s.metrics = newMetrics(o.Version, o.Hub.Stats, o.BrokerStats, s.stats)
	return s
}

// openAccess gets ready to ask callers who they are.
func (s *Server) openAccess() {
	o := &s.opts
	if s.access = o.Access; s.access == nil {
		s.access, _ = access.Open(access.Options{None: true}) // which cannot fail
	}
	s.asks = s.access.Anonymous().Via != access.ViaNone
	s.logins = access.NewLogins(time.Now)
	s.publishRates, s.requestRates = access.NewRates(o.RatePublish, time.Now), access.NewRates(o.RateRequests, time.Now)
	s.perClient = access.NewStreams(o.StreamsPerClient)
	s.decisions.cache = access.NewCache()
	if s.asks {
		go s.watchRights()
	}
}

// Drain makes /readyz answer 503 and refuses new streams, so that load
// balancers turn away before the listener closes. Whoever waits is answered,
// and what is being written must be taken soon.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.drain.Do(func() { close(s.closing) })
	s.writing.hurry()
	s.refusedLog.sum()
	s.failedLog.sum()
	s.brokerLog.sum()
}

// stats are the server's own readings.
func (s *Server) stats() serverStats {
	keys, replays, kept := s.idempotency.stats()
	stats := serverStats{
		keys: keys, replays: replays, waiting: int(s.waiting.Load()), orphans: int(s.orphaned.Load()),
		devices: s.devices.Stats(), values: s.opts.Values.Stats(), bodies: s.bodies.sum(), answers: s.answers.sum(), idempotency: kept,
	}
	stats.connections, stats.connectionsClosed = s.connections.stats()
	if s.opts.LogStats != nil {
		stats.log = s.opts.LogStats()
	}
	return stats
}

// Quiesce returns when no publish is in flight any more, or when ctx ends.
func (s *Server) Quiesce(ctx context.Context) { s.inFlight.wait(ctx) }

// limits are what a WebSocket is told at its start.
func (s *Server) limits() wire.Limits {
	return wire.Limits{
		MaxPayload: s.opts.MaxPayload, MaxFrame: stream.MaxFrame, MaxFilters: maxFilters,
		MaxInFlight: maxInFlight, QueueBytes: s.opts.QueueBytes,
	}
}

// maxJoining is how many clients may be joining at the same moment. When
// everybody comes back at once, the rest is asked to come a little later.
const maxJoining = 2000

// admit takes a place among the open streams, and among those who join until
// joined is called; release gives the first one back.
func (s *Server) admit() *wire.Problem {
	if s.draining.Load() {
		return problem(wire.CodeShuttingDown, "The gateway is going down; connect to another one or try again.")
	}
	if s.streams.Add(1) > int64(s.opts.MaxConnections) {
		s.streams.Add(-1)
		return problem(wire.CodeTooManyConnections, "As many streams as the gateway allows are open.")
	}
	if s.joining.Add(1) > maxJoining {
		s.joining.Add(-1)
		s.streams.Add(-1)
		return problem(wire.CodeTooManyConnections, "Very many clients are connecting at this moment.")
	}
	return nil
}

// admitStranger is admit for a WebSocket that has to say who it is. They get a
// quarter of the places, so that those who never do leave room for the others.
func (s *Server) admitStranger() *wire.Problem {
	if s.strangers.Add(1) > max(1, int64(s.opts.MaxConnections)/4) {
		s.strangers.Add(-1)
		return problem(wire.CodeTooManyConnections, "Very many clients that have not said who they are are connected; send Authorization or a ticket with the handshake, or try again.")
	}
	bad := s.admit()
	if bad != nil {
		s.strangers.Add(-1)
	}
	return bad
}

func (s *Server) joined() { s.joining.Add(-1) }

func (s *Server) release() { s.streams.Add(-1) }
