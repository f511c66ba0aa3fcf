package client

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// What errors.Is finds in an [Error].
var (
	// ErrUnknownOutcome: the message was sent, or may have been, and nobody knows
	// whether the broker has it. Publishing it again may deliver it twice.
	ErrUnknownOutcome = errors.New("client: outcome unknown")
	// ErrNoValue: the topic has no value.
	ErrNoValue = errors.New("client: the topic has no value")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("client: closed")
)

// Codes of errors that the gateway does not give.
const (
	// CodeNotConnected: the gateway cannot be reached. Nothing was sent.
	CodeNotConnected wire.Code = "not_connected"
	// CodeForeignAnswer: something answered that is not the gateway, such as a
	// proxy on the way to it.
	CodeForeignAnswer wire.Code = "foreign_answer"
	// CodeInvalidAddress: what Dial was given is no gateway's address.
	CodeInvalidAddress wire.Code = "invalid_address"

	codeClosed wire.Code = "closed"
)

// Error is why something was not done, or is not known to be. Unless it is
// ErrUnknownOutcome, a message that it speaks of was not published; but
// no_reply and reply_too_large say that it was, and the reply is missing.
type Error struct {
	// Status is the HTTP status, or what it would have been on a WebSocket; 0:
	// the gateway has not answered.
	Status int
	// Code says what went wrong; docs/errors.md explains those of the gateway.
	Code wire.Code
	// Retryable: the same again, unchanged, may work later and does no harm.
	Retryable bool
	// Detail is a sentence for people.
	Detail string

	RetryAfter time.Duration     // how long the gateway wants us to wait
	RequestID  string            // the name of the request in the gateway's log
	ReasonCode int               // the broker's, of MQTT 5; 0: it gave none
	Filter     string            // of a subscription, where the error is about one
	Errors     []wire.FieldError // the wrong fields

	unknown bool  // ErrUnknownOutcome
	cause   error // what Unwrap gives
}

func (e *Error) Error() string {
	text := string(e.Code)
	if e.Status != 0 {
		text = strconv.Itoa(e.Status) + " " + text
	}
	if e.Filter != "" {
		text += " (" + e.Filter + ")"
	}
	text += ": " + e.Detail
	if e.cause != nil {
		text += " (" + e.cause.Error() + ")"
	}
	return text
}

// Unwrap gives what the network or the context said.
func (e *Error) Unwrap() error { return e.cause }

// Is finds the package's errors.
func (e *Error) Is(target error) bool {
	return target == ErrUnknownOutcome && e.unknown || target == ErrNoValue && e.Code == wire.CodeTopicNotSeen
}

func closedError() *Error {
	return &Error{Code: codeClosed, Detail: "The client was closed. Nothing was sent.", cause: ErrClosed}
}

// ofProblem is a problem of the gateway as an Error. Where write, the problem
// answers a publish.
func ofProblem(p *wire.Problem, write bool) *Error {
	return &Error{
		Status: p.Status, Code: p.Code, Retryable: p.Retryable, Detail: p.Detail, RequestID: p.RequestID, ReasonCode: p.ReasonCode, Errors: p.Errors,
		unknown: write && (p.Code == wire.CodeOutcomeUnknown || p.Code == wire.CodeInternalError),
	}
}

// ofAnswer makes an Error of an answer that is no success. What is not the
// gateway's own word is not believed: it may have got the request all the same.
func ofAnswer(status int, header http.Header, body []byte, write bool) *Error {
	var p wire.Problem
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	e := &Error{Status: status, Code: CodeForeignAnswer, Detail: "The answer is not the gateway's."}
	switch {
	case media == "application/problem+json" && json.Unmarshal(body, &p) == nil && p.Code != "":
		p.Status = status
		e = ofProblem(&p, write)
	case status == http.StatusTooManyRequests || status >= 500 && !write:
		e.Retryable = true
	case status >= 500 || status < 300:
		e.unknown = write
	}
	if seconds, err := strconv.Atoi(strings.TrimSpace(header.Get("Retry-After"))); err == nil && seconds > 0 {
		e.RetryAfter = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return e
}

// ofFilter is why a filter of a subscribe was refused.
func ofFilter(r *wire.Result) *Error {
	return &Error{Status: r.Status, Code: r.Code, Retryable: r.Retryable != nil && *r.Retryable, Detail: r.Detail, Filter: r.Topic}
}
