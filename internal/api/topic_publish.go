package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Topics as resources: the topic is the rest of the path, the payload is the
// body, as it is.

// postTopic is POST /topics/{topic}.
func (s *Server) postTopic(w http.ResponseWriter, r *http.Request) {
	s.publishRaw(w, r, false)
}

// putTopic is PUT /topics/{topic}: the same, retained.
func (s *Server) putTopic(w http.ResponseWriter, r *http.Request) {
	s.publishRaw(w, r, true)
}

func (s *Server) publishRaw(w http.ResponseWriter, r *http.Request, retained bool) {
	held := hold{budget: s.bodies}
	defer held.release()
	p, _, bad := s.rawPublication(r, "/topics/", topic.CheckName, append([]string{"qos", "retain"}, propertyParams...)...)
	if bad == nil && retained && r.URL.Query().Get("retain") == "false" {
		bad = fieldProblem(wire.CodeInvalidRetain, "/retain", "PUT publishes a retained message; POST one that is not.")
	}
	if bad == nil {
		p.requestID = requestID(w)
		p.counted = true
		p.retain = p.retain || retained
		bad = s.mayPublish(callerOf(w), p)
	}
	if bad == nil {
		bad = s.readPayload(w, r, p, &held)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	s.once(w, r, p.payload, answerRoom, func() *answer { return s.publishAnswer(p) })
}

// emptyBody reports whether a body that comes in chunks has nothing in it: so
// some clients send none.
func emptyBody(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength > 0 {
		return false
	}
	n, err := r.Body.Read(make([]byte, 1))
	if n > 0 || !errors.Is(err, io.EOF) {
		return false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return true
}

// deleteTopic is DELETE /topics/{topic}: it clears the retained message, as
// MQTT does it, with an empty one (MQTT 3.1.1, 3.3.1.3).
func (s *Server) deleteTopic(w http.ResponseWriter, r *http.Request) {
	held := hold{budget: s.bodies}
	defer held.release()
	p, _, bad := s.rawPublication(r, "/topics/", topic.CheckReadName, "qos")
	if bad == nil {
		bad = decodeBody(w, r, &held)
	}
	if bad == nil && r.ContentLength != 0 && !emptyBody(w, r) {
		bad = problem(wire.CodeBodyNotAllowed, "DELETE takes no body: it clears the topic's retained message.")
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	p.requestID = requestID(w)
	p.retain = true
	if bad := s.mayPublish(callerOf(w), p); bad != nil {
		writeProblem(w, bad)
		return
	}
	s.once(w, r, nil, answerRoom, func() *answer {
		settle := s.opts.Hub.ExpectClear(p.topic)
		a := s.publishAnswer(p)
		settle(a.sent())
		return a
	})
}

// rawPublication reads everything but the body of a request that publishes its
// body to the topic in its path.
func (s *Server) rawPublication(r *http.Request, prefix string, check func(string) error, params ...string) (*publication, url.Values, *wire.Problem) {
	query, bad := queryOnce(r, params...)
	if bad != nil {
		return nil, nil, bad
	}
	if bad := foreignForm(r); bad != nil {
		return nil, nil, bad
	}
	p := &publication{qos: 1}
	var wrong []*wire.Problem
	if p.topic, bad = pathTopic(r, prefix, check); bad != nil {
		wrong = append(wrong, bad)
	}
	if query.Has("qos") {
		if p.qos, bad = qosOption(query.Get("qos")); bad != nil {
			wrong = append(wrong, bad)
		}
	}
	if query.Has("retain") {
		if p.retain, bad = retainOption(query.Get("retain")); bad != nil {
			wrong = append(wrong, bad)
		}
	}
	if p.given, bad = propertiesOf(r, query); bad != nil {
		wrong = append(wrong, bad)
	}
	return p, query, merge(wrong)
}

// simpleTypes are what a web page of any origin can send without asking first
// (Fetch standard, CORS-safelisted request-header).
var simpleTypes = []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"}

// foreignForm refuses such a body unless it certainly comes from no foreign
// page. Those with a foreign Origin are refused for every type already; here
// go those that a browser sends without one.
func foreignForm(r *http.Request) *wire.Problem {
	if len(r.Header.Values("Origin")) > 0 || len(r.Header.Values("Sec-Fetch-Site")) == 0 {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && !slices.Contains(simpleTypes, mediaType) || r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return nil
	}
	return problem(wire.CodeCrossOrigin, "A browser sent this without saying which page it is from; send it with another Content-Type.")
}

// readPayload reads the body as p's payload.
func (s *Server) readPayload(w http.ResponseWriter, r *http.Request, p *publication, held *hold) *wire.Problem {
	body, bad := s.readBody(w, r, int64(s.opts.MaxPayload), held)
	switch {
	case bad != nil && bad.Code == wire.CodeBodyTooLarge:
		return payloadTooLarge(s.opts.MaxPayload)
	case bad != nil && bad.Code == wire.CodeInvalidJSON:
		return problem(wire.CodeInvalidBody, bad.Detail)
	case bad != nil:
		return bad
	case p.retain && len(body) == 0:
		return wouldClear("/payload")
	}
	p.payload = body
	return nil
}
