package mqtt

// A codec encodes and decodes one version's packets, but for those that come with every message: they are the same in
// both, or nearly, and are done by hand in message.go and read.go. The identifiers of the packets that are decoded stand
// before what is given here.
type codec interface {
	connect(cfg *Config) []byte
	disconnect() []byte
	subscribe(id uint16, filters []Filter) []byte
	unsubscribe(id uint16, filters []string) []byte

	connack(cfg *Config, body []byte) (Connack, error)
	suback(body []byte) ([]ReasonCode, error)              // of the whole body
	unsuback(body []byte, asked int) ([]ReasonCode, error) // likewise
	disconnected(flags byte, body []byte) error            // what a DISCONNECT means
}

// Connack is what the broker says when it accepts a connection. On 3.1.1 it says only whether there is a session; the
// rest are the values that MQTT 5 gives when nothing is said.
type Connack struct {
	SessionPresent   bool
	AssignedClientID string // chosen by the broker, where none was given
	SessionExpiry    uint32 // seconds; what was asked for, where the broker says nothing else
	KeepAlive        uint16 // seconds; likewise

	ReceiveMaximum uint16 // messages above QoS 0 that may be without an outcome
	MaximumQoS     byte
	Retain         bool   // retained messages are taken
	MaximumPacket  uint32 // bytes of a packet, with its header; 0: no limit

	Wildcards, SubscriptionIDs, Shared bool // what may be subscribed
}

// A Filter is one subscription that is asked for. On 3.1.1 there is only the QoS; the rest is not sent.
type Filter struct {
	Filter            string
	QoS               byte
	NoLocal           bool // without what this connection publishes
	RetainAsPublished bool // live messages keep the retain flag that they were published with
	RetainHandling    byte // retained copies: 0 now, 1 if the subscription is new, 2 never

	// Identifier of the subscription, 0 for none. Filters that are asked for together have that of the first. Where
	// filters overlap that were asked for one after the other, with identifiers, a message is handed over once.
	Identifier uint32
}
