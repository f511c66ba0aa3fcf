package api

import (
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/vulturepi/gateway/wire"
)

// Public is the handler of the public listener.
func (s *Server) Public() http.Handler {
	r := s.router()
	r.Group(func(r chi.Router) {
		r.Use(s.login)
		r.Post("/publish", s.postPublish)
		r.Post("/publish/batch", s.postBatch)
		r.Post("/request/*", s.postRequest)
		both(r, "/topics", compressed(s.getTopics))
		both(r, "/topics/*", s.getTopic)
		r.Post("/topics/*", s.postTopic)
		r.Put("/topics/*", s.putTopic)
		r.Delete("/topics/*", s.deleteTopic)
		r.Get("/ws", s.getWS)
		r.Get("/events", s.getEvents)
		both(r, "/history", compressed(s.getHistory))
		both(r, "/devices", compressed(s.getDevices))
		both(r, "/devices/*", s.getDevice)
		both(r, "/auth/whoami", plain(s.getWhoami))
		both(r, "/auth/explain", s.getExplain)
		both(r, "/auth/principals", plain(s.getPrincipals))
		r.Post("/auth/ticket", s.postTicket)
	})
	s.health(r)
	both(r, "/openapi.yaml", compressed(plain(s.getOpenAPI)))
	both(r, "/asyncapi.yaml", compressed(plain(s.getAsyncAPI)))
	both(r, "/docs", plain(s.getDocs))
	both(r, "/docs/errors", compressed(plain(s.getErrors)))
	both(r, "/docs/websocket", compressed(plain(s.getFrames)))
	both(r, "/docs/*", s.getDocs)
	both(r, "/sdk.js", plain(s.getSDK))
	both(r, "/", plain(s.getConsole))
	both(r, "/console/*", compressed(plain(s.getConsole)))
	if s.opts.BasePath == "" {
		return r
	}
	return under(s.opts.BasePath, r, func(h http.Handler) http.Handler { return s.observe(s.guard.protect(h)) })
}

// Admin is the handler of the admin listener.
func (s *Server) Admin() http.Handler {
	r := s.router()
	s.health(r)
	both(r, "/metrics", s.metrics.handler().ServeHTTP)
	if s.opts.PProf {
		for pattern, h := range map[string]http.HandlerFunc{
			"/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/symbol": pprof.Symbol,
			"/debug/pprof/trace": pprof.Trace, "/debug/pprof/*": pprof.Index,
		} {
			r.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				openEnded(w, s.opts.Timing.Answer) // a trace is written for as long as it takes
				h(w, r)
			})
		}
	}
	return r
}

func (s *Server) health(r chi.Router) {
	for path, h := range map[string]http.HandlerFunc{"/livez": plain(s.getLivez), "/readyz": plain(s.getReadyz)} {
		both(r, path, h)
		r.Options(path, h) // HAProxy asks with it unless it is told another method
	}
}

// plain refuses all query parameters.
func plain(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if bad := onlyParams(r); bad != nil {
			writeProblem(w, bad)
			return
		}
		h(w, r)
	}
}

// both answers GET and HEAD.
func both(r chi.Router, pattern string, h http.HandlerFunc) {
	r.Get(pattern, h)
	r.Head(pattern, h)
}

// router is what both listeners have in common.
func (s *Server) router() *chi.Mux {
	r := chi.NewRouter()
	r.Use(s.observe, s.guard.protect)
	r.NotFound(notFound)
	r.MethodNotAllowed(func(w http.ResponseWriter, req *http.Request) {
		methods := allowed(r, req)
		if len(methods) == 0 { // chi does not look at the path for a method it does not know
			notFound(w, req)
			return
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		writeProblem(w, problem(wire.CodeMethodNotAllowed, "The path exists, but not for this method; see the Allow header."))
	})
	return r
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	writeProblem(w, problem(wire.CodeNotFound, "There is nothing at this path."))
}

// allowed lists the methods that the path has.
func allowed(r chi.Routes, req *http.Request) []string {
	path := req.URL.RawPath
	if path == "" {
		path = req.URL.Path
	}
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if r.Match(chi.NewRouteContext(), m, path) {
			methods = append(methods, m)
		}
	}
	return methods
}
