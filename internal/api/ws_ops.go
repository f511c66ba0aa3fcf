package api

import (
	"bytes"
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// opFields are the members of a client's frame, still raw. Which of them an op
// may have, carryOut decides.
type opFields struct {
	op, id, topics, devices                jsontext.Value
	since, snapshot, overflow, minInterval jsontext.Value
	publish                                publishFields
	reply, expect, timeout, device         jsontext.Value
	token                                  jsontext.Value

	forPublish, forSubscribe, forRequest string // a field that was set and belongs to that op only
}

func (f *opFields) set(name string, value jsontext.Value) bool {
	switch name {
	case wire.FieldOp:
		f.op = value
	case wire.FieldID:
		f.id = value
	case wire.FieldTopics:
		f.topics = value
	case wire.FieldDevices:
		f.devices = value
	case wire.FieldSince:
		f.since, f.forSubscribe = value, name
	case wire.FieldSnapshot:
		f.snapshot, f.forSubscribe = value, name
	case wire.FieldOverflow:
		f.overflow, f.forSubscribe = value, name
	case wire.FieldMinInterval:
		f.minInterval, f.forSubscribe = value, name
	case wire.FieldReply:
		f.reply, f.forRequest = value, name
	case wire.FieldExpect:
		f.expect, f.forRequest = value, name
	case wire.FieldTimeout:
		f.timeout, f.forRequest = value, name
	case wire.FieldDevice:
		f.device, f.forRequest = value, name
	case wire.FieldToken:
		f.token = value
	default:
		f.forPublish = name
		return f.publish.set(name, value)
	}
	return true
}

// noField is about a field that op does not have.
func noField(op, name string) *wire.Problem {
	detail := "This op has no such field."
	if name == wire.FieldTopic && (op == wire.OpSubscribe || op == wire.OpUnsubscribe) {
		detail = "This op has no such field; its filters are an array, topics."
	}
	return fieldProblem(wire.CodeUnknownField, "/"+name, detail)
}

// misplaced names a field that op does not have.
func (f *opFields) misplaced(op string) string {
	switch {
	case op != wire.OpPublish && op != wire.OpRequest && f.forPublish != "":
		return f.forPublish
	case op != wire.OpRequest && f.forRequest != "":
		return f.forRequest
	case op == wire.OpRequest && f.publish.retain != nil:
		return wire.FieldRetain
	case op != wire.OpSubscribe && f.forSubscribe != "":
		return f.forSubscribe
	case op != wire.OpSubscribe && op != wire.OpUnsubscribe && f.topics != nil:
		return wire.FieldTopics
	case op != wire.OpSubscribe && op != wire.OpUnsubscribe && f.devices != nil:
		return wire.FieldDevices
	case op != wire.OpAuth && f.token != nil:
		return wire.FieldToken
	}
	return ""
}

// carryOut carries out one frame. A code says how to close the connection
// because of it; 0: it goes on.
func (ws *wsSession) carryOut(frame []byte) (code wire.CloseCode, reason string) {
	var f opFields
	bad := scanObject(frame, f.set)
	id, ok := opID(f.id)
	if bad == nil && !ok {
		bad = fieldProblem(wire.CodeInvalidID, "/id", "The id must be a number or a string of 64 bytes at most.")
	}
	op, _ := stringValue(f.op)
	if ws.unknown != nil && (bad != nil || op != wire.OpAuth) {
		return wire.CloseCredentials, "the first frame must be an auth op"
	}
	if bad != nil {
		return ws.malformed(id, bad)
	}
	if name := f.misplaced(op); name != "" {
		return ws.malformed(id, noField(op, name))
	}
	if op != wire.OpPublish && op != wire.OpPing { // publishes have a limit of their own
		if bad := ws.server.takeRequest(ws.guest.now()); bad != nil {
			return ws.over(id, bad)
		}
	}
	switch op {
	case wire.OpAuth:
		return ws.auth(id, f.token)
	case wire.OpSubscribe, wire.OpUnsubscribe:
		if f.devices != nil {
			if bad := ws.devices(id, &f, op == wire.OpSubscribe); bad != nil {
				return ws.malformed(id, bad)
			}
			return 0, ""
		}
		results, bad := ws.filters(f.topics, op == wire.OpSubscribe)
		options, wrong := f.options()
		if bad == nil {
			bad = wrong
		}
		if bad != nil && bad.Code != wire.CodeInvalidCursor {
			return ws.malformed(id, bad)
		}
		if bad != nil { // it is told, and the stream begins with a gap
			ws.fail(id, bad)
		}
		if op == wire.OpSubscribe {
			ws.subscribe(&hub.Request{
				ID: id, Results: results, Since: options.Since, Snapshot: options.Snapshot,
				Overflow: options.Overflow, MinInterval: options.MinInterval,
			})
		} else {
			ws.client.Unsubscribe(id, results)
		}
	case wire.OpPublish:
		return ws.publish(id, &f.publish)
	case wire.OpRequest:
		ws.request(id, &f)
	case wire.OpPing:
		ws.client.Send(wire.TypePong, &wire.Pong{Type: wire.TypePong, ID: id})
	default:
		return ws.malformed(id, fieldProblem(wire.CodeInvalidOp, "/op", "The op must be auth, subscribe, unsubscribe, publish, request or ping."))
	}
	return 0, ""
}

// opID checks the id of an op and copies it.
func opID(v jsontext.Value) (hub.ID, bool) {
	const maxID = 64
	if v == nil {
		return nil, true
	}
	limit := maxID
	if v.Kind() == '"' {
		limit += len(`""`)
	}
	if len(v) > limit || v.Kind() != '0' && v.Kind() != '"' {
		return nil, false
	}
	return append(hub.ID(nil), v...), true
}

// malformed answers a frame that is no op, and counts it.
func (ws *wsSession) malformed(id hub.ID, p *wire.Problem) (code wire.CloseCode, reason string) {
	ws.fail(id, p)
	if ws.errors++; ws.errors < maxErrors {
		return 0, ""
	}
	return wire.CloseMalformed, "too many malformed frames"
}

func (ws *wsSession) fail(id hub.ID, p *wire.Problem) {
	p.RequestID = ws.requestID
	ws.client.Send(wire.TypeError, &wire.ErrorFrame{Type: wire.TypeError, ID: id, Problem: p})
}

// maxTopics is how many filters one op may name, good or bad.
const maxTopics = 256

// filters reads and checks the filters of an op; each bad one is marked, the
// others count.
func (ws *wsSession) filters(raw jsontext.Value, subscribe bool) ([]wire.Result, *wire.Problem) {
	wrong := fieldProblem(wire.CodeInvalidTopics, "/topics", "topics must be an array of 1 to 256 strings.")
	var names []string
	if raw.Kind() != '[' || !stringArray(raw, &names) || len(names) == 0 || len(names) > maxTopics {
		return nil, wrong
	}
	held := 0
	if subscribe {
		held = ws.client.Filters()
	}
	results := make([]wire.Result, 0, len(names))
	counted := map[string]bool{}
	for _, name := range names {
		r := wire.Result{Topic: name, OK: true}
		if err := topic.CheckSystemFilter(name); err != nil {
			r.Refuse(ProblemOf(err))
		} else if subscribe && !counted[name] && !ws.client.Has(name) {
			counted[name] = true
			if held++; held > maxFilters {
				r.Refuse(tooManyFilters())
			}
		}
		results = append(results, r)
	}
	return results, nil
}

func tooManyFilters() *wire.Problem {
	return problem(wire.CodeLimitExceeded, "One connection holds 100 filters at most.")
}

// stringArray reads an array of strings.
func stringArray(raw jsontext.Value, into *[]string) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() == '"' {
		tok, err := dec.ReadToken()
		if err != nil {
			return false
		}
		*into = append(*into, tok.String())
	}
	return dec.PeekKind() == ']'
}

