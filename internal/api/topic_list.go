package api

import (
	"bufio"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// getTopics is GET /topics: the newest message of every topic that matches, or
// what the broker keeps on it, by topic.
func (s *Server) getTopics(w http.ResponseWriter, r *http.Request) {
	query, bad := queryOnce(r, "filter", "limit", "after", "retained")
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	filter := "#"
	var wrong []*wire.Problem
	if query.Has("filter") {
		filter = query.Get("filter")
		if err := topic.CheckSystemFilter(filter); err != nil {
			wrong = append(wrong, problemAt("/filter", err))
		}
	}
	limit, bad := pageLimit(query, defaultPage, maxPage)
	if bad != nil {
		wrong = append(wrong, bad)
	}
	after := query.Get("after")
	if query.Has("after") && !isPlace(after) {
		wrong = append(wrong, fieldProblem(wire.CodeInvalidParameter, "/after", "after must be the topic that the last page ended with."))
	}
	list := s.opts.Hub.List
	switch query.Get("retained") {
	case "true":
		list = s.opts.Hub.Kept
	case "false":
	default:
		if query.Has("retained") {
			wrong = append(wrong, fieldProblem(wire.CodeInvalidParameter, "/retained", "retained must be true or false."))
		}
	}
	if len(wrong) > 0 {
		writeProblem(w, merge(wrong))
		return
	}
	if bad := s.maySubscribe(callerOf(w), filter, "/filter"); bad != nil {
		writeProblem(w, bad)
		return
	}
	held := hold{budget: s.answers}
	defer held.release()
	var objects [][]byte
	var next string
	var err error
	bad = s.makeList(r, func() {
		objects, next, err = list(r.Context(), filter, after, limit, s.readable(callerOf(w).principal))
	})
	switch {
	case bad != nil:
	case err != nil:
		bad = problemAt("/filter", err)
	default:
		bad = s.countAnswer(r, &held, objects...)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	if next != "" {
		more := url.Values{"filter": {filter}, "after": {next}, "limit": {strconv.Itoa(limit)}}
		if query.Has("retained") {
			more.Set("retained", query.Get("retained"))
		}
		w.Header().Set("Link", `<?`+more.Encode()+`>; rel="next"`)
	}
	writeObjects(w, r, objects)
}

// isPlace reports whether a page can have ended there: at a topic that a device
// has chosen, which may be one that cannot be asked for.
func isPlace(after string) bool {
	return after != "" && len(after) <= topic.MaxReadBytes && utf8.ValidString(after) && !strings.ContainsAny(after, "+#")
}

// writeObjects writes a list as a JSON array, or one object a line.
func writeObjects(w http.ResponseWriter, r *http.Request, objects [][]byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept") // besides Origin
	h.Set("Content-Type", typeJSON)
	if choose(r, typeJSON, typeNDJSON) != typeNDJSON {
		writeArray(w, http.StatusOK, objects)
		return
	}
	h.Set("Content-Type", typeNDJSON)
	end := ""
	if len(objects) > 0 {
		end = "\n"
	}
	writeParts(w, http.StatusOK, "", "\n", end, objects)
}

// writeArray answers with a JSON array.
func writeArray(w http.ResponseWriter, status int, elements [][]byte) {
	writeParts(w, status, "[", ",\n", "]\n", elements)
}

func writeParts(w http.ResponseWriter, status int, open, between, end string, parts [][]byte) {
	length := len(open) + len(end) + len(between)*max(0, len(parts)-1)
	for _, p := range parts {
		length += len(p)
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
	b := bufio.NewWriterSize(w, listBuffer) // small parts compress badly one by one
	_, _ = b.WriteString(open)
	for i, p := range parts {
		if i > 0 {
			_, _ = b.WriteString(between)
		}
		if _, err := b.Write(p); err != nil {
			return
		}
	}
	_, _ = b.WriteString(end)
	_ = b.Flush()
}

// listBuffer is what is put together into one write.
const listBuffer = 16 << 10

// maxLists is how many lists may be made at the same moment.
const maxLists = 64

// makeList calls do when there is a place for it, which is given back when do
// has made the list, not when that is read. Who finds none for Timing.Room is
// to come again.
func (s *Server) makeList(r *http.Request, do func()) *wire.Problem {
	room := time.NewTimer(s.opts.Timing.Room)
	defer room.Stop()
	select {
	case s.lists <- struct{}{}:
	case <-room.C:
		return problem(wire.CodeOverloaded, "Very many lists are being made at this moment.")
	case <-r.Context().Done(): // nobody will read it
		return problem(wire.CodeOverloaded, "The client is gone.")
	}
	defer func() { <-s.lists }()
	do()
	return nil
}

// countAnswer counts what is about to be written, until held is released.
func (s *Server) countAnswer(r *http.Request, held *hold, parts ...[]byte) *wire.Problem {
	size := listBuffer
	for _, p := range parts {
		size += sliceHeader + len(p)
	}
	if !held.wait(r.Context(), size, s.opts.Timing.Room) {
		return problem(wire.CodeOverloaded, "Very many answers wait to be read by their clients at this moment.")
	}
	return nil
}
