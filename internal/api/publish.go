package api

import (
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Outbound is a message for the broker. Its payload must not change any more.
type Outbound struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	Properties *wire.Properties // nil: none; they need MQTT 5
	Trace      string           // a user property "traceparent" where the broker speaks MQTT 5; empty: none
}

// Publisher hands messages to the broker.
type Publisher interface {
	// Publish passes the message on, in call order per topic, and returns at
	// once. ErrNotSent, ErrOverloaded, ErrNeedsMQTT5 and *Refused say that it did
	// not.
	Publish(m Outbound) (Pending, error)
}

// Pending is a publish under way. Done is closed when it has ended. Outcome is
// nil when the broker took the message (QoS 0: when it was written),
// ErrNotSent, ErrUnknown, ErrNeedsMQTT5 or a *Refused; a publish that has not
// ended is given up by it. Unheard, asked after a good outcome, reports whether the broker says
// that nobody has subscribed to the topic.
type Pending interface {
	Done() <-chan struct{}
	Outcome() error
	Unheard() bool
}

// postPublish is POST /publish.
func (s *Server) postPublish(w http.ResponseWriter, r *http.Request) {
	held := hold{budget: s.bodies}
	defer held.release()
	body, bad := s.readJSON(w, r, &held)
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
	p.requestID = requestID(w)
	if bad := s.mayPublish(callerOf(w), p); bad != nil {
		writeProblem(w, bad)
		return
	}
	s.once(w, r, body, answerRoom, func() *answer { return s.publishAnswer(p) })
}

// underway is a publish that was handed to the broker side. Its outcome must be
// asked for once, also when the client that wants it is gone: what was sent is
// counted as what it became.
type underway struct {
	server    *Server
	requestID string
	by        *caller
	topic     string
	qos       byte
	retain    bool
	bytes     int    // of its payload
	given     *given // its properties, if it has some
	via       string // metrics' name of the way in
	start     time.Time

	held    int     // bytes of its payload that are counted until it has ended
	pending Pending // nil: it was not sent, because of err
	err     error
}

// begin hands p to the broker side.
func (s *Server) begin(p *publication, via string) *underway {
	u := s.prepare(p, via)
	u.hand(p)
	return u
}

// prepare is what comes before hand.
func (s *Server) prepare(p *publication, via string) *underway {
	s.inFlight.add(1)
	return &underway{server: s, requestID: p.requestID, by: p.by, topic: p.topic, qos: p.qos, retain: p.retain, bytes: len(p.payload), given: p.given, via: via, start: time.Now()}
}

// hand gives p to the broker side. A panic there ends this publish and nothing
// else: the goroutine may be that of a WebSocket or a batch, where nobody
// would catch it.
func (u *underway) hand(p *publication) {
	defer func() {
		if r := recover(); r != nil {
			u.pending, u.err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	if u.held == 0 && !p.counted {
		held := len(p.payload) + p.given.size()
		if !u.server.bodies.take(0, int64(held)) {
			u.err = ErrOverloaded
			return
		}
		u.held = held
	}
	u.pending, u.err = u.server.opts.Publisher.Publish(Outbound{
		Topic: p.topic, Payload: p.payload, QoS: p.qos, Retain: p.retain, Properties: p.given.properties(), Trace: p.by.trace,
	})
}

// closedChan is the Done of what was never under way.
var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// done is closed when the outcome is known.
func (u *underway) done() <-chan struct{} {
	if u.err != nil {
		return closedChan
	}
	return u.pending.Done()
}

// outcome waits until it is known, or for Options.PublishTimeout.
func (u *underway) outcome() *answer {
	s := u.server
	defer s.inFlight.add(-1)
	defer s.bodies.give(int64(u.held))
	if u.err == nil {
		s.untilDone(u.pending.Done(), s.opts.PublishTimeout-time.Since(u.start))
		u.err = u.pending.Outcome()
	}
	took := time.Since(u.start)
	s.metrics.published(u.via, u.qos, u.err, took)
	s.audit(u.by, "publish", outcomeOf(u.err), slog.String("topic", u.topic))
	if u.err != nil {
		bad := ProblemOf(u.err)
		if bad.Code == wire.CodeInternalError {
			s.opts.Log.Error("publish failed", "err", u.err, "request_id", u.requestID)
		} else if refused, ok := errors.AsType[*Refused](u.err); ok {
			s.logRefused(u, refused)
		} else if errors.Is(u.err, ErrNeedsMQTT5) {
			bad.Errors = u.given.errors(bad.Detail)
		}
		return &answer{problem: bad}
	}
	res := &wire.PublishResult{Topic: u.topic, QoS: u.qos, Delivery: "acknowledged", TookMS: float64(took.Microseconds()) / 1000}
	if u.qos == 0 {
		res.Delivery = "sent"
		return &answer{status: http.StatusAccepted, result: res}
	}
	if u.pending.Unheard() {
		res.Subscribers = wire.SubscribersNone
	}
	return &answer{status: http.StatusOK, result: res}
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
func (s *Server) readJSON(w http.ResponseWriter, r *http.Request, held *hold) ([]byte, *wire.Problem) {
	if bad := onlyParams(r); bad != nil {
		return nil, bad
	}
	if contentType := r.Header.Get("Content-Type"); contentType != typeJSON {
		mediaType, params, err := mime.ParseMediaType(contentType)
		if err != nil || mediaType != typeJSON || !isUTF8(params) {
			return nil, problem(wire.CodeUnsupportedMediaType, "Send Content-Type: application/json, in UTF-8.")
		}
	}
	return s.readBody(w, r, s.maxObject(), held)
}
