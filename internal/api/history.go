package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Objects in one answer of /history.
const (
	defaultHistory = 1000
	maxHistory     = 10_000
)

// getHistory is GET /history: what is still in the window, oldest first. A gap
// stands where messages are missing, as on a stream.
func (s *Server) getHistory(w http.ResponseWriter, r *http.Request) {
	filter, since, limit, bad := historyQuery(r)
	if bad != nil {
		writeProblem(w, r, bad)
		return
	}
	page := s.opts.Hub.History(filter, since, limit)
	objects := page.Objects
	if page.Gap != nil {
		objects = append([][]byte{marshal(page.Gap)}, objects...)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if page.Next != "" {
		next := url.Values{"filter": {filter}, "since": {page.Next}, "limit": {strconv.Itoa(limit)}}
		h.Set("Link", `</history?`+next.Encode()+`>; rel="next"`)
	}
	open, between, end := "[", ",\n", "]\n"
	h.Set("Content-Type", "application/json")
	if strings.Contains(r.Header.Get("Accept"), "ndjson") {
		open, between, end = "", "\n", ""
		if len(objects) > 0 {
			end = "\n"
		}
		h.Set("Content-Type", formatNDJSON.mediaType())
	}
	_, _ = w.Write([]byte(open))
	for i, o := range objects {
		if i > 0 {
			_, _ = w.Write([]byte(between))
		}
		_, _ = w.Write(o)
	}
	_, _ = w.Write([]byte(end))
}

func historyQuery(r *http.Request) (filter string, since *hub.Position, limit int, bad *wire.Problem) {
	if bad = onlyParams(r, "filter", "since", "limit"); bad != nil {
		return
	}
	query := r.URL.Query()
	req, bad := queryOptions(query, "")
	if bad != nil {
		return
	}
	filter = query.Get("filter")
	if err := topic.CheckFilter(filter); err != nil {
		return "", nil, 0, topicProblem(err, "/filter")
	}
	limit = defaultHistory
	if query.Has("limit") {
		n, err := strconv.Atoi(query.Get("limit"))
		if err != nil || n < 1 || n > maxHistory {
			return "", nil, 0, fieldProblem("invalid_parameter", "/limit", "limit must be a number from 1 to 10000.")
		}
		limit = n
	}
	return filter, req.Since, limit, nil
}
