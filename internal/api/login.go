package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/wire"
)

// login is around every route that reads or writes messages: it finds out who
// the request is from, or answers it.
func (s *Server) login(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callerOf(w)
		c.requestID, c.trace, c.header = requestID(w), traceparent(r), w.Header()
		bad := s.identify(c, r)
		if bad == nil {
			bad = s.takeRequest(c)
		}
		if bad != nil {
			writeProblem(w, bad)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// identify fills in the principal.
func (s *Server) identify(c *caller, r *http.Request) *wire.Problem {
	if secretInURL(r) {
		return problem(wire.CodeTokenInURL, "The URL holds a key or a token. Send it as Authorization: Bearer, or use a ticket; and replace this one, because URLs end up in logs.")
	}
	c.addr, _ = netip.ParseAddr(s.remote(r))
	c.principal = s.access.Anonymous()
	if !s.asks {
		return nil
	}
	shown, bad := s.credentials(r)
	if bad != nil {
		return bad
	}
	p, bad := s.letIn(c, shown)
	if bad != nil {
		return bad
	}
	c.principal = p
	if p.Via == access.ViaAnonymous && p.Rights.Empty() && r.URL.Path != "/ws" && r.URL.Path != "/auth/whoami" {
		return unauthenticated() // before a body is read
	}
	return nil
}

// credentials are what the request shows.
func (s *Server) credentials(r *http.Request) (access.Credentials, *wire.Problem) {
	shown := access.Credentials{Origin: r.Header.Get("Origin"), Authorization: strings.Join(r.Header.Values("Authorization"), ", ")}
	if isStream(r) && strings.Contains(r.URL.RawQuery, "ticket=") {
		shown.Ticket = strings.Join(r.URL.Query()["ticket"], ",")
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		chain := r.TLS.VerifiedChains[0]
		shown.Certificate, shown.Issuers = chain[0], chain[1:]
	}
	if s.opts.UserHeader == "" || len(r.Header.Values(s.opts.UserHeader))+len(r.Header.Values(s.opts.RolesHeader)) == 0 {
		return shown, nil
	}
	if !s.trusted(peer(r)) {
		return shown, problem(wire.CodeUntrustedHeader, "The request names its user in a header that only a trusted proxy may send; add the proxy to GATEWAY_TRUSTED_PROXIES.")
	}
	shown.User = strings.Join(r.Header.Values(s.opts.UserHeader), ", ")
	shown.Roles = strings.Join(r.Header.Values(s.opts.RolesHeader), ",")
	return shown, nil
}

// isStream reports whether the route takes a ticket.
func isStream(r *http.Request) bool { return r.URL.Path == "/ws" || r.URL.Path == "/events" }

// secretParams are names of query parameters that are meant to hold one.
var secretParams = []string{
	"access_token", "api-key", "api_key", "apikey", "auth", "authorization", "bearer", "id_token", "jwt", "key", "password", "token",
}

// secretInURL reports whether the URL holds a key or a token.
func secretInURL(r *http.Request) bool {
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if name, _, _ := strings.Cut(pair, "="); pair != "" && slices.Contains(secretParams, strings.ToLower(name)) {
			return true
		}
	}
	return access.HoldsSecret(r.RequestURI)
}

// letIn lets the caller in who shows these credentials. Whatever is wrong with
// them, the answer is the same; the log has the reason.
func (s *Server) letIn(c *caller, shown access.Credentials) (*access.Principal, *wire.Problem) {
	secret := shown.Ticket != "" || shown.Token != "" || shown.Authorization != ""
	if secret {
		if wait := s.logins.Wait(c.addr); wait > 0 {
			s.metrics.login(viaOf(shown), "throttled")
			return nil, s.limited(c, limitLogins, access.Quota{Limit: 10, Window: time.Minute, Reset: wait, Retry: wait})
		}
	}
	p, err := s.access.Login(shown)
	if err == nil {
		s.metrics.login(p.Via, "ok")
		return p, nil
	}
	via, reason := access.Reason(err)
	s.metrics.login(via, "refused")
	s.opts.Log.Debug("login refused", "via", string(via), "reason", reason, "remote", c.addr.String(), "request_id", c.requestID)
	s.audit(c, "login", "refused:"+string(via))
	if secret {
		s.logins.Failed(c.addr)
	}
	return nil, unauthenticated()
}

// viaOf is the way in that credentials are for, for the metrics.
func viaOf(shown access.Credentials) access.Via {
	if shown.Ticket != "" {
		return access.ViaTicket
	}
	return access.ViaKey
}

func unauthenticated() *wire.Problem {
	return problem(wire.CodeUnauthenticated, "This needs credentials, and the request has none that are good; send a key or a token, over HTTP as Authorization: Bearer.")
}

// challenge is the WWW-Authenticate of every 401 (RFC 6750 section 3).
const challenge = `Bearer realm="gateway"`
