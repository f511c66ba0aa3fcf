package client

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// The ids of our ops on each connection.
const (
	idFresh  = 1 // subscribe
	idLeave  = 2 // unsubscribe
	idResume = 3 // subscribe, behind a cursor
)

// joining is how a connection gets to where the stream goes on.
//
// A fresh subscribe brings copies without a place of their own, and the answer
// to a ping behind them. When the connection breaks among them, the next one
// asks for all copies again, and then resumes from the place where the first one
// joined, so that no live message of the time in between is lost or comes twice.
type joining struct {
	pause   time.Duration // before the next connection
	partial bool          // copies of an earlier connection are missing
	copying bool          // this connection fetches them, and has not resumed yet
}

// open connects and subscribes.
func (s *Subscription) open() bool {
	if sleep(s.ctx, s.join.pause) != nil {
		return false
	}
	s.join.pause = 0
	k, failure := s.client.connect(s.ctx)
	if failure != nil {
		s.fail(failure)
		return false
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		k.close()
		return false
	}
	s.socket = k
	s.mu.Unlock()
	cursor := s.Cursor()
	s.join.copying = cursor != "" && s.join.partial
	switch {
	case s.join.copying || cursor == "" && s.opts.since == "":
		failure = s.subscribe(k, idFresh, "")
	case cursor == "":
		failure = s.subscribe(k, idFresh, s.opts.since)
	default:
		failure = s.subscribe(k, idResume, cursor)
	}
	if failure != nil {
		s.fail(failure)
	}
	return failure == nil
}

// subscribe sends the op, and a ping that is answered behind what it brings
// before the live messages.
func (s *Subscription) subscribe(k *socket, id int, since string) *Error {
	op := map[string]any{wire.FieldOp: wire.OpSubscribe, wire.FieldID: id, wire.FieldTopics: s.filters}
	for name, value := range s.opts.fields {
		op[name] = value
	}
	if since != "" {
		op[wire.FieldSince] = since
	}
	if failure := k.send(op); failure != nil {
		return failure
	}
	return k.send(map[string]any{wire.FieldOp: wire.OpPing, wire.FieldID: id})
}

// frame is what tells the frames apart, and those that are ours.
type frame struct {
	Type string `json:"type"`
	ID   int    `json:"id"`
}

// step reads one frame. Not ok: the connection has ended.
func (s *Subscription) step() (o outcome, ok bool) {
	k := s.current()
	if k == nil { // closed meanwhile
		return outcome{}, false
	}
	b, failure := k.read()
	if failure == nil {
		o, failure = s.take(k, b)
	}
	if failure != nil {
		s.fail(failure)
		return outcome{}, false
	}
	return o, true
}

// take is what a frame comes to, or the failure of the connection.
func (s *Subscription) take(k *socket, b []byte) (outcome, *Error) {
	if bytes.HasPrefix(b, []byte(`{"type":"`+wire.TypeMessage+`"`)) { // nearly all of them
		return s.message(b), nil
	}
	var f frame
	if json.Unmarshal(b, &f) != nil {
		return outcome{}, nil // an id that is not ours
	}
	switch f.Type {
	case wire.TypeMessage:
		return s.message(b), nil
	case wire.TypeGap:
		return s.gap(b), nil
	case wire.TypeBroker:
		broker := &Broker{}
		if err := json.Unmarshal(b, broker); err != nil {
			return garbled(err), nil
		}
		return outcome{event: broker}, nil
	case wire.TypeSnapshotEnd:
		if !s.told { // a resume has one, too
			s.told = true
			return outcome{event: &SnapshotEnd{}}, nil
		}
	case wire.TypeAck:
		return outcome{}, s.acked(b, f.ID)
	case wire.TypePong:
		return outcome{}, s.complete(k, f.ID)
	case wire.TypeError:
		return s.refused(b, f.ID)
	}
	return outcome{}, nil
}

// garbled is a frame that cannot be understood, and is left out.
func garbled(err error) outcome {
	return outcome{err: &Error{Code: CodeForeignAnswer, Detail: "A frame cannot be understood.", cause: err}}
}

func (s *Subscription) message(b []byte) outcome {
	m, err := decodeMessage(b)
	switch {
	case err != nil:
		return garbled(err)
	case m.Cursor == "":
		return outcome{event: m}
	case s.join.copying: // it comes again with the resume
		return outcome{}
	}
	s.setCursor(m.Cursor)
	return outcome{event: m}
}

func (s *Subscription) gap(b []byte) outcome {
	g := &Gap{}
	if err := json.Unmarshal(b, g); err != nil {
		return garbled(err)
	}
	isCopy := g.After == g.Before // an older message, which has no place in the stream
	if s.join.copying && !isCopy {
		return outcome{}
	}
	if !isCopy && g.Reason != wire.GapSlowConsumer { // what did not fit may be in the history
		s.setCursor(g.Before)
	}
	return outcome{event: g}
}

// acked takes the answer to a subscribe or unsubscribe.
func (s *Subscription) acked(b []byte, id int) *Error {
	var ack wire.Ack
	if err := json.Unmarshal(b, &ack); err != nil || id == idLeave || id == 0 {
		return nil
	}
	var held []string
	var refused []*Error
	for i := range ack.Results {
		r := &ack.Results[i]
		if r.OK {
			held = append(held, r.Topic)
			continue
		}
		e := ofFilter(r)
		if e.Retryable { // all of it once more
			return e
		}
		refused = append(refused, e)
	}
	s.filters = held
	if len(held) == 0 && len(refused) > 0 {
		last := len(refused) - 1
		s.tell(refused[:last])
		return refused[last]
	}
	s.tell(refused)
	if s.join.copying = s.join.copying && id != idResume; !s.join.copying {
		s.joined = time.Now()
		s.setCursor(ack.Cursor)
		// Copies come, unless the place was found, or was a time.
		s.join.partial = ack.Resumed == nil || !*ack.Resumed && (id == idResume || s.opts.atCursor)
		s.told = s.told && !s.join.partial
	}
	return nil
}

// tell gives errors to the loop, one by one.
func (s *Subscription) tell(all []*Error) {
	for _, e := range all {
		s.pending = append(s.pending, outcome{err: e})
	}
}

// complete: all that a subscribe brings before the live messages is here.
func (s *Subscription) complete(k *socket, id int) *Error {
	if id != idFresh && id != idResume {
		return nil
	}
	s.join.partial = false
	if !s.join.copying {
		return nil
	}
	if failure := k.send(map[string]any{wire.FieldOp: wire.OpUnsubscribe, wire.FieldID: idLeave, wire.FieldTopics: s.filters}); failure != nil {
		return failure
	}
	return s.subscribe(k, idResume, s.Cursor())
}

// refused takes an error frame.
func (s *Subscription) refused(b []byte, id int) (outcome, *Error) {
	f := wire.ErrorFrame{}
	if err := json.Unmarshal(b, &f); err != nil || f.Problem == nil {
		return outcome{}, nil
	}
	e := ofProblem(f.Problem, false)
	if id != 0 && e.Code != wire.CodeInvalidCursor { // which is carried out all the same
		return outcome{}, e
	}
	return outcome{err: e}, nil
}
