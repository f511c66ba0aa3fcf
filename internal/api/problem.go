package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// problemTypeBase and a code make a problem's type: a link into the error
// documentation, relative to the gateway's root, which may be below a path.
const problemTypeBase = "docs/errors#"

// problem makes the answer for code.
func problem(code wire.Code, detail string, fields ...wire.FieldError) *wire.Problem {
	k := kindOf(code)
	return &wire.Problem{
		Type: problemTypeBase + string(code), Title: k.title, Status: k.status, Detail: detail,
		Code: code, Retryable: k.retryable, Errors: fields,
	}
}

// fieldProblem is a problem with one field.
func fieldProblem(code wire.Code, pointer, detail string) *wire.Problem {
	return problem(code, detail, wire.FieldError{Pointer: pointer, Detail: detail})
}

// merge puts problems of several fields into one answer: the first one's code,
// every field's pointer. A malformed request (400) comes before one that is
// well-formed but wrong.
func merge(problems []*wire.Problem) *wire.Problem {
	if len(problems) == 0 {
		return nil
	}
	first := problems[0]
	for _, p := range problems {
		if p.Status == http.StatusBadRequest && first.Status != http.StatusBadRequest {
			first = p
		}
	}
	all := *first
	all.Errors = append([]wire.FieldError(nil), first.Errors...)
	for _, p := range problems {
		if p != first {
			all.Errors = append(all.Errors, p.Errors...)
		}
	}
	return &all
}

// Errors of Publisher and Pending.
var (
	// ErrNotSent: the message certainly did not leave; there is no connection.
	ErrNotSent = errors.New("not sent: no broker connection")
	// ErrOverloaded: not sent, because too much waits already.
	ErrOverloaded = errors.New("not sent: too many publishes in flight")
	// ErrNeedsMQTT5: not sent, because it has properties and the broker speaks
	// MQTT 3.1.1.
	ErrNeedsMQTT5 = errors.New("not sent: properties need MQTT 5")
	// ErrUnknown: it left, and what became of it is not known.
	ErrUnknown = errors.New("outcome unknown")
)

// ProblemOf is the one function that makes a problem of an error: a problem
// stays what it is, an error with a code becomes the code's, and whatever is
// not known here is the gateway's own failure, of which clients learn nothing.
func ProblemOf(err error) *wire.Problem {
	var is *wire.Problem
	var failed *hub.Error
	var malformed *topic.Error
	var refused *Refused
	switch {
	case errors.As(err, &is):
		return is
	case errors.As(err, &failed):
		return problem(failed.Code, failed.Detail)
	case errors.As(err, &malformed):
		return problem(wire.Code(malformed.Code), malformed.Detail)
	case errors.As(err, &refused):
		return refused.problem()
	case errors.Is(err, ErrNotSent):
		return problem(wire.CodeBrokerUnavailable, "There is no connection to the broker; the message was not sent.")
	case errors.Is(err, ErrOverloaded):
		return problem(wire.CodeOverloaded, "Too many publishes wait for the broker; the message was not sent.")
	case errors.Is(err, ErrNeedsMQTT5):
		return problem(wire.CodeNeedsMQTT5, "This needs MQTT 5, and the broker speaks MQTT 3.1.1 with the gateway; the message was not sent.")
	case errors.Is(err, ErrUnknown):
		return problem(wire.CodeOutcomeUnknown, "The message was sent, but the broker did not confirm it. It may or may not have arrived.")
	}
	return problem(wire.CodeInternalError, "The gateway failed; its log has more under this request_id.")
}

// problemAt is ProblemOf an error that one field is to blame for.
func problemAt(pointer string, err error) *wire.Problem {
	p := *ProblemOf(err)
	p.Errors = []wire.FieldError{{Pointer: pointer, Detail: p.Detail}}
	return &p
}

func shuttingDown() *wire.Problem {
	return problem(wire.CodeShuttingDown, "The gateway is going down; the message was not sent.")
}

// retryAfter is the Retry-After, in seconds, of every 503, 429 and 409 where nothing better is known.
const retryAfter = "1"

// writeProblem answers with p.
func writeProblem(w http.ResponseWriter, p *wire.Problem) {
	p.RequestID = requestID(w)
	if res := responseOf(w); res != nil {
		res.code = p.Code
		p.Type = res.root + problemTypeBase + string(p.Code)
	}
	h := w.Header()
	switch {
	case p.Code == wire.CodeTooManyConnections: // spread those who were turned away
		h.Set("Retry-After", strconv.Itoa(1+rand.IntN(3)))
	case p.Code == wire.CodeIdempotencyFull: // room comes when keys get old
		h.Set("Retry-After", "60")
	case p.Code == wire.CodeUnauthenticated:
		h.Set("WWW-Authenticate", challenge)
	case p.Code == wire.CodeRateLimited: // set by who knows when
	case p.Status == http.StatusServiceUnavailable, p.Status == http.StatusTooManyRequests, p.Status == http.StatusConflict:
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(p.RetryAfter.Seconds())))))
	}
	h.Set("Cache-Control", "no-store")
	writeJSON(w, p.Status, "application/problem+json", p)
}

// writeJSON writes v, ending in a line break.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(marshal(v), '\n'))
}

// marshal encodes one of our own types, which always encode, without HTML
// escaping.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
