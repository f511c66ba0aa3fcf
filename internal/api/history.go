package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Objects in one answer of /history and /topics.
const (
	defaultPage = 1000
	maxPage     = 10_000
)

// getHistory is GET /history: what is still in the window, oldest first. A gap
// stands where messages are missing, as on a stream.
func (s *Server) getHistory(w http.ResponseWriter, r *http.Request) {
	c := callerOf(w)
	filter, since, limit, bad := historyQuery(r)
	if bad == nil {
		bad = s.maySubscribe(c, filter, "/filter")
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	held := hold{budget: s.answers}
	defer held.release()
	var page hub.Page
	if bad := s.makeList(r, func() { page = s.opts.Hub.History(filter, since, limit, s.readable(c.principal)) }); bad != nil {
		writeProblem(w, bad)
		return
	}
	objects := page.Objects
	if page.Gap != nil {
		objects = append([][]byte{marshal(page.Gap)}, objects...)
	}
	if bad := s.countAnswer(r, &held, objects...); bad != nil {
		writeProblem(w, bad)
		return
	}
	if page.Next != "" {
		next := url.Values{"filter": {filter}, "since": {page.Next}, "limit": {strconv.Itoa(limit)}}
		w.Header().Set("Link", `<?`+next.Encode()+`>; rel="next"`)
	}
	writeObjects(w, r, objects)
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
	if err := topic.CheckSystemFilter(filter); err != nil {
		return "", nil, 0, problemAt("/filter", err)
	}
	limit, bad = pageLimit(query, defaultPage, maxPage)
	return filter, req.Since, limit, bad
}
