package mqtt

import "fmt"

// A ReasonCode is one byte that says how an operation ended, MQTT 2.4. From 0x80 on it failed.
type ReasonCode byte

// The reason codes that are told apart somewhere.
const (
	Success            ReasonCode = 0x00
	NoSubscribers      ReasonCode = 0x10 // of PUBACK and PUBREC: nobody has subscribed to the topic
	UnspecifiedError   ReasonCode = 0x80
	MalformedPacket    ReasonCode = 0x81
	ProtocolViolation  ReasonCode = 0x82
	UnsupportedVersion ReasonCode = 0x84
	ClientIDInvalid    ReasonCode = 0x85
	BadUserOrPassword  ReasonCode = 0x86
	NotAuthorized      ReasonCode = 0x87
	ServerUnavailable  ReasonCode = 0x88
	ServerBusy         ReasonCode = 0x89
	Banned             ReasonCode = 0x8A
	SessionTakenOver   ReasonCode = 0x8E
	FilterInvalid      ReasonCode = 0x8F
	TopicInvalid       ReasonCode = 0x90
	IDNotFound         ReasonCode = 0x92
	TopicAliasInvalid  ReasonCode = 0x94
	PacketTooLarge     ReasonCode = 0x95
	RateTooHigh        ReasonCode = 0x96
	QuotaExceeded      ReasonCode = 0x97
	PayloadInvalid     ReasonCode = 0x99
	RetainNotSupported ReasonCode = 0x9A
	QoSNotSupported    ReasonCode = 0x9B
	UseAnotherServer   ReasonCode = 0x9C
	ServerMoved        ReasonCode = 0x9D
)

// Failed reports whether the code stands for a failure.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

var reasonNames = map[ReasonCode]string{
	Success: "success", 0x04: "disconnect with will message", NoSubscribers: "no matching subscribers",
	0x11: "no subscription existed", UnspecifiedError: "unspecified error", MalformedPacket: "malformed packet",
	ProtocolViolation: "protocol error", 0x83: "implementation specific error", UnsupportedVersion: "unsupported protocol version",
	ClientIDInvalid: "client identifier not valid", BadUserOrPassword: "bad user name or password", NotAuthorized: "not authorised",
	ServerUnavailable: "server unavailable", ServerBusy: "server busy", Banned: "banned", 0x8B: "server shutting down",
	0x8C: "bad authentication method", 0x8D: "keep alive timeout", SessionTakenOver: "session taken over",
	FilterInvalid: "topic filter invalid", TopicInvalid: "topic name invalid", 0x91: "packet identifier in use",
	IDNotFound: "packet identifier not found", 0x93: "receive maximum exceeded", TopicAliasInvalid: "topic alias invalid",
	PacketTooLarge: "packet too large", RateTooHigh: "message rate too high", QuotaExceeded: "quota exceeded",
	0x98: "administrative action", PayloadInvalid: "payload format invalid", RetainNotSupported: "retain not supported",
	QoSNotSupported: "QoS not supported", UseAnotherServer: "use another server", ServerMoved: "server moved",
	0x9E: "shared subscriptions not supported", 0x9F: "connection rate exceeded", 0xA0: "maximum connect time",
	0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscriptions not supported",
}

// String is the name that MQTT 2.4 gives the code.
func (c ReasonCode) String() string {
	if name := reasonNames[c]; name != "" {
		return name
	}
	return fmt.Sprintf("reason 0x%02x", byte(c))
}

// Known is the code itself, or UnspecifiedError for one that MQTT does not name.
func (c ReasonCode) Known() ReasonCode {
	if reasonNames[c] == "" {
		return UnspecifiedError
	}
	return c
}