// publish starts a publish in the order of the frames and answers when it
// ends. The reader waits while too many are under way.
func (ws *wsSession) publish(id hub.ID, f *publishFields) (code wire.CloseCode, reason string) {
	p, bad := f.publication(ws.server.opts.MaxPayload)
	if bad == nil && ws.server.draining.Load() {
		bad = shuttingDown()
	}
	if bad == nil {
		bad = ws.server.mayPublish(ws.guest.now(), p)
	}
	if bad != nil {
		return ws.over(id, bad)
	}
	ws.overs = 0
	p.requestID = ws.requestID
	ws.inFlight <- struct{}{}
	publish := ws.server.begin(p, stream.NameWebSocket)
	ws.server.inFlight.add(1) // until the answer is queued
	go func() {
		defer func() { <-ws.inFlight }()
		defer ws.server.inFlight.add(-1)
		a := publish.outcome()
		if a.problem != nil {
			ws.fail(id, a.problem)
			return
		}
		ws.client.Send(wire.TypePublished, &wire.Published{Type: wire.TypePublished, ID: id, Status: a.status, PublishResult: a.result})
	}()
	return 0, ""
}

// request starts a call in the order of the frames and answers with the reply,
// or with what became of it.
func (ws *wsSession) request(id hub.ID, f *opFields) {
	c, bad := f.call(ws.server.opts.MaxPayload)
	if bad == nil {
		bad = ws.server.mayCall(ws.guest.now(), c)
	}
	if bad != nil {
		ws.fail(id, bad)
		return
	}
	if ws.ctx == nil {
		ws.ctx, ws.end = context.WithCancel(context.Background())
	}
	c.publication.requestID = ws.requestID
	ws.inFlight <- struct{}{}
	asked, bad := ws.server.ask(ws.ctx, c)
	if bad != nil {
		<-ws.inFlight
		ws.fail(id, bad)
		return
	}
	go func() {
		defer func() { <-ws.inFlight }()
		defer asked.end()
		m, bad := asked.reply(ws.ctx)
		if bad != nil {
			ws.fail(id, bad)
			return
		}
		ws.client.Send(wire.TypeReply, &wire.Reply{Type: wire.TypeReply, ID: id, Status: http.StatusOK, Message: m.JSON})
	}()
}

// call reads the fields of a request op, all of them.
func (f *opFields) call(maxPayload int) (*call, *wire.Problem) {
	c := &call{via: stream.NameWebSocket, timeout: defaultTimeout}
	var wrong []*wire.Problem
	p, bad := f.publish.publication(maxPayload)
	if c.publication = p; bad != nil {
		wrong = append(wrong, bad)
	}
	reply, ok := stringValue(f.reply)
	if c.replyTo = reply; !ok && f.reply != nil {
		wrong = append(wrong, fieldProblem(wire.CodeInvalidParameter, "/reply", "reply must be a string: a topic or a filter."))
	} else if bad := checkReply(reply); bad != nil {
		wrong = append(wrong, bad)
	}
	if f.expect != nil {
		// As a payload without encoding: a string is its text, anything else itself.
		text, isText := stringValue(f.expect)
		if c.expect = []byte(text); !isText {
			c.expect = bytes.Clone(f.expect)
		}
	}
	if f.device != nil {
		if c.device, _ = stringValue(f.device); c.device == "" {
			wrong = append(wrong, invalidDevice())
		}
	}
	if f.timeout != nil {
		text, _ := stringValue(f.timeout)
		if c.timeout, bad = timeoutOption(text); bad != nil {
			wrong = append(wrong, bad)
		}
	}
	return c, merge(wrong)
}
