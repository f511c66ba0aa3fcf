package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Publisher hands messages to the broker.
type Publisher interface {
	// Publish passes the message on, in call order per topic, and returns at
	// once. ErrNotSent and ErrOverloaded say that it did not.
	Publish(topic string, payload []byte, qos byte, retain bool) (Pending, error)
}

// Pending is a publish under way. Wait returns nil when the broker took the
// message (QoS 0: when it was written), ErrNotSent or ErrUnknown.
// Done is closed when Wait would return at once.
type Pending interface {
	Wait(ctx context.Context) error
	Done() <-chan struct{}
}

// postPublish is POST /publish.
func (s *Server) postPublish(w http.ResponseWriter, r *http.Request) {
	body, bad := s.readJSON(w, r)
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	var f publishFields
	if bad := scanObject(body, f.set); bad != nil {
		writeProblem(w, bad)
		return
	}
	p, bad := f.publication(s.opts.MaxPayload)
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	s.once(w, r, body, func() *answer { return s.publishAnswer(p) })
}

// start hands p to the broker side and gives the function that waits for its
// end. It does not end when the asking client goes away: what was sent is
// counted as what it became.
func (s *Server) start(p *publication, via string) func() (int, *wire.PublishResult, *wire.Problem) {
	start := time.Now()
	s.inFlight.Add(1)
	begun := false
	defer func() {
		if !begun { // it panicked, and nobody will wait for its end
			s.inFlight.Add(-1)
		}
	}()
	pending, err := s.opts.Publisher.Publish(p.topic, p.payload, p.qos, p.retain)
	begun = true
	return func() (int, *wire.PublishResult, *wire.Problem) {
		defer s.inFlight.Add(-1)
		return s.await(p, via, start, pending, err)
	}
}

func (s *Server) await(p *publication, via string, start time.Time, pending Pending, err error) (int, *wire.PublishResult, *wire.Problem) {
	if err == nil {
		s.untilDone(pending.Done(), s.opts.PublishTimeout-time.Since(start))
		err = pending.Wait(s.ended) // at once
	}
	took := time.Since(start)
	s.metrics.published(via, p.qos, err, took)
	if err != nil {
		return 0, nil, publishProblem(err)
	}
	res := &wire.PublishResult{Topic: p.topic, QoS: p.qos, Delivery: "acknowledged", TookMS: float64(took.Microseconds()) / 1000}
	if p.qos == 0 {
		res.Delivery = "sent"
		return http.StatusAccepted, res, nil
	}
	return http.StatusOK, res, nil
}

// untilDone returns when done is closed or the time is over.
func (s *Server) untilDone(done <-chan struct{}, limit time.Duration) {
	select {
	case <-done:
		return
	default:
	}
	t, _ := s.timers.Get().(*time.Timer)
	if t == nil {
		t = time.NewTimer(limit)
	} else {
		t.Reset(limit)
	}
	select {
	case <-done:
	case <-t.C:
	}
	t.Stop()
	s.timers.Put(t)
}

// readJSON checks that the request brings JSON and reads it.
func (s *Server) readJSON(w http.ResponseWriter, r *http.Request) ([]byte, *wire.Problem) {
	if bad := onlyParams(r); bad != nil {
		return nil, bad
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, problem("unsupported_encoding", "Send the body without Content-Encoding.")
	}
	if contentType := r.Header.Get("Content-Type"); contentType != typeJSON {
		mediaType, params, err := mime.ParseMediaType(contentType)
		if err != nil || mediaType != typeJSON || !isUTF8(params) {
			return nil, problem("unsupported_media_type", "Send Content-Type: application/json, in UTF-8.")
		}
	}
	return readBody(w, r, s.maxObject())
}

// bodyTimeout is how long a body may take to arrive.
const bodyTimeout = 10 * time.Second

// readBody reads at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *wire.Problem) {
	if r.ContentLength > limit {
		return nil, problem("body_too_large", "The body is larger than any allowed message.")
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		if r.ContentLength >= 0 { // a chunked body's end is not beyond doubt for everybody on the way
			w.Header().Del("Connection")
		}
		return body, nil
	case errors.As(err, &tooLarge):
		return nil, problem("body_too_large", "The body is larger than any allowed message.")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, problem("request_timeout", "The body did not arrive within 10 seconds.")
	}
	return nil, problem("invalid_json", "The body broke off or its framing is malformed.")
}

// readAll reads to the end, into a buffer of the announced size if that is
// small: a large one must first come true.
func readAll(body io.Reader, announced int64) ([]byte, error) {
	if announced < 0 || announced > 64<<10 {
		return io.ReadAll(body)
	}
	b := make([]byte, announced)
	_, err := io.ReadFull(body, b)
	return b, err
}

// onlyParams refuses query parameters other than the named ones.
func onlyParams(r *http.Request, names ...string) *wire.Problem {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem("unknown_parameter", "The query string is malformed.")
	}
	var wrong []wire.FieldError
	for name := range query {
		if !slices.Contains(names, name) {
			wrong = append(wrong, wire.FieldError{Pointer: "/" + pointerEscape(name), Detail: "There is no such query parameter here."})
		}
	}
	if len(wrong) > 0 {
		slices.SortFunc(wrong, func(a, b wire.FieldError) int { return strings.Compare(a.Pointer, b.Pointer) })
		wrong = wrong[:min(len(wrong), maxFieldErrors)]
		return problem("unknown_parameter", "The route has no such query parameter.", wrong...)
	}
	return nil
}
