package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/vulturepi/gateway/wire"
)

// maxURI is the longest request target.
const maxURI = 16 << 10

// guard keeps foreign web pages out: it checks Host against DNS rebinding and
// Origin against cross-site requests.
type guard struct {
	hosts   map[string]bool // lower case, without port
	origins map[string]bool
	own     *ownAddresses
}

func newGuard(hosts, origins []string) *guard {
	g := &guard{hosts: map[string]bool{"localhost": true}, origins: map[string]bool{}, own: newOwnAddresses(net.InterfaceAddrs)}
	for _, h := range hosts {
		if host, ok := parseHost(h); ok { // the configuration lets nothing else through
			g.hosts[host] = true
		}
	}
	for _, o := range origins {
		g.origins[strings.ToLower(o)] = true
	}
	return g
}

// protect is around every request.
func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, ok := parseHost(r.Host)
		switch {
		case len(r.RequestURI) > maxURI:
			writeProblem(w, problem(wire.CodeURITooLong, "Path and query have more than 16384 bytes."))
			return
		case r.Host == "" && !r.ProtoAtLeast(1, 1) && (r.URL.Path == "/livez" || r.URL.Path == "/readyz"):
			next.ServeHTTP(w, r) // a load balancer's probe; the answer is no secret
			return
		case r.Host == "":
			writeProblem(w, problem(wire.CodeInvalidHost, "The request has no Host header."))
			return
		case !ok:
			writeProblem(w, problem(wire.CodeInvalidHost, "The Host header is no name or address with an optional port."))
			return
		case !g.hostAllowed(host):
			writeProblem(w, problem(wire.CodeHostNotAllowed, "This Host is not one of the gateway's; add it to GATEWAY_ALLOWED_HOSTS."))
			return
		}
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		upgrade := len(r.Header.Values("Upgrade")) > 0
		if (!safe || upgrade) && !g.originAllowed(r) {
			writeProblem(w, crossOrigin(r))
			return
		}
		if g.cors(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

// crossOrigin says why a page is refused, and what to do.
func crossOrigin(r *http.Request) *wire.Problem {
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return problem(wire.CodeCrossOrigin, "The page is of this origin by the browser's account, but the Host header says another name: let the proxy in front pass the Host header on.")
	}
	return problem(wire.CodeCrossOrigin, "The request comes from a page of another origin; list it in GATEWAY_ALLOWED_ORIGINS.")
}

// hostAllowed reports whether a host that parseHost gave is one of ours.
func (g *guard) hostAllowed(host string) bool {
	if g.hosts[host] {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && (addr.IsLoopback() || g.own.has(addr))
}

// originAllowed reports whether the request may change something: it comes
// from no page at all, from one of ours, or from a listed one.
func (g *guard) originAllowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	switch len(origins) {
	case 0:
		// Browsers that leave Origin out still say where the page is from.
		site := r.Header.Get("Sec-Fetch-Site")
		return site == "" || site == "same-origin" || site == "none"
	case 1:
		return g.origins[strings.ToLower(origins[0])] || sameOrigin(origins[0], r.Host, r.TLS != nil)
	}
	return false
}

// sameOrigin compares host and port, and over TLS the scheme: whoever is on the
// path can make a page of http:// and the same host. Without TLS the scheme is a
// proxy's business.
func sameOrigin(origin, host string, secure bool) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.Path != "" {
		return false
	}
	if secure && u.Scheme != "https" {
		return false
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(origin, "#") {
		return false // an origin has scheme, host and port (RFC 6454)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return strings.EqualFold(strings.TrimSuffix(u.Host, ":"+port), strings.TrimSuffix(host, ":"+port))
}

// cors answers for the listed origins, and only for them. True: the request
// was a preflight and is answered.
func (g *guard) cors(w http.ResponseWriter, r *http.Request) bool {
	if len(g.origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !g.origins[strings.ToLower(origin)] {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After, Link, ETag, Age, Last-Modified, Preference-Applied, Idempotency-Replayed, Mqtt-Qos, Mqtt-Retain, WWW-Authenticate, RateLimit, RateLimit-Policy, Devices-Forgotten, Allow")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Baggage, Cache-Control, Content-Encoding, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Mqtt-User-Property, Pragma, Prefer, Traceparent, Tracestate, X-Request-Id, X-Requested-With")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
