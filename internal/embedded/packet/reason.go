package packet

// Reason is a reason code of MQTT 5 (2.4). Codes from 0x80 on are failures.
type Reason byte

// The reason codes that this server sends or looks at.
const (
	Success               Reason = 0x00
	DisconnectWithWill    Reason = 0x04
	NoMatchingSubscribers Reason = 0x10
	NoSubscription        Reason = 0x11
	ContinueAuth          Reason = 0x18
	Reauthenticate        Reason = 0x19
	Unspecified           Reason = 0x80
	MalformedPacket       Reason = 0x81
	ProtocolError         Reason = 0x82
	UnsupportedVersion    Reason = 0x84
	InvalidClientID       Reason = 0x85
	NotAuthorized         Reason = 0x87
	ServerShuttingDown    Reason = 0x8B
	BadAuthMethod         Reason = 0x8C
	KeepAliveTimeout      Reason = 0x8D
	SessionTakenOver      Reason = 0x8E
	TopicNameInvalid      Reason = 0x90
	IDNotFound            Reason = 0x92
	TopicAliasInvalid     Reason = 0x94
	PacketTooLarge        Reason = 0x95
	QuotaExceeded         Reason = 0x97
)

// ReturnCode is what a CONNACK of MQTT 3.1.1 says instead (3.1.1: table 3.1). It is 0 where 3.1.1 has no code: the
// connection is closed without an answer then.
func (r Reason) ReturnCode() byte {
	switch r {
	case UnsupportedVersion:
		return 1
	case InvalidClientID:
		return 2
	case QuotaExceeded, ServerShuttingDown:
		return 3
	case NotAuthorized:
		return 5
	}
	return 0
}

// clientReasons are the codes that a client may send, by type of packet.
var clientReasons = [16][]Reason{
	PUBACK:     {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	PUBREC:     {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	PUBREL:     {0x00, 0x92},
	PUBCOMP:    {0x00, 0x92},
	DISCONNECT: {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99},
	AUTH:       {0x18, 0x19},
}
