package devicecom

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/vulturepi/gateway/internal/mdns"
	"github.com/vulturepi/gateway/internal/settings"
)

// refusal is the code of a CONNACK that is not 0 (MQTT 3.1.1, 3.2.2.3).
type refusal byte

func (r refusal) Error() string {
	return fmt.Sprintf("the broker answered CONNECT with code %d", byte(r))
}

const unavailable refusal = 3

// filterRefused is a SUBACK with code 0x80.
type filterRefused struct{ filter string }

func (e *filterRefused) Error() string {
	return fmt.Sprintf("the broker refused to subscribe to %q", e.filter)
}

// notMQTT is an answer to CONNECT that is no CONNACK.
type notMQTT struct{ first byte }

func (e *notMQTT) Error() string { return "the answer is not MQTT" }

// tlsError is a failed TLS handshake.
type tlsError struct{ error }

func (e *tlsError) Unwrap() error { return e.error }

// final is true when trying again cannot help.
func final(err error) bool {
	var code refusal
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &code):
		return code != unavailable
	case errors.As(err, new(*filterRefused)), errors.As(err, new(*notMQTT)), errors.Is(err, mdns.ErrSeveral):
		return true
	}
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, &record)
}

// attemptError says why there is no connection, and what to do.
type attemptError struct {
	where   *finder
	address string // host:port; "" while it was looked for
	cause   error
}

func (e *attemptError) Unwrap() error { return e.cause }

func (e *attemptError) Error() string {
	f := e.where
	at := fmt.Sprintf("%q: [system] %s = %s", f.file, settings.KeyAddress, f.Address)
	switch {
	case f.Address != settings.Auto, e.address == "" && f.Port != 0:
		at += fmt.Sprintf(", %s = %d", settings.KeyPort, f.Port)
	case e.address != "":
		at += ", found at " + e.address
	}
	return at + ": " + e.words()
}

func (e *attemptError) words() string {
	var code refusal
	var filter *filterRefused
	var other *notMQTT
	var handshake *tlsError
	switch {
	case errors.Is(e.cause, mdns.ErrNone):
		return "no broker announces itself by mDNS on this network; write its IP address, or start one with gateway broker --lan"
	case errors.Is(e.cause, mdns.ErrSeveral):
		return fmt.Sprintf("%v; write the IP address of the one that is meant", e.cause)
	case errors.As(e.cause, &code):
		return code.words(e.where)
	case errors.As(e.cause, &filter):
		return fmt.Sprintf("the broker does not let this client subscribe to %q; give its user the right to read it, or name what it may read in Options.Filters", filter.filter)
	case errors.As(e.cause, &other):
		return other.words()
	case errors.As(e.cause, &handshake):
		return handshake.words()
	}
	return networkWords(e.cause)
}

func (r refusal) words(f *finder) string {
	const login = "check " + settings.KeyUsername + " and " + settings.KeyPassword
	switch {
	case r == 1:
		return "the broker does not speak MQTT 3.1.1"
	case r == 2:
		return "the broker does not accept the client id; choose another one in Options.ClientID"
	case r == unavailable:
		return "the broker says that it is not available at the moment"
	case r == 4:
		return "the broker does not accept the login; " + login
	case r == 5 && f.Username == "":
		return "the broker lets nobody in without a login; add " + settings.KeyUsername + " and " + settings.KeyPassword
	case r == 5:
		return fmt.Sprintf("the broker does not let the user %q in; %s", f.Username, login)
	}
	return fmt.Sprintf("the broker refuses the connection with code %d, which MQTT 3.1.1 does not have", byte(r))
}

func (e *notMQTT) words() string {
	switch e.first {
	case 0x15, 0x16: // an alert or a handshake (RFC 8446, 5.1)
		return "the broker speaks TLS on this port; add " + settings.KeyTLS + " = true"
	case 'H':
		return "what listens there speaks HTTP; write the broker's own port in " + settings.KeyPort
	}
	return "what listens there is no MQTT broker; check " + settings.KeyPort
}

func (e *tlsError) words() string {
	var certificate *tls.CertificateVerificationError
	if errors.As(e.error, &certificate) {
		return fmt.Sprintf("the broker's certificate is not accepted: %v; name its authority in Options.TLS", certificate.Err)
	}
	var record tls.RecordHeaderError
	if errors.As(e.error, &record) || ended(e.error) || isTimeout(e.error) {
		return "the broker does not speak TLS on this port; remove " + settings.KeyTLS + ", or write its TLS port, usually 8883, in " + settings.KeyPort
	}
	return fmt.Sprintf("TLS: %v", e.error)
}

var (
	// errNoAnswer: there is a TCP connection, and nothing comes over it.
	errNoAnswer = errors.New("what listens there does not answer as an MQTT broker does; check " + settings.KeyPort)

	// errSilent: nothing comes any more.
	errSilent = errors.New("the broker did not answer within the keep-alive time")
)

// lostWords says how a connection ended.
func lostWords(err error) string {
	if ended(err) {
		return "the broker closed it"
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "the broker took no more bytes"
	}
	return err.Error()
}

// ended is true for a connection that the other side closed.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func networkWords(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "nobody has this name; check it, or write the broker's IP address"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there; is the broker running, and are these its address and port?"
	case errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "nobody answers; is this still the broker's address, and is this machine in the same network?"
	case ended(err):
		return "the broker closed the connection without an answer; if it expects TLS, add " + settings.KeyTLS + " = true"
	}
	return err.Error()
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
