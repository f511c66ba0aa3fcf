package api

import (
	"context"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// maxOvers is how many ops in a row may be over a limit before the connection
// is closed.
const maxOvers = 20

// unknown is a connection that has to say who it is, and what it has asked for
// already.
type unknown struct {
	request *hub.Request
	timer   *time.Timer
}

// awaitAuth gives the client Timing.Auth to say who it is.
func (ws *wsSession) awaitAuth(request *hub.Request) {
	ws.unknown = &unknown{request, time.AfterFunc(ws.server.opts.Timing.Auth, func() { ws.client.Close(outbox.CloseUnknown) })}
}

// met: the client is a stranger no longer.
func (ws *wsSession) met() {
	if ws.stranger {
		ws.stranger = false
		ws.server.strangers.Add(-1)
	}
}

// auth is the auth op: it says who the client is, or says so again before the
// time of its credentials is over.
func (ws *wsSession) auth(id hub.ID, token jsontext.Value) (code wire.CloseCode, reason string) {
	s, c := ws.server, ws.guest.now()
	text, ok := stringValue(token)
	if !ok || text == "" {
		return ws.malformed(id, fieldProblem(wire.CodeInvalidParameter, "/token", "token must be a string: a key or a token."))
	}
	p, bad := s.letIn(c, access.Credentials{Token: text})
	known := c.principal.Name != ""
	if bad == nil && known && (p.Name != c.principal.Name || p.Via != c.principal.Via) { // a connection is one principal's
		bad = unauthenticated()
	}
	if bad != nil {
		ws.fail(id, bad)
		if bad.Code == wire.CodeRateLimited { // nobody has looked at them
			return wire.CloseRate, "too many failed logins"
		}
		return wire.CloseCredentials, "the credentials are not good"
	}
	if !known {
		if bad := ws.rename(c, p); bad != nil {
			ws.fail(id, bad)
			return wire.CloseRate, "too many streams"
		}
	}
	ws.guest.renew(p)
	ack := &wire.AuthAck{Type: wire.TypeAck, ID: id, Principal: p.Name, Expires: expires(p)}
	ws.client.Send(wire.TypeAck, ack)
	if u := ws.unknown; u != nil {
		u.timer.Stop()
		ws.unknown = nil
		ws.met()
		if len(u.request.Results) > 0 {
			ws.subscribe(u.request)
		}
	}
	return 0, ""
}

// rename counts the stream as the principal's.
func (ws *wsSession) rename(c *caller, p *access.Principal) *wire.Problem {
	named := *c
	named.principal = p
	leave, bad := ws.server.takeStream(&named)
	if bad == nil {
		ws.guest.leave()
		ws.guest.leave = leave
	}
	return bad
}

func expires(p *access.Principal) *time.Time {
	if p.Expires.IsZero() {
		return nil
	}
	at := p.Expires.UTC()
	return &at
}

// subscribe puts those filters in force that the client may read.
func (ws *wsSession) subscribe(r *hub.Request) {
	c := ws.guest.now()
	copied := *r
	copied.Results, copied.Holder = slices.Clone(r.Results), c.client()
	for i := range copied.Results {
		res := &copied.Results[i]
		if !res.OK {
			continue
		}
		if bad := ws.server.maySubscribe(c, res.Topic, "/topics"); bad != nil {
			res.Refuse(bad)
		}
	}
	ws.client.Subscribe(context.Background(), &copied)
	ws.guest.settle(c)
}

// over answers an op that was refused, and closes the connection of a client
// that goes on and on over its limit.
func (ws *wsSession) over(id hub.ID, bad *wire.Problem) (code wire.CloseCode, reason string) {
	ws.fail(id, bad)
	if bad.Code != wire.CodeRateLimited {
		return 0, ""
	}
	if ws.overs++; ws.overs < maxOvers {
		return 0, ""
	}
	return wire.CloseRate, "too many ops"
}
