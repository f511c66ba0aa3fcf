package bridge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// words says what an error means and what to do, to people, without the addresses that errors of package net carry.
type words struct {
	scheme    string
	anonymous bool // no user name is configured
}

func newWords(u *url.URL, username string) words {
	w := words{anonymous: username == ""}
	if u != nil {
		w.scheme = u.Scheme
	}
	return w
}

func (w words) of(err error) string {
	if err == nil {
		return ""
	}
	if said, ok := w.protocol(err); ok {
		return said
	}
	return network(err)
}

// protocol is for errors of the conversation.
func (w words) protocol(err error) (said string, ok bool) {
	if refusal, ok := errors.AsType[*mqtt.ConnectError](err); ok {
		if w.anonymous && refusal.Unauthorised() {
			return refusal.Error() + "; it may ask for a user: set GATEWAY_MQTT_USERNAME and GATEWAY_MQTT_PASSWORD", true
		}
		return refusal.Error() + elsewhere(refusal.Code), true
	}
	if broken, ok := errors.AsType[*mqtt.ProtocolError](err); ok {
		return broken.Error(), true
	}
	if gone, ok := errors.AsType[*mqtt.DisconnectError](err); ok {
		return gone.Error() + elsewhere(gone.Code), true
	}
	for _, known := range []error{mqtt.ErrHTTP, mqtt.ErrTLS, mqtt.ErrNoTLS, mqtt.ErrNotMQTT} {
		if errors.Is(err, known) {
			return known.Error(), true
		}
	}
	if errors.Is(err, mqtt.ErrClosedOnConnect) {
		if w.scheme == "mqtt" {
			return "the broker closed the connection without an answer; is it TLS? use mqtts://", true
		}
		return mqtt.ErrClosedOnConnect.Error(), true
	}
	return "", false
}

// elsewhere is what to do about a broker that names another one, MQTT 5, 4.11. It is not followed: what it names is not what
// the gateway was told to trust with its password.
func elsewhere(code ReasonCode) string {
	if code == mqtt.UseAnotherServer || code == mqtt.ServerMoved {
		return "; ask its operator which one, and set GATEWAY_MQTT_URL to that"
	}
	return ""
}

// network is for errors of the way to the broker.
func network(err error) string {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		unknown     x509.UnknownAuthorityError
		name        x509.HostnameError
		op          *net.OpError
		alert       tls.AlertError
	)
	switch {
	case errors.As(err, &dns):
		return "the broker's name cannot be resolved"
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &certificate):
		return "the broker's certificate is not trusted"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to the broker"
	case errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return mqtt.ErrSilent.Error()
	case errors.Is(err, mqtt.ErrNoWebSocket):
		return mqtt.ErrNoWebSocket.Error()
	case errors.Is(err, context.Canceled): // the way to say it inside this program
		return "the connection was given up before it was ready"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "the broker closed the connection"
	case errors.As(err, &alert):
		return alert.Error()
	case errors.As(err, &op):
		return "the connection failed"
	}
	return err.Error()
}

// isAnswer tells a failed attempt from a link that is cut, and from a broker that closes the connection without a word,
// which may be asked in another version of MQTT yet.
func isAnswer(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	_, dial := errors.AsType[*mqtt.DialError](err)
	_, refusal := errors.AsType[*mqtt.ConnectError](err)
	return dial || refusal || errors.Is(err, mqtt.ErrHTTP) || errors.Is(err, mqtt.ErrTLS) || errors.Is(err, mqtt.ErrNotMQTT)
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}
