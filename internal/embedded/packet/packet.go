// Package packet reads the MQTT packets that clients send, of versions 3.1, 3.1.1 and 5, and writes those that a server
// answers with.
//
// It is the guard of the built-in broker: a packet that Reader returns keeps every rule that can be told from the packet
// alone, and one that breaks a rule comes out as an *Error that says which. No byte of it is acted on, nothing that
// a header announces is allocated before it has arrived, and no input makes it panic.
//
// Numbers such as 3.3.2-2 are those of the conformance statements of MQTT 5; "3.1.1: 3.8.3-4" of MQTT 3.1.1.
package packet

import "fmt"

// Version is the protocol level of CONNECT.
type Version byte

// The versions that are spoken.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// Type is the type of a packet, the upper half of its first byte.
type Type byte

// The types of packets (2.1.2).
const (
	CONNECT Type = 1 + iota
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

func (t Type) String() string { return typeNames[t&15] }

// Connect is a CONNECT. User name and password are checked for their form and not kept.
type Connect struct {
	Version        Version
	Clean          bool
	KeepAlive      uint16 // seconds; 0: none
	ClientID       string // "": the server chooses
	Will           *Will  // nil: none
	SessionExpiry  uint32 // seconds; 0xFFFFFFFF: never. Version 5 only
	ReceiveMaximum uint16 // 65535 if the client named none
	MaximumPacket  uint32 // bytes; 0: no limit
	AuthMethod     string // of extended authentication; "": none
}

// Will is the message that a CONNECT leaves to be published when the connection is lost.
type Will struct {
	Message
	Delay uint32 // seconds
}

// Message is what a PUBLISH or a will carries to subscribers.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Properties are those that go to subscribers unchanged and in this order (3.3.2-17), as they were encoded. Those
	// that end at the server are not among them.
	Properties []byte
	Expiry     uint32 // seconds after which nobody needs it, if Expires
	Expires    bool
}

// Publish is a PUBLISH.
type Publish struct {
	Message
	Dup bool
	ID  uint16 // 0 at QoS 0
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Type   Type
	ID     uint16
	Reason Reason
}

// Subscribe is a SUBSCRIBE. It has at least one filter.
type Subscribe struct {
	ID           uint16
	Identifier   uint32 // subscription identifier; 0: none
	Subscription []Subscription
}

// Subscription is one filter of a SUBSCRIBE with its options.
type Subscription struct {
	Filter         string // without the prefix of a shared subscription
	Group          string // share name; "": not shared
	QoS            byte
	NoLocal        bool
	AsPublished    bool // keep the retain flag
	RetainHandling byte // 0: send retained messages, 1: if the subscription is new, 2: do not
}

// Unsubscribe is an UNSUBSCRIBE. It has at least one filter.
type Unsubscribe struct {
	ID     uint16
	Filter []Subscription // only Filter and Group are set
}

// Ping is a PINGREQ.
type Ping struct{}

// Disconnect is a DISCONNECT.
type Disconnect struct {
	Reason        Reason
	SessionExpiry uint32 // replaces that of CONNECT if HasExpiry
	HasExpiry     bool
}

// Auth is an AUTH.
type Auth struct{ Reason Reason }

// Error is a packet that breaks a rule of MQTT.
type Error struct {
	Reason Reason // what MQTT 5 calls it
	Text   string // what is wrong, for people; it holds no text of the client's
}

func (e *Error) Error() string { return e.Text }

func malformed(format string, args ...any) *Error {
	return &Error{Reason: MalformedPacket, Text: fmt.Sprintf(format, args...)}
}

func violation(format string, args ...any) *Error {
	return &Error{Reason: ProtocolError, Text: fmt.Sprintf(format, args...)}
}
