package mqtt

import (
	"errors"
	"fmt"
	"time"
)

// The errors of this package. Callers compare with errors.Is; the typed ones below with errors.As.
var (
	// ErrNotSent is the outcome of a message that certainly did not leave: safe to repeat.
	ErrNotSent = errors.New("the message was not sent")
	// ErrUnknown is the outcome of a message that left, or may have, and was not answered before the connection ended.
	ErrUnknown = errors.New("the message was sent, or may have been, and no answer came")

	// ErrClosed: the connection was ended by Close.
	ErrClosed = errors.New("disconnected")
	// ErrSilent: nothing came for too long, not even the answer to a PINGREQ.
	ErrSilent = errors.New("the broker does not answer")
	// ErrStuck: the broker has stopped reading, and what waits for it has grown too large.
	ErrStuck = errors.New("the broker does not read")
	// ErrClosedOnConnect: the broker ended the connection without a CONNACK.
	ErrClosedOnConnect = errors.New("the broker closed the connection without an answer")

	// ErrHTTP, ErrTLS, ErrNoTLS, ErrNotMQTT and ErrNoWebSocket: something listens there that speaks another protocol.
	ErrHTTP        = errors.New("it answers HTTP, not MQTT")
	ErrNotMQTT     = errors.New("what answers does not speak MQTT: is it the broker's port?")
	ErrTLS         = errors.New("it answers in TLS: use mqtts://")
	ErrNoTLS       = errors.New("it does not answer in TLS: is it TLS? use mqtt:// for a port without it")
	ErrNoWebSocket = errors.New("the broker does not answer as a WebSocket server")
)

// A DialError is a failure before the broker has said anything in MQTT: no connection, no TLS, no WebSocket.
type DialError struct{ Err error }

func (e *DialError) Error() string { return e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// A ConnectError is a CONNACK that says no.
type ConnectError struct {
	Version Version    // that was asked for
	Code    ReasonCode // on 3.1.1 a return code 1 to 5, MQTT 3.1.1, 3.2.2.3

	// OtherVersion: the broker answers in the form of 3.1.1, or says that it does not speak the version asked for.
	OtherVersion bool
	Reason       string // the broker's own words, MQTT 5, 3.2.2.3.9; not to be trusted
}

func (e *ConnectError) Error() string {
	switch e.Code {
	case 0, 1, UnsupportedVersion:
		return "the broker does not speak MQTT " + e.Version.String()
	case 2, ClientIDInvalid:
		return "the broker refused the client id"
	case 3, ServerUnavailable:
		return "the broker is not available"
	case 4, BadUserOrPassword:
		return "the broker refused the user name or password"
	case 5, NotAuthorized:
		return "the broker refused the connection: not authorised"
	}
	return "the broker refused the connection: " + e.Code.String()
}

// Unauthorised reports whether other credentials might help.
func (e *ConnectError) Unauthorised() bool {
	switch e.Code {
	case 4, 5, BadUserOrPassword, NotAuthorized:
		return true
	}
	return false
}

// A DisconnectError is a DISCONNECT of the broker's, MQTT 5, 3.14.
type DisconnectError struct {
	Code   ReasonCode
	Reason string // the broker's own words; not to be trusted
}

func (e *DisconnectError) Error() string {
	return "the broker ended the connection: " + e.Code.String()
}

// A ProtocolError is something that no broker may send. It ends the connection.
type ProtocolError struct {
	Packet PacketType
	Clause string // of MQTT 5.0; of 3.1.1 where it starts so
	What   string
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("the broker sent a %s that %s (MQTT %s)", e.Packet, e.What, e.Clause)
}

// broken makes a ProtocolError.
func broken(packet PacketType, clause, what string, args ...any) error {
	return &ProtocolError{Packet: packet, Clause: clause, What: fmt.Sprintf(what, args...)}
}

// A Refusal is the broker's no to one message. By is the packet that said so: PUBACK, PUBREC or PUBCOMP; or CONNACK,
// where the broker has said at the start what it does not take, and nothing was sent; or 0, where it has closed the
// connection on this very message, with a reason or without one.
type Refusal struct {
	By     PacketType
	Reason ReasonCode
	Text   string        // the broker's own words, or a limit; not to be trusted
	For    time.Duration // how long the like of the message is refused without asking the broker again; 0: it is asked
}

func (e *Refusal) Error() string {
	if e.By == 0 && e.Reason == Success {
		return "the broker refused the message: it closes the connection on it"
	}
	if e.Text != "" && e.By == CONNACK {
		return "the broker does not take the message: " + e.Reason.String() + ", " + e.Text
	}
	return "the broker refused the message: " + e.Reason.String()
}
