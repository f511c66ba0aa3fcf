package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

const (
	maxWaiting     = 1024 // requests that wait for a reply
	defaultTimeout = 5 * time.Second
	minTimeout     = 10 * time.Millisecond
	maxTimeout     = time.Minute
)

// call is a publish and the message that is to answer it. The device need
// not know: whatever comes on reply first is the answer.
type call struct {
	publication *publication
	replyTo     string // a topic or filter
	expect      []byte // wait for this payload; nil: any
	timeout     time.Duration
	via         string
}

// postRequest is POST /request/{topic}: publish the body, answer with the
// first message on ?reply=.
func (s *Server) postRequest(w http.ResponseWriter, r *http.Request) {
	p, query, bad := s.rawPublication(r, "/request/", "reply", "expect", "timeout", "qos")
	c := &call{publication: p, via: "request", timeout: defaultTimeout}
	if query != nil { // the parameters can be read: everything that is wrong is told at once
		var wrong []*wire.Problem
		if bad != nil {
			wrong = append(wrong, bad)
		}
		bad = merge(append(wrong, c.options(query)...))
	}
	if bad == nil {
		p.requestID = requestID(w)
		bad = s.readPayload(w, r, p)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	ctx := r.Context()
	if r.Header.Get("Idempotency-Key") != "" {
		// Whoever is gone may come back for the answer.
		ctx = context.WithoutCancel(ctx)
	}
	s.once(w, r, p.payload, func() *answer {
		m, bad := s.call(ctx, c)
		if bad != nil {
			return &answer{problem: bad}
		}
		return &answer{message: m.JSON}
	})
}

// options reads the query parameters.
func (c *call) options(query url.Values) (wrong []*wire.Problem) {
	c.replyTo = query.Get("reply")
	if bad := checkReply(c.replyTo); bad != nil {
		wrong = append(wrong, bad)
	}
	if query.Has("expect") {
		c.expect = []byte(query.Get("expect"))
	}
	if query.Has("timeout") {
		var bad *wire.Problem
		if c.timeout, bad = timeoutOption(query.Get("timeout")); bad != nil {
			wrong = append(wrong, bad)
		}
	}
	return wrong
}

func checkReply(filter string) *wire.Problem {
	if filter == "" {
		return fieldProblem(wire.CodeFilterRequired, "/reply", "Say where the reply comes: reply is a topic or a filter.")
	}
	if err := topic.CheckFilter(filter); err != nil {
		return problemAt("/reply", err)
	}
	return nil
}

func timeoutOption(s string) (time.Duration, *wire.Problem) {
	d, err := time.ParseDuration(s)
	if err != nil || d < minTimeout || d > maxTimeout {
		return 0, fieldProblem(wire.CodeInvalidParameter, "/timeout", "timeout must be a duration from 10ms to 1m, for example 5s.")
	}
	return d, nil
}

// wants says which message is the reply. Behind a wildcard, the request's own
// topic is none.
func (c *call) wants() hub.Want {
	want := hub.Want{Payload: c.expect}
	if strings.ContainsAny(c.replyTo, "+#") {
		want.Except = c.publication.topic
	}
	return want
}

// call publishes and waits for the reply.
func (s *Server) call(ctx context.Context, c *call) (*message.Message, *wire.Problem) {
	asked, bad := s.ask(ctx, c)
	if bad != nil {
		return nil, bad
	}
	return asked.reply(ctx)
}

// asked is a call under way. Its reply must be asked for once.
type asked struct {
	*call
	server  *Server
	replies *hub.Waiter
	publish *underway
}

// ask publishes when the subscription to the reply is in force.
func (s *Server) ask(ctx context.Context, c *call) (*asked, *wire.Problem) {
	if s.draining.Load() {
		return nil, shuttingDown()
	}
	if s.waiting.Add(1) > maxWaiting {
		s.waiting.Add(-1)
		return nil, problem(wire.CodeTooManyRequests, "As many requests as the gateway allows wait for a reply; nothing was sent.")
	}
	replies, err := s.opts.Hub.Wait(ctx, c.replyTo, c.wants())
	if err != nil {
		s.waiting.Add(-1)
		return nil, problemAt("/reply", err)
	}
	return &asked{call: c, server: s, replies: replies, publish: s.begin(c.publication, c.via)}, nil
}

// reply waits for the reply, or for the news that the request was not sent. A
// reply that overtakes the broker's acknowledgement counts.
func (a *asked) reply(ctx context.Context) (*message.Message, *wire.Problem) {
	defer a.server.waiting.Add(-1)
	defer a.replies.Stop()
	timeout := time.NewTimer(a.timeout)
	defer timeout.Stop()
	bad := problemOf(ErrUnknown) // as long as the broker has said nothing
	published := a.publish.done()
	defer func() {
		if published != nil {
			go a.publish.outcome()
		}
	}()
	for {
		select {
		case m := <-a.replies.C:
			return m, nil
		case <-published:
			published = nil
			outcome := a.publish.outcome().problem
			switch {
			case outcome == nil:
				bad = problem(wire.CodeNoReply, "The message was published, but nothing came on the reply topic in time.")
			case outcome.Code != wire.CodeOutcomeUnknown:
				return nil, outcome
			}
		case <-timeout.C:
			return nil, bad
		case <-ctx.Done():
			return nil, bad
		case <-a.server.closing:
			return nil, bad
		}
	}
}
