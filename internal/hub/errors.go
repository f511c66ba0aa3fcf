package hub

import (
	"errors"

	"github.com/vulturepi/gateway/wire"
)

// Error says why the hub could not do something, in words for the client.
type Error struct {
	Code   wire.Code
	Detail string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }

// Errors of the hub. Upstream returns the first two.
var (
	// ErrRefused: the broker does not grant the filter.
	ErrRefused = &Error{wire.CodeFilterRefused, "The broker does not let the gateway read what this filter matches; its access list decides."}
	// ErrNotCovered: the gateway is set to watch other filters only.
	ErrNotCovered = &Error{wire.CodeFilterNotCovered, "The gateway is set to watch other topics only (GATEWAY_WATCH); this filter would match more."}
	// ErrNotConfirmed: the broker did not answer to the subscription.
	ErrNotConfirmed = &Error{wire.CodeBrokerUnavailable, "The broker did not confirm the subscription in time; try again."}
	// ErrNoBroker: what was received does not answer the question, and the
	// broker cannot be asked.
	ErrNoBroker = &Error{wire.CodeBrokerUnavailable, "There is no connection to the broker, and nothing was received that would answer this; try again."}
	// ErrNoAnswer: the broker was asked and did not answer in time.
	ErrNoAnswer = &Error{wire.CodeBrokerUnavailable, "The broker did not say in time what it keeps as retained; try again."}
	// ErrNotSeen: no message is known of the topic.
	ErrNotSeen = &Error{wire.CodeTopicNotSeen, "No message has come on this topic, and the broker keeps none as retained."}
	// ErrNotRemembered: the same of one that is not remembered.
	ErrNotRemembered = &Error{wire.CodeTopicNotSeen, "The broker keeps no message on this topic as retained, and what has come on it is not remembered: it has more than 1024 bytes or 32 levels."}
	// ErrTooWide: to look up a topic among all filters would take too long.
	ErrTooWide = &Error{wire.CodeOverloaded, "So many filters have + where this one has a name, or the other way round, that every message would be held up; ask for fewer topics with one broader filter, or try again later."}
	// ErrTooFast: more arrives for a snapshot than can be put in order.
	ErrTooFast = &Error{wire.CodeOverloaded, "So much arrives for this filter that no snapshot of it can be made; subscribe without, or to less."}
)

// explained gives the hub's own error for whatever Upstream returned.
func explained(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return ErrNotConfirmed
}
