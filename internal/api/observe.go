package api

import (
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/vulturepi/gateway/wire"
)

const requestIDHeader = "X-Request-Id"

// requestID is what log and answers name the request by. It stands in the
// answer's header, so that nothing has to be carried along for it.
func requestID(w http.ResponseWriter) string { return w.Header().Get(requestIDHeader) }

// observe is around every request: it names it, answers a panic, or cuts the
// answer off where a part of it has gone out, counts and logs. The log has the
// route's pattern and never a query, a topic or a header other than the request
// id and a valid traceparent.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get(requestIDHeader)
		if !validRequestID(id) {
			id = s.names.next()
		}
		w.Header()[requestIDHeader] = []string{id}
		w.Header()["X-Content-Type-Options"] = nosniff
		w.Header()["Cross-Origin-Resource-Policy"] = sameOriginOnly // of errors, too: what differs tells what there is
		res := &response{ResponseWriter: w, root: rootOf(r), writing: &s.writing, timing: &s.opts.Timing}
		if r.ContentLength != 0 {
			s.expectBody(res, r, start)
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
					s.writing.remove(res)
					panic(p)
				}
				s.opts.Log.Error("request panicked", "panic", p, "request_id", id)
				if res.status != 0 {
					defer panic(http.ErrAbortHandler) // in the end: a part must not pass for the whole
				} else {
					writeProblem(res, problem(wire.CodeInternalError, "The gateway failed; its log has more under this request_id."))
				}
			}
			s.writing.remove(res)
			s.observed(r, res, time.Since(start), id)
		}()
		next.ServeHTTP(res, r)
	})
}

// Nobody changes them.
var nosniff, sameOriginOnly = []string{"nosniff"}, []string{"same-origin"}

// names gives requests their names: the process's own beginning and a number.
// They need not be hard to guess.
type names struct {
	prefix string
	count  atomic.Uint64
}

func newNames() *names { return &names{prefix: rand.Text()[:8]} }

func (n *names) next() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var b [16]byte
	i := len(b)
	for c := n.count.Add(1); c > 0; c /= uint64(len(alphabet)) {
		i--
		b[i] = alphabet[c%uint64(len(alphabet))]
	}
	for len(b)-i < 4 {
		i--
		b[i] = alphabet[0]
	}
	return n.prefix + string(b[i:])
}

// expectBody is for requests that announce a body. Whoever answers without
// having read it ends the connection: what is left of the body must neither be
// waited for nor be taken for the next request.
func (s *Server) expectBody(w http.ResponseWriter, r *http.Request, now time.Time) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(now.Add(min(slack(s.opts.Timing.Progress), s.opts.Timing.Body)))
	if r.Header["Expect"] != nil {
		_ = control.SetWriteDeadline(now.Add(s.opts.Timing.Stall)) // of 100 Continue
	}
	w.Header()["Connection"] = connectionClose
}

var connectionClose = []string{"close"} // nobody changes it

func (s *Server) observed(r *http.Request, res *response, took time.Duration, id string) {
	status := res.status
	route := "none" // no route matched
	if c := chi.RouteContext(r.Context()); c != nil {
		if p := c.RoutePattern(); p != "" {
			route = p
		}
	}
	if status == 0 {
		status = http.StatusOK
	}
	s.metrics.request(route, r.Method, status, took)
	level, limit := slog.LevelDebug, (*logLimit)(nil) // what goes well is counted
	switch {
	case route == "/livez" || route == "/readyz" || route == "/metrics": // probes come every few seconds
	case status >= http.StatusInternalServerError:
		level, limit = slog.LevelWarn, &s.failedLog
	case status >= http.StatusBadRequest:
		level, limit = slog.LevelInfo, &s.refusedLog
	}
	if !s.opts.Log.Enabled(r.Context(), level) || limit != nil && !limit.allow() {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", methodLabel(r.Method)), slog.String("route", route), slog.Int("status", status),
		slog.Int("bytes", res.bytes), slog.Float64("took_ms", float64(took.Microseconds())/1000),
		slog.String("remote", s.remote(r)), slog.String("request_id", id),
	}
	if res.code != "" {
		attrs = append(attrs, slog.String("code", string(res.code)))
	}
	origin, preflight := strings.Join(r.Header.Values("Origin"), ", "), r.Header.Get("Access-Control-Request-Method") != ""
	switch {
	case res.code == wire.CodeCrossOrigin && origin == "":
		attrs = append(attrs, slog.String("sec_fetch_site", fetchSite(r.Header.Get("Sec-Fetch-Site"))))
	case res.code == wire.CodeCrossOrigin, res.code == wire.CodeMethodNotAllowed && preflight:
		attrs = append(attrs, slog.String("origin", shortened(origin)))
	case res.code == wire.CodeHostNotAllowed, res.code == wire.CodeInvalidHost:
		attrs = append(attrs, slog.String("host", shortened(r.Host)))
	}
	if trace := traceparent(r); trace != "" {
		attrs = append(attrs, slog.String("traceparent", trace))
	}
	s.opts.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// rootOf is the way from the request's path to the gateway's root, as a relative
// reference (RFC 3986, 4.2): a proxy may have put the gateway below a path that
// nobody here knows.
func rootOf(r *http.Request) string {
	return strings.Repeat("../", strings.Count(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/"))
}

// fetchSite is what a browser says of the page, for the log.
func fetchSite(s string) string {
	switch s {
	case "cross-site", "same-site":
		return s
	}
	return "other"
}

// shortened is the beginning of what a client has sent, for the log.
func shortened(s string) string { return s[:min(len(s), 100)] }

func validRequestID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// remote is the client's address: the peer's, unless the peer is a trusted
// proxy; then the last address in X-Forwarded-For that is none.
func (s *Server) remote(r *http.Request) string {
	host := peer(r)
	if !s.trusted(host) {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if addr, err := netip.ParseAddr(hop); err != nil || addr.Zone() != "" {
			break // a zone could be any text
		}
		if host = hop; !s.trusted(hop) {
			break
		}
	}
	return host
}

// peer is the address at the other end of the connection.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (s *Server) trusted(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range s.opts.TrustedProxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
