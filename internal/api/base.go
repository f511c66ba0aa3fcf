package api

import (
	"net/http"
	"path"
	"strings"
)

// under lets h answer below the path base, for a proxy that passes it on. Probes
// are answered at the root, too; there is nothing else outside of base, and
// guarded is around that.
func under(base string, h http.Handler, guarded func(http.Handler) http.Handler) http.Handler {
	outside := guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == base {
			w.Header().Set("Location", path.Base(base)+"/") // relative: there may be more of the path in front
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		notFound(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, inside := strings.CutPrefix(r.URL.Path, base)
		switch {
		case r.URL.Path == "/livez" || r.URL.Path == "/readyz":
			h.ServeHTTP(w, r)
		case inside && rest != "" && rest[0] == '/' && (r.URL.RawPath == "" || strings.HasPrefix(r.URL.RawPath, base+"/")):
			inner := r.Clone(r.Context())
			inner.URL.Path, inner.URL.RawPath = rest, strings.TrimPrefix(r.URL.RawPath, base)
			h.ServeHTTP(w, inner)
		default:
			outside.ServeHTTP(w, r)
		}
	})
}
