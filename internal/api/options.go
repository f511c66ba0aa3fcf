package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Bounds of min_interval.
const (
	minMinInterval = 10 * time.Millisecond
	maxMinInterval = time.Hour
)

// streamParams are the query parameters of /events and /ws.
var streamParams = []string{wire.FieldTopic, wire.FieldSince, wire.FieldSnapshot, wire.FieldOverflow, wire.FieldMinInterval, "ticket"}

// lastEventIDParams stand for the header Last-Event-ID, as replacements of
// EventSource send it that cannot set headers.
var lastEventIDParams = []string{"lastEventId", "Last-Event-ID", "lastEventID"}

// lastEventID is where a client that comes back was, "" if it does not say.
func lastEventID(r *http.Request, query url.Values) string {
	id := r.Header.Get("Last-Event-ID")
	for _, name := range lastEventIDParams {
		id = cmp.Or(id, query.Get(name))
	}
	return id
}

// streamRequest reads filters and options from the query and from
// Last-Event-ID, which wins: a browser that reconnects knows better than the
// URL it was given.
func streamRequest(r *http.Request, needTopic bool, more ...string) (*hub.Request, *wire.Problem) {
	if bad := onlyParams(r, append(slices.Clone(streamParams), more...)...); bad != nil {
		return nil, bad
	}
	query := r.URL.Query()
	req, bad := queryOptions(query, lastEventID(r, query))
	if bad != nil {
		return nil, bad
	}
	if query.Has("ticket") && query.Get("ticket") == "" {
		return nil, fieldProblem(wire.CodeInvalidParameter, "/ticket", "ticket must be one that POST /auth/ticket has given.")
	}
	filters := query["topic"]
	if needTopic && len(filters) == 0 {
		return nil, fieldProblem(wire.CodeFilterRequired, "/topic", "Name at least one filter: ?topic=pi/%2B/battery.")
	}
	for _, f := range filters {
		if err := topic.CheckSystemFilter(f); err != nil {
			return nil, problemAt("/topic", err)
		}
		if !slices.ContainsFunc(req.Results, func(r wire.Result) bool { return r.Topic == f }) {
			req.Results = append(req.Results, wire.Result{Topic: f, OK: true})
		}
	}
	if len(req.Results) > maxFilters {
		return nil, tooManyFilters()
	}
	return req, nil
}

func queryOptions(query url.Values, lastEventID string) (*hub.Request, *wire.Problem) {
	if bad := single(query, "topic"); bad != nil {
		return nil, bad
	}
	req := &hub.Request{}
	var bad [4]*wire.Problem
	switch {
	case lastEventID != "":
		if req.Since, bad[0] = cursorOption(lastEventID); bad[0] != nil {
			bad[0] = fieldProblem(wire.CodeInvalidCursor, "/Last-Event-ID", "Last-Event-ID is not a cursor; use the id of an event, or leave it out.")
		}
	case query.Has("since"):
		req.Since, bad[0] = sinceOption(query.Get("since"))
	}
	if query.Has("snapshot") {
		req.Snapshot, bad[1] = snapshotOption(query.Get("snapshot"))
	}
	if query.Has("overflow") {
		req.Overflow, bad[2] = overflowOption(query.Get("overflow"))
	}
	if query.Has("min_interval") {
		req.MinInterval, bad[3] = minIntervalOption(query.Get("min_interval"))
	}
	return req, merge(slices.DeleteFunc(bad[:], func(p *wire.Problem) bool { return p == nil }))
}

