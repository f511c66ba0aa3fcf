package api

import (
	"net/http"

	"github.com/vulturepi/gateway/wire"
)

// getConsole is GET / and the page's files below /console/.
func (s *Server) getConsole(w http.ResponseWriter, r *http.Request) {
	if s.opts.Console == nil {
		writeProblem(w, problem(wire.CodeNotFound, "There is nothing at this path."))
		return
	}
	s.opts.Console.ServeHTTP(&missing{ResponseWriter: w}, r)
}
