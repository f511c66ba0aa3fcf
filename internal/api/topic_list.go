package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// getTopics is GET /topics: the newest message of every topic that matches, by
// topic.
func (s *Server) getTopics(w http.ResponseWriter, r *http.Request) {
	query, bad := queryOnce(r, "filter", "limit", "after")
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	filter := "#"
	var wrong []*wire.Problem
	if query.Has("filter") {
		filter = query.Get("filter")
		if err := topic.CheckFilter(filter); err != nil {
			wrong = append(wrong, problemAt("/filter", err))
		}
	}
	limit, bad := pageLimit(query, defaultPage, maxPage)
	if bad != nil {
		wrong = append(wrong, bad)
	}
	after := query.Get("after")
	if query.Has("after") && topic.CheckName(after) != nil {
		wrong = append(wrong, fieldProblem(wire.CodeInvalidParameter, "/after", "after must be the topic that the last page ended with."))
	}
	if len(wrong) > 0 {
		writeProblem(w, merge(wrong))
		return
	}
	defer s.place(r)()
	objects, next, err := s.opts.Hub.List(r.Context(), filter, after, limit)
	if err != nil {
		writeProblem(w, problemAt("/filter", err))
		return
	}
	if next != "" {
		more := url.Values{"filter": {filter}, "after": {next}, "limit": {strconv.Itoa(limit)}}
		w.Header().Set("Link", `</topics?`+more.Encode()+`>; rel="next"`)
	}
	writeObjects(w, r, objects)
}

// writeObjects writes a list as a JSON array, or one object a line.
func writeObjects(w http.ResponseWriter, r *http.Request, objects [][]byte) {
	open, between, end := "[", ",\n", "]\n"
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept") // besides Origin
	h.Set("Content-Type", typeJSON)
	if choose(r, typeJSON, typeNDJSON) == typeNDJSON {
		open, between, end = "", "\n", ""
		if len(objects) > 0 {
			end = "\n"
		}
		h.Set("Content-Type", typeNDJSON)
	}
	length := len(open) + len(end) + len(between)*max(0, len(objects)-1)
	for _, o := range objects {
		length += len(o)
	}
	h.Set("Content-Length", strconv.Itoa(length))
	_, _ = w.Write([]byte(open))
	for i, o := range objects {
		if i > 0 {
			_, _ = w.Write([]byte(between))
		}
		if _, err := w.Write(o); err != nil {
			return
		}
	}
	_, _ = w.Write([]byte(end))
}

// maxAnswers is how many lists may be under way; the next waits for a place.
const maxAnswers = 64

// place takes a place among the lists; the function gives it back.
func (s *Server) place(r *http.Request) (leave func()) {
	select {
	case s.answers <- struct{}{}:
		return func() { <-s.answers }
	case <-r.Context().Done(): // nobody will read it
		return func() {}
	}
}
