package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// maxWait is the longest `Prefer: wait` that is granted: proxies cut an
// answer that takes longer.
const maxWait = 60 * time.Second

// getTopic is GET /topics/{topic}: the newest message on it.
func (s *Server) getTopic(w http.ResponseWriter, r *http.Request) {
	_, bad := queryOnce(r)
	var name string
	if bad == nil {
		name, bad = pathTopic(r, "/topics/", topic.CheckSeenName)
	}
	if bad != nil {
		if bad.Code == wire.CodeTopicWildcard {
			bad = fieldProblem(bad.Code, "/topic", "A wildcard names many topics; GET /topics?filter=… lists their values.")
		}
		writeProblem(w, bad)
		return
	}
	if bad := s.mayRead(callerOf(w), name); bad != nil {
		writeProblem(w, bad)
		return
	}
	var m *message.Message
	if odd := topic.CheckReadName(name); odd != nil {
		if m = s.opts.Hub.Remembered(name); m == nil {
			bad = problemAt("/topic", odd)
		}
	} else if wait := preferredWait(r); wait > 0 {
		w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
		if m, bad = s.awaitValue(r, name, wait); bad == nil {
			bad = s.stillMayRead(callerOf(w), name, name, "/topic")
		}
	} else {
		m, bad = s.value(r.Context(), name)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	s.writeValue(w, r, m)
}

func (s *Server) value(ctx context.Context, name string) (*message.Message, *wire.Problem) {
	m, err := s.opts.Hub.Newest(ctx, name)
	switch {
	case errors.Is(err, hub.ErrNotSeen), errors.Is(err, hub.ErrNotRemembered):
		return nil, ProblemOf(err)
	case err != nil:
		return nil, problemAt("/topic", err)
	}
	return m, nil
}

// preferredWait reads `Prefer: wait=<seconds>` (RFC 7240 section 4.3). A
// preference that cannot be understood is none.
func preferredWait(r *http.Request) time.Duration {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Prefer"), ","), ",") {
		preference, _, _ := strings.Cut(part, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	return 0
}

// awaitValue waits for the next message on a topic. Whoever shows with
// If-None-Match that it has missed one already gets the newest at once; when
// the time is over, what there is.
func (s *Server) awaitValue(r *http.Request, name string, wait time.Duration) (*message.Message, *wire.Problem) {
	if bad := s.admit(); bad != nil {
		return nil, bad
	}
	s.joined()
	defer s.release()
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	next, err := s.opts.Hub.Wait(ctx, name, hub.Want{})
	if err != nil {
		return nil, problemAt("/topic", err)
	}
	defer next.Stop()
	m, bad := s.value(ctx, name)
	if bad != nil && bad.Code != wire.CodeTopicNotSeen {
		return nil, bad
	}
	if tags := r.Header.Values("If-None-Match"); m != nil && len(tags) > 0 && !matchesTag(tags, etag(m)) {
		return m, nil
	}
	select {
	case m = <-next.C:
		return m, nil
	case <-ctx.Done():
	case <-s.closing:
	}
	return m, bad
}

// etag is the validator of a message: its cursor, or, on a retained copy,
// which has none, a digest of what it says.
func etag(m *message.Message) string {
	if cursor := wire.CursorOf(m.JSON); len(cursor) > 0 {
		return `"` + string(cursor) + `"`
	}
	payload, encoding := m.Payload()
	sum := sha256.Sum256(append([]byte(encoding+" "), payload...))
	return `"retained-` + hex.EncodeToString(sum[:8]) + `"`
}

// matchesTag compares with If-None-Match, weakly (RFC 9110 section 13.1.2).
func matchesTag(headers []string, tag string) bool {
	for candidate := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
			return true
		}
	}
	return false
}

// Forms of a message as a resource of its own.
const (
	typeJSON   = "application/json"
	typeText   = "text/plain"
	typeBinary = "application/octet-stream"
)

// tooLarge says that a message is there, and too large to be handed out.
func tooLarge(code wire.Code, detail string, m *message.Message) *wire.Problem {
	p := problem(code, detail)
	p.Bytes = m.TooLarge
	return p
}

// writeValue answers with a message: as its payload, or as its JSON object if
// that is asked for.
func (s *Server) writeValue(w http.ResponseWriter, r *http.Request, m *message.Message) {
	if m.TooLarge > 0 {
		writeProblem(w, tooLarge(wire.CodeValueTooLarge, "The newest message on this topic is larger than the gateway hands out.", m))
		return
	}
	held := hold{budget: s.answers}
	defer held.release()
	if bad := s.countAnswer(r, &held, m.JSON, m.JSON, m.JSON); bad != nil { // besides itself taken apart, and put together
		writeProblem(w, bad)
		return
	}
	var msg wire.Message
	if err := json.Unmarshal(m.JSON, &msg); err != nil {
		panic(err) // our own encoding
	}
	mediaType, asObject := valueType(r, msg.Encoding)
	if mediaType == "" {
		writeProblem(w, problem(wire.CodeNotAcceptable, "The message comes as its payload, or with Accept: application/json as a JSON object."))
		return
	}
	h := w.Header()
	h.Add("Vary", "Accept") // besides Origin
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", etag(m))
	if tags := r.Header.Values("If-None-Match"); len(tags) > 0 && matchesTag(tags, etag(m)) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if m.Seq != 0 { // a copy that the broker kept may be of any age
		h.Set("Last-Modified", msg.Time.UTC().Format(http.TimeFormat))
		h.Set("Age", strconv.Itoa(max(0, int(time.Since(msg.Time)/time.Second))))
	}
	h.Set("Mqtt-Qos", strconv.Itoa(int(msg.QoS)))
	h.Set("Mqtt-Retain", strconv.FormatBool(msg.Retain))
	body := append(append([]byte(nil), m.JSON...), '\n')
	if !asObject {
		body, _ = msg.Bytes() // our own encoding
		// What a device sent must never run as a page of this origin.
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	}
	if mediaType == typeText {
		mediaType += "; charset=utf-8"
	}
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// valueType chooses how a message is written; an empty type means that the
// request takes none.
func valueType(r *http.Request, encoding string) (mediaType string, asObject bool) {
	raw := map[string][]string{
		wire.EncodingJSON: {typeJSON, typeText, typeBinary},
		wire.EncodingText: {typeText, typeBinary}, wire.EncodingBase64: {typeBinary},
	}[encoding]
	wanted, refused := accepted(r)
	for _, mediaRange := range wanted {
		if mediaRange == typeJSON {
			return typeJSON, true
		}
		if t := pick(mediaRange, refused, raw); t != "" {
			return t, false
		}
	}
	return "", false
}
