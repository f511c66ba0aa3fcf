package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// caller is who a request, or an op of a WebSocket, is from. It does not change
// once the request is carried out.
type caller struct {
	principal *access.Principal
	addr      netip.Addr // of the client
	requestID string
	trace     string      // its traceparent
	header    http.Header // of the answer; nil: there is none, or it has gone out
}

// callerOf is who the request is from that w answers.
func callerOf(w http.ResponseWriter) *caller { return &responseOf(w).caller }

// quiet is the caller without an answer's header.
func (c *caller) quiet() *caller {
	copied := *c
	copied.header = nil
	return &copied
}

// stranger reports whether the caller has to say who it is before it may do anything.
func (c *caller) stranger() bool {
	return c.principal.Via == access.ViaAnonymous && c.principal.Rights.Empty()
}

func (c *caller) client() access.Client { return access.ClientOf(c.principal, c.addr) }

// owner names the principal in tables: a token of the same name as a key is
// somebody else.
func (c *caller) owner() string {
	if c.principal.Name == "" {
		return ""
	}
	return string(c.principal.Via) + " " + c.principal.Name
}

// lasting is the caller of a request that may go on when rights have changed.
// It belongs to one goroutine.
type lasting struct {
	server     *Server
	caller     *caller
	generation uint64
}

func (s *Server) lasting(c *caller) *lasting {
	generation, _ := s.access.Generation()
	return &lasting{s, c, generation}
}

// now is the caller with the rights that are in force, or says that the caller
// is nobody any more.
func (l *lasting) now() (*caller, *wire.Problem) {
	generation, _ := l.server.access.Generation()
	p := l.caller.principal
	if generation == l.generation && (p.Expires.IsZero() || time.Now().Before(p.Expires)) {
		return l.caller, nil
	}
	l.generation = generation
	p, err := l.server.access.Revalidate(p)
	if err != nil {
		return nil, unauthenticated()
	}
	changed := *l.caller
	changed.principal = p
	l.caller = &changed
	return l.caller, nil
}

// decisions remembers what classes of rights may receive.
type decisions struct {
	mu    sync.Mutex // guards cache; taken under the hub's lock
	cache *access.Cache
}

func (d *decisions) mayReceive(r *access.Rights, topic string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cache.MayReceive(r, topic)
}

// readable is what the hub has to know of a principal's rights: nothing where
// every filter that is granted is granted as a whole.
func (s *Server) readable(p *access.Principal) *hub.Rights {
	r := p.Rights
	if r.FiltersSuffice() {
		return nil
	}
	return &hub.Rights{Class: r.Class(), May: func(topic string) bool { return s.decisions.mayReceive(r, topic) }}
}

// audit writes a line of the audit log. It never has a payload or a secret.
func (s *Server) audit(c *caller, action, outcome string, attrs ...slog.Attr) {
	if s.opts.Audit == nil {
		return
	}
	all := []slog.Attr{slog.String("action", action), slog.String("outcome", outcome)}
	if c.principal != nil {
		all = append(all, slog.String("principal", c.principal.Name), slog.String("via", string(c.principal.Via)))
	}
	if c.addr.IsValid() {
		all = append(all, slog.String("address", c.addr.String()), slog.String("request_id", c.requestID))
	}
	all = append(all, attrs...)
	s.opts.Audit.LogAttrs(context.Background(), slog.LevelInfo, "audit", all...)
}
