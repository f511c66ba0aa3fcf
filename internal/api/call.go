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
	maxOrphaned    = 64   // of them, those whose clients are gone and may come back
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
	device      string // must not be offline; empty: any
	keep        bool   // a client that has gone may come back for the answer
}

// postRequest is POST /request/{topic}: publish the body, answer with the
// first message on ?reply=.
func (s *Server) postRequest(w http.ResponseWriter, r *http.Request) {
	held := hold{budget: s.bodies}
	defer held.release()
	p, query, bad := s.rawPublication(r, "/request/", topic.CheckName, append([]string{"reply", "expect", "timeout", "qos", wire.FieldDevice}, propertyParams...)...)
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
		bad = s.mayCall(callerOf(w), c)
	}
	if bad == nil {
		bad = s.readPayload(w, r, p, &held)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	c.keep = r.Header.Get("Idempotency-Key") != ""
	var asked *asked
	defer func() { asked.end() }() // when the reply is written
	s.once(w, r, p.payload, answerRoom, func() *answer {
		var m *message.Message
		if asked, bad = s.ask(r.Context(), c); bad == nil {
			m, bad = asked.reply(r.Context())
		}
		if bad != nil {
			return &answer{problem: bad}
		}
		asked.held.add(len(m.JSON))
		return &answer{message: m.JSON, topic: m.Topic}
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
	if query.Has(wire.FieldDevice) {
		if c.device = query.Get(wire.FieldDevice); c.device == "" {
			wrong = append(wrong, invalidDevice())
		}
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

// mayCall says what keeps the caller from c, if anything.
func (s *Server) mayCall(by *caller, c *call) *wire.Problem {
	if bad := s.maySubscribe(by, c.replyTo, "/reply"); bad != nil {
		return bad
	}
	if bad := s.mayReach(by, c.device); bad != nil {
		return bad
	}
	return s.mayPublish(by, c.publication)
}

// wants says which message is the reply. Behind a wildcard, the request's own
// topic is none.
func (c *call) wants(rights *hub.Rights) hub.Want {
	want := hub.Want{Payload: c.expect, Rights: rights, Holder: c.publication.by.client()}
	if strings.ContainsAny(c.replyTo, "+#") {
		want.Except = c.publication.topic
	}
	return want
}

// asked is a call under way. Its reply must be asked for once, and then its end.
type asked struct {
	*call
	server  *Server
	replies *hub.Waiter
	publish *underway
	held    hold // of a reply that is being written
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
	replies, err := s.opts.Hub.Wait(ctx, c.replyTo, c.wants(s.readable(c.publication.by.principal)))
	if err != nil {
		s.waiting.Add(-1)
		return nil, problemAt("/reply", err)
	}
	return &asked{call: c, server: s, replies: replies, publish: s.begin(c.publication, c.via), held: hold{budget: s.answers}}, nil
}

// reply waits for the reply, or for the news that the request was not sent. A
// reply that overtakes the broker's acknowledgement counts.
func (a *asked) reply(ctx context.Context) (*message.Message, *wire.Problem) {
	defer a.replies.Stop()
	timeout := time.NewTimer(a.timeout)
	defer timeout.Stop()
	bad := ProblemOf(ErrUnknown) // as long as the broker has said nothing
	published := a.publish.done()
	defer func() {
		if published != nil {
			go a.publish.outcome()
		}
	}()
	gone := ctx.Done()
	for {
		select {
		case m := <-a.replies.C:
			if bad := a.server.stillMayRead(a.publication.by, m.Topic, a.replyTo, "/reply"); bad != nil {
				return nil, bad
			}
			if m.TooLarge > 0 {
				return nil, tooLarge(wire.CodeReplyTooLarge, "The reply came, but it is larger than the gateway hands out.", m)
			}
			return m, nil
		case <-published:
			published = nil
			outcome := a.publish.outcome().problem
			switch {
			case outcome == nil:
				bad = a.noReply()
			case outcome.Code != wire.CodeOutcomeUnknown:
				return nil, outcome
			}
		case <-timeout.C:
			return nil, bad
		case <-gone:
			gone = nil
			if !a.keep {
				return nil, bad
			}
			defer a.server.orphaned.Add(-1)
			if a.server.orphaned.Add(1) > maxOrphaned {
				return nil, bad
			}
		case <-a.server.closing:
			return nil, bad
		}
	}
}

// noReply is what to say when the time is over.
func (a *asked) noReply() *wire.Problem {
	if a.expect != nil {
		return problem(wire.CodeNoReply, "The message was published, but the expected payload did not come on the reply topic in time.")
	}
	return problem(wire.CodeNoReply, "The message was published, but nothing came on the reply topic in time.")
}

// end gives the place of the call back.
func (a *asked) end() {
	if a != nil {
		a.held.release()
		a.server.waiting.Add(-1)
	}
}
