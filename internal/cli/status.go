package cli

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/wire"
)

// The exit statuses.
const (
	StatusFailed       = 1
	StatusUsage        = 2
	StatusUnknown      = 3 // it was sent, and nobody knows whether it arrived
	StatusNoConnection = 4
	StatusInterrupted  = 130
)

// Error is one that knows its exit status.
type Error struct {
	Status int
	Text   string // empty: all has been said
}

func (e *Error) Error() string { return e.Text }

func failed(format string, args ...any) error {
	return &Error{StatusFailed, fmt.Sprintf(format, args...)}
}

func usage(format string, args ...any) error {
	return &Error{StatusUsage, fmt.Sprintf(format, args...)}
}

// done is how a command ends.
func (sh *Shell) done(err error) error {
	var known *Error
	switch {
	case sh.Ctx.Err() != nil && err != nil:
		if errors.Is(err, client.ErrUnknownOutcome) {
			return &Error{StatusInterrupted, "interrupted; it was sent, or may have been, and its outcome is not known"}
		}
		return &Error{Status: StatusInterrupted}
	case err == nil:
		return nil
	case errors.As(err, &known):
		return &Error{known.Status, printable(known.Text)}
	}
	return &Error{statusOf(err), printable(words(err))}
}

func statusOf(err error) int {
	var e *client.Error
	switch {
	case errors.Is(err, client.ErrUnknownOutcome):
		return StatusUnknown
	case errors.As(err, &e) && (e.Code == client.CodeNotConnected || e.Code == wire.CodeBrokerUnavailable):
		return StatusNoConnection
	}
	return StatusFailed
}

// words are an error's, for a person.
func words(err error) string {
	var e *client.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	if e.Code == client.CodeNotConnected && e.Unwrap() != nil {
		return "the gateway cannot be reached: " + innermost(e)
	}
	text := e.Detail
	if e.Filter != "" {
		text = e.Filter + ": " + text
	}
	for _, f := range e.Errors {
		if f.Detail != "" && !strings.Contains(text, f.Detail) {
			text += " " + strings.TrimPrefix(f.Pointer, "/") + ": " + f.Detail
		}
	}
	if e.Status == http.StatusUnauthorized {
		text += " Set GATEWAY_TOKEN, or give --token-file."
	}
	text = strings.TrimSuffix(text, ".")
	if e.Code == client.CodeNotConnected {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, e.Code)
}

// innermost is what the network said, without the layers around it.
func innermost(err error) string {
	at := ""
	for {
		if op, ok := err.(*net.OpError); ok && op.Addr != nil {
			at = op.Addr.String() + ": "
		}
		next := errors.Unwrap(err)
		if next == nil {
			return at + strings.TrimPrefix(err.Error(), "connect: ")
		}
		if _, isSyscall := next.(interface{ Timeout() bool }); isSyscall && errors.Unwrap(next) == nil {
			return at + next.Error()
		}
		err = next
	}
}
