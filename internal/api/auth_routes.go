package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// getWhoami is GET /auth/whoami: who the caller is, and what its rights come to.
func (s *Server) getWhoami(w http.ResponseWriter, _ *http.Request) {
	p := callerOf(w).principal
	g := p.Rights.Grants()
	writeOwn(w, http.StatusOK, &wire.Whoami{
		Principal: p.Name, Via: string(p.Via), Expires: expires(p), Operator: p.Rights.Operator(),
		Publish: notNull(g.Publish), Retain: notNull(g.Retain), Subscribe: notNull(g.Subscribe), Deny: notNull(g.Deny),
	})
}

// notNull is a list that is never null.
func notNull(filters []string) []string {
	if filters == nil {
		return []string{}
	}
	return filters
}

// writeOwn answers with what is for the caller alone.
func writeOwn(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, typeJSON, v)
}

// getExplain is GET /auth/explain: whether the caller may do something, and
// which of its rules decides.
func (s *Server) getExplain(w http.ResponseWriter, r *http.Request) {
	query, bad := queryOnce(r, "action", "topic")
	var wrong []*wire.Problem
	action := access.Action(query.Get("action"))
	if bad == nil && !slices.Contains([]access.Action{access.ActionPublish, access.ActionRetain, access.ActionSubscribe}, action) {
		wrong = append(wrong, fieldProblem(wire.CodeInvalidParameter, "/action", "action must be publish, retain or subscribe."))
	}
	if bad == nil && query.Get("topic") == "" {
		wrong = append(wrong, fieldProblem(wire.CodeInvalidParameter, "/topic", "topic must be a topic, or with action=subscribe a filter."))
	}
	if bad == nil {
		bad = merge(wrong)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	if err := explainable(action, query.Get("topic")); err != nil {
		writeProblem(w, problemAt("/topic", err))
		return
	}
	allowed, rule := callerOf(w).principal.Rights.Explain(action, query.Get("topic"))
	writeOwn(w, http.StatusOK, &wire.Explanation{Allowed: allowed, Rule: rule})
}

// explainable says why nobody could do that with the topic, or filter, whatever
// their rights. What starts with $ is left to the rights.
func explainable(action access.Action, what string) error {
	check := topic.CheckName
	switch action {
	case access.ActionRetain:
		check = topic.CheckReadName // to clear is to retain, whatever name a device has chosen
	case access.ActionSubscribe:
		check = topic.CheckSystemFilter
	}
	err := check(what)
	if flaw := (*topic.Error)(nil); errors.As(err, &flaw) && (flaw.Code == topic.CodeTopicReserved || flaw.Code == topic.CodeFilterReserved) {
		return nil
	}
	return err
}

// getPrincipals is GET /auth/principals: those of the access file, for
// operators.
func (s *Server) getPrincipals(w http.ResponseWriter, _ *http.Request) {
	c := callerOf(w)
	if !c.principal.Rights.Operator() {
		writeProblem(w, s.deny(c, actionOperate, "", problem(wire.CodeOperatorsOnly, "This is for principals with operator: true.")))
		return
	}
	accounts := []wire.Account{}
	for _, a := range s.access.Accounts() {
		g := a.Rights.Grants()
		accounts = append(accounts, wire.Account{
			Name: a.Name, Keys: a.Keys, Expires: expires(&access.Principal{Expires: a.Expires}), Operator: a.Rights.Operator(),
			Publish: notNull(g.Publish), Retain: notNull(g.Retain), Subscribe: notNull(g.Subscribe), Deny: notNull(g.Deny),
		})
	}
	writeOwn(w, http.StatusOK, accounts)
}

// postTicket is POST /auth/ticket: something to put into a URL in the place of
// credentials. It lets its bearer in once, soon.
func (s *Server) postTicket(w http.ResponseWriter, r *http.Request) {
	held := hold{budget: s.bodies}
	defer held.release()
	topics, bad := s.ticketTopics(w, r, &held)
	c := callerOf(w)
	if bad == nil && c.principal.Via == access.ViaAnonymous {
		bad = unauthenticated()
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	ticket, err := s.access.IssueTicket(c.principal, r.Header.Get("Origin"), topics)
	switch {
	case errors.Is(err, access.ErrTooManyTopics):
		bad = fieldProblem(wire.CodeInvalidTopics, "/topics", "topics must be an array of 1 to 256 filters.")
	case err != nil:
		bad = s.limited(c, limitTickets, access.Quota{Retry: access.TicketLife})
	}
	if bad != nil {
		s.audit(c, "ticket", string(bad.Code))
		writeProblem(w, bad)
		return
	}
	s.audit(c, "ticket", "ok")
	writeOwn(w, http.StatusCreated, &wire.Ticket{Ticket: ticket, ExpiresIn: int(access.TicketLife.Seconds())})
}

// ticketTopics reads what a ticket is to be narrowed to, nil for nothing.
func (s *Server) ticketTopics(w http.ResponseWriter, r *http.Request, held *hold) ([]string, *wire.Problem) {
	if r.ContentLength == 0 || r.Header.Get("Content-Type") == "" && emptyBody(w, r) {
		return nil, onlyParams(r)
	}
	body, bad := s.readJSON(w, r, held)
	if bad != nil || len(strings.TrimSpace(string(body))) == 0 {
		return nil, bad
	}
	var raw jsontext.Value
	if bad := scanObject(body, func(name string, v jsontext.Value) bool {
		raw = v
		return name == wire.FieldTopics
	}); bad != nil || raw == nil {
		return nil, bad
	}
	var topics []string
	if raw.Kind() != '[' || !stringArray(raw, &topics) || len(topics) == 0 || len(topics) > access.MaxFilters {
		return nil, fieldProblem(wire.CodeInvalidTopics, "/topics", "topics must be an array of 1 to 256 filters.")
	}
	for _, f := range topics {
		if err := topic.CheckSystemFilter(f); err != nil {
			return nil, problemAt("/topics", err)
		}
		if bad := s.mayReadSystem(callerOf(w), f, "/topics"); bad != nil {
			return nil, bad
		}
	}
	return topics, nil
}
