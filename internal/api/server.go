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

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// Options of a Server; all are required unless it says otherwise.
type Options struct {
	Hub       *hub.Hub
	Publisher Publisher
	// Health says whether the broker side can publish and subscribe.
	Health func() Health
	// BrokerStats feeds the metrics.
	BrokerStats func() BrokerStats

	MaxPayload     int // bytes
	QueueBytes     int // outbox of one client
	MaxConnections int // streams open at once
	PublishTimeout time.Duration

	IdempotencyBytes int // what is remembered by Idempotency-Key; 0: 32 MiB

	AllowedHosts   []string       // besides localhost and the machine's addresses; may be empty
	AllowedOrigins []string       // besides same-origin; may be empty
	TrustedProxies []netip.Prefix // whose X-Forwarded-For counts; may be empty
	PProf          bool           // profiles on the admin listener

	Log        *slog.Logger
	LogDropped func() uint64 // lines that the log left out; nil: none
	Version    string
}

// Health of the broker side.
type Health struct {
	Publish, Subscribe bool
	Detail             string   // the last error in plain words, empty when all is well
	Refused            []string // filters that the broker does not grant
}

// Server answers HTTP requests. Its handlers may be called concurrently.
type Server struct {
	opts     Options
	guard    *guard
	metrics  *metrics
	streams  atomic.Int64 // open now
	joining  atomic.Int64 // of them, those whose subscriptions are not in force yet
	inFlight atomic.Int64 // publishes that have not ended
	waiting  atomic.Int64 // requests that wait for a reply
	draining atomic.Bool
	closing  chan struct{} // closed by Drain
	drain    sync.Once

	idempotency *onceStore
	names       *names
	answers     chan struct{} // places for lists
	timers      sync.Pool     // of *time.Timer, stopped
	ended       context.Context
}

// New makes a server.
func New(o Options) *Server {
	s := &Server{opts: o, guard: newGuard(o.AllowedHosts, o.AllowedOrigins), closing: make(chan struct{})}
	s.answers = make(chan struct{}, maxAnswers)
	s.names = newNames()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	s.ended = ended
	s.idempotency = newOnceStore(cmp.Or(o.IdempotencyBytes, idempotencyBytes))
	s.metrics = newMetrics(o.Hub.Stats, o.BrokerStats, s.stats)
	return s
}

// Drain makes /readyz answer 503 and refuses new streams, so that load
// balancers turn away before the listener closes. Whoever waits is answered.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.drain.Do(func() { close(s.closing) })
}

// stats are the server's own readings.
func (s *Server) stats() serverStats {
	keys, replays := s.idempotency.stats()
	stats := serverStats{keys: keys, replays: replays, waiting: int(s.waiting.Load())}
	if s.opts.LogDropped != nil {
		stats.logDropped = s.opts.LogDropped()
	}
	return stats
}

// Quiesce returns when no publish is in flight any more, or when ctx ends.
func (s *Server) Quiesce(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for s.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// limits are what a WebSocket is told at its start.
func (s *Server) limits() wire.Limits {
	return wire.Limits{
		MaxPayload: s.opts.MaxPayload, MaxFrame: maxFrame, MaxFilters: maxFilters,
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
		return problem("shutting_down", "The gateway is going down; connect to another one or try again.")
	}
	if s.streams.Add(1) > int64(s.opts.MaxConnections) {
		s.streams.Add(-1)
		return problem("too_many_connections", "As many streams as the gateway allows are open.")
	}
	if s.joining.Add(1) > maxJoining {
		s.joining.Add(-1)
		s.streams.Add(-1)
		return problem("too_many_connections", "Very many clients are connecting at this moment.")
	}
	return nil
}

func (s *Server) joined() { s.joining.Add(-1) }

func (s *Server) release() { s.streams.Add(-1) }

// getLivez is GET /livez: the process answers, whatever the broker does.
func (s *Server) getLivez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "alive"})
}

// getReadyz is GET /readyz: 200 while publishing and subscribing work.
func (s *Server) getReadyz(w http.ResponseWriter, _ *http.Request) {
	h := s.opts.Health()
	res := wire.Health{Status: "ready", Checks: map[string]string{"publish": "ok", "subscribe": "ok"}}
	why := h.Detail
	if why == "" {
		why = "no broker connection"
	}
	if len(h.Refused) > 0 {
		res.Status = "degraded"
		res.Checks["filters"] = "the broker refuses some of the gateway's filters"
	}
	if !h.Publish {
		res.Status, res.Checks["publish"] = "not_ready", why
	}
	if !h.Subscribe {
		res.Status, res.Checks["subscribe"] = "not_ready", why
	}
	if s.draining.Load() {
		res.Status, res.Checks["shutdown"] = "not_ready", "the gateway is going down"
	}
	status := http.StatusOK
	if res.Status == "not_ready" {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryAfter)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, "application/json", res)
}
