package api

import (
	"fmt"
	"log/slog"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// mayPublish says what keeps the caller from publishing p now, if anything: its
// rights, or its rate. Whoever answers publishes to the response topic, so it
// must be granted like the topic itself: else a device would publish there for
// somebody who may not.
func (s *Server) mayPublish(c *caller, p *publication) *wire.Problem {
	p.by = c
	rights := c.principal.Rights
	switch {
	case !rights.MayPublish(p.topic):
		return s.deny(c, access.ActionPublish, p.topic, fieldProblem(wire.CodeTopicForbidden, "/topic", fmt.Sprintf("Publishing to %q is not granted.", p.topic)))
	case p.retain && !rights.MayRetain(p.topic):
		return s.deny(c, access.ActionRetain, p.topic, fieldProblem(wire.CodeRetainForbidden, "/retain", fmt.Sprintf("Retaining on %q, or clearing it, is not granted.", p.topic)))
	case p.given != nil && p.given.ResponseTopic != "" && !rights.MayPublish(p.given.ResponseTopic):
		answers := p.given.ResponseTopic
		return s.deny(c, access.ActionPublish, answers, fieldProblem(wire.CodeTopicForbidden, "/"+wire.FieldResponseTopic, fmt.Sprintf("Publishing to %q is not granted, and so neither is having answers published there.", answers)))
	}
	return s.takePublish(c)
}

// maySubscribe says what keeps the caller from reading what a filter matches.
// The broker's own topics are reserved for those who may.
func (s *Server) maySubscribe(c *caller, filter, pointer string) *wire.Problem {
	if c.principal.Rights.MaySubscribe(filter) {
		return nil
	}
	bad := filterForbidden(filter, pointer)
	if err := topic.CheckFilter(filter); err != nil {
		bad = problemAt(pointer, err)
	}
	return s.deny(c, access.ActionSubscribe, filter, bad)
}

// mayReadSystem is maySubscribe where others than the broker's own topics are
// granted, or not, later on.
func (s *Server) mayReadSystem(c *caller, filter, pointer string) *wire.Problem {
	if topic.CheckFilter(filter) == nil {
		return nil
	}
	return s.maySubscribe(c, filter, pointer)
}

func filterForbidden(filter, pointer string) *wire.Problem {
	return fieldProblem(wire.CodeFilterForbidden, pointer, fmt.Sprintf("Reading all of %q is not granted.", filter))
}

// mayRead is maySubscribe for the value of one topic. Whether there is one is
// not for whoever may not read it.
func (s *Server) mayRead(c *caller, topic string) *wire.Problem {
	if c.principal.Rights.MaySubscribe(topic) {
		return nil
	}
	return s.deny(c, access.ActionSubscribe, topic, fieldProblem(wire.CodeTopicForbidden, "/topic", fmt.Sprintf("Reading %q is not granted.", topic)))
}

// stillMayRead looks again before a message goes out that has been waited for,
// or was kept: the caller's rights may have changed meanwhile. If they have, the
// answer is about the filter that was asked for, not about the message.
func (s *Server) stillMayRead(c *caller, topic, filter, pointer string) *wire.Problem {
	if !s.asks {
		return nil
	}
	p, err := s.access.Revalidate(c.principal)
	if err != nil {
		return unauthenticated()
	}
	if p.Rights.MaySubscribe(filter) && p.Rights.MayReceive(topic) {
		return nil
	}
	return s.deny(c, access.ActionSubscribe, filter, filterForbidden(filter, pointer))
}

// deny counts a refusal. Who has shown no credentials is asked for some.
func (s *Server) deny(c *caller, action access.Action, target string, bad *wire.Problem) *wire.Problem {
	s.metrics.denied(action)
	s.audit(c, string(action), string(bad.Code), slog.String("topic", target))
	if c.principal.Via == access.ViaAnonymous {
		return unauthenticated()
	}
	return bad
}
