package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// Refused is the broker's no to one message. It is an error of Publisher and
// Pending.
type Refused struct {
	Reason byte          // of MQTT 5; 0: it gave none, and closes the connection on such a message
	Name   string        // of the reason, as MQTT calls it
	Text   string        // the broker's own words, or a limit; for the log only
	For    time.Duration // how long its like is refused; 0: the broker is asked each time
}

func (r *Refused) Error() string { return "refused by the broker: " + r.Name }

// The reasons that are told apart, MQTT 5, 2.4.
const (
	reasonNotAuthorized   = 0x87
	reasonTopicInvalid    = 0x90
	reasonPacketTooLarge  = 0x95
	reasonQuotaExceeded   = 0x97
	reasonPayloadInvalid  = 0x99
	reasonNoRetain        = 0x9A
	reasonQoSNotSupported = 0x9B
)

// problem is what the client is told.
func (r *Refused) problem() *wire.Problem {
	code, detail := wire.CodeBrokerRefused, ""
	switch r.Reason {
	case reasonNotAuthorized:
		code, detail = wire.CodeBrokerDenied, "The broker does not let the gateway publish to this topic; its access list decides."
	case reasonPacketTooLarge:
		code, detail = wire.CodeBrokerTooLarge, "The message is larger than the broker takes."
	case reasonQuotaExceeded:
		code, detail = wire.CodeBrokerQuota, "The broker takes no more messages from the gateway for now; try again later."
	case reasonTopicInvalid:
		detail = "The broker does not take messages on this topic."
	case reasonPayloadInvalid:
		detail = "The broker says that the payload is not what its properties say."
	case reasonNoRetain:
		detail = "The broker keeps no retained messages; publish without retain."
	case reasonQoSNotSupported:
		detail = "The broker does not take messages of this QoS; use a lower one."
	case 0:
		detail = "The broker closes the connection on this message. Messages like it are refused for a while; find out what the broker has against its topic, QoS, retain or size."
	default:
		detail = fmt.Sprintf("The broker refused the message: %s.", r.Name)
	}
	p := problem(code, detail)
	p.ReasonCode, p.RetryAfter = int(r.Reason), r.For
	return p
}

// maxSaid is how much of the broker's own words is logged.
const maxSaid = 200

// logRefused says what the broker did not take, and whose it was: the client
// may be a device that nobody looks at.
func (s *Server) logRefused(u *underway, r *Refused) {
	if !s.brokerLog.allow() {
		return
	}
	s.opts.Log.Warn("the broker refused a message", "topic", u.topic, "qos", u.qos, "retain", u.retain, "bytes", u.bytes,
		"reason", r.Name, "reason_code", r.Reason, "said", strings.ToValidUTF8(r.Text[:min(len(r.Text), maxSaid)], ""), "request_id", u.requestID)
}