// options reads the options of a subscribe op. With code invalid_cursor they
// can be used all the same: the stream then begins with a gap.
func (f *opFields) options() (*hub.Request, *wire.Problem) {
	req := &hub.Request{}
	var wrong []*wire.Problem
	text := func(v jsontext.Value, pointer string, read func(string) *wire.Problem) {
		if v == nil {
			return
		}
		s, ok := stringValue(v)
		bad := fieldProblem(wire.CodeInvalidParameter, pointer, "This option must be a string.")
		if ok {
			bad = read(s)
		}
		if bad != nil {
			wrong = append(wrong, bad)
		}
	}
	text(f.overflow, "/overflow", func(s string) (bad *wire.Problem) { req.Overflow, bad = overflowOption(s); return bad })
	text(f.minInterval, "/min_interval", func(s string) (bad *wire.Problem) { req.MinInterval, bad = minIntervalOption(s); return bad })
	if f.snapshot != nil {
		var bad *wire.Problem
		if req.Snapshot, bad = snapshotOption(string(f.snapshot)); bad != nil {
			wrong = append(wrong, bad)
		}
	}
	if len(wrong) > 0 {
		return nil, merge(wrong)
	}
	if f.since == nil || string(f.since) == "null" {
		return req, nil
	}
	cursor, _ := stringValue(f.since)
	var bad *wire.Problem
	if req.Since, bad = sinceOption(cursor); bad != nil {
		req.Since = hub.LostPosition()
	}
	return req, bad
}

func cursorOption(s string) (*hub.Position, *wire.Problem) {
	p, err := hub.ParseCursor(s)
	if err != nil {
		return nil, invalidCursor()
	}
	return p, nil
}

func invalidCursor() *wire.Problem {
	return fieldProblem(wire.CodeInvalidCursor, "/since", "since must be a cursor from a message, a duration such as 10m or 24h, or a time such as 2026-11-23T02:40:59Z (write a + in it as %2B).")
}

// sinceOption reads a cursor, a duration back from now, or a time (RFC 3339).
func sinceOption(s string) (*hub.Position, *wire.Problem) {
	if p, err := hub.ParseCursor(s); err == nil {
		return p, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return hub.Since(time.Now().Add(-d)), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return hub.Since(t), nil
	}
	return nil, invalidCursor()
}

func snapshotOption(s string) (bool, *wire.Problem) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fieldProblem(wire.CodeInvalidParameter, "/snapshot", "snapshot must be true or false.")
}

func overflowOption(s string) (outbox.Overflow, *wire.Problem) {
	switch s {
	case "catchup":
		return outbox.OverflowCatchup, nil
	case "close":
		return outbox.OverflowClose, nil
	case "drop":
		return outbox.OverflowDrop, nil
	case "latest":
		return outbox.OverflowLatest, nil
	}
	return 0, fieldProblem(wire.CodeInvalidParameter, "/overflow", "overflow must be catchup, close, drop or latest.")
}

// Query parameters of /events only.
var eventsParams = append([]string{paramFormat, paramKeepAlive, paramGaps}, lastEventIDParams...)

const (
	paramFormat    = "format"    // sse, ndjson or text
	paramKeepAlive = "keepalive" // a duration
	paramGaps      = "gaps"      // true: format text has them, too
)

// Bounds of keepalive.
const (
	minKeepAlive = time.Second
	maxKeepAlive = time.Minute
)

// responseOptions reads how the stream is written as a response.
func responseOptions(r *http.Request) (out stream.Response, bad *wire.Problem) {
	query := r.URL.Query()
	if out.Format, bad = chooseFormat(r); bad != nil {
		return out, bad
	}
	if query.Has(paramKeepAlive) {
		var err error
		out.KeepAlive, err = time.ParseDuration(query.Get(paramKeepAlive))
		if err != nil || out.KeepAlive < minKeepAlive || out.KeepAlive > maxKeepAlive {
			return out, fieldProblem(wire.CodeInvalidParameter, "/keepalive", "keepalive must be a duration from 1s to 60s, for example 5s.")
		}
	}
	switch gaps := query.Get(paramGaps); {
	case !query.Has(paramGaps) || gaps == "false":
	case gaps != "true":
		return out, fieldProblem(wire.CodeInvalidParameter, "/gaps", "gaps must be true or false.")
	case out.Format != stream.FormatText:
		return out, fieldProblem(wire.CodeInvalidParameter, "/gaps", "gaps is for format=text; the other formats have gaps in any case.")
	default:
		out.Notes = true
	}
	return out, nil
}

func minIntervalOption(s string) (time.Duration, *wire.Problem) {
	d, err := time.ParseDuration(s)
	if err != nil || d < minMinInterval || d > maxMinInterval {
		return 0, fieldProblem(wire.CodeInvalidParameter, "/min_interval", "min_interval must be a duration from 10ms to 1h, for example 200ms.")
	}
	return d, nil
}
