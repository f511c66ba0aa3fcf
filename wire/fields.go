package wire

// Ops: what a client's frame asks for.
const (
	OpSubscribe   = "subscribe"
	OpUnsubscribe = "unsubscribe"
	OpPublish     = "publish"
	OpRequest     = "request"
	OpPing        = "ping"
	OpAuth        = "auth"
)

// Fields of what clients send: of a frame, and, where they are a message's, of
// the body of POST /publish. docs/protocol.md says which op has which.
const (
	FieldOp = "op"
	// FieldID is a number or a string of the client's choice; the answer
	// carries it.
	FieldID     = "id"
	FieldTopics = "topics" // filters, an array of strings
	// FieldDevices stands in place of FieldTopics: true for the changes of
	// devices.
	FieldDevices = "devices"

	FieldSince       = "since"        // a cursor, a duration or a time (RFC 3339)
	FieldSnapshot    = "snapshot"     // true: the newest message of every topic first
	FieldOverflow    = "overflow"     // catchup, close, drop or latest
	FieldMinInterval = "min_interval" // a duration: 200ms

	FieldTopic    = "topic"
	FieldPayload  = "payload"
	FieldEncoding = "encoding" // one of the Encoding constants
	FieldQoS      = "qos"      // 0, 1 or 2
	FieldRetain   = "retain"   // true or false

	FieldContentType    = "content_type" // these need MQTT 5
	FieldExpiry         = "expiry"       // a duration of whole seconds
	FieldResponseTopic  = "response_topic"
	FieldCorrelation    = "correlation"     // base64
	FieldUserProperties = "user_properties" // an object of strings, or arrays of them

	FieldReply   = "reply"   // a topic or filter
	FieldExpect  = "expect"  // the payload to wait for, as in FieldPayload
	FieldTimeout = "timeout" // a duration: 5s
	FieldDevice  = "device"  // the id of a device that must not be offline

	FieldToken = "token" // a key or a token
)

// Types: what a frame from the gateway says, its field "type".
const (
	TypeWelcome     = "welcome"
	TypeAck         = "ack"
	TypePublished   = "published"
	TypeReply       = "reply"
	TypeMessage     = "message"
	TypeGap         = "gap"
	TypeSnapshotEnd = "snapshot_end"
	TypeBroker      = "broker"
	TypeError       = "error"
	TypePong        = "pong"
	TypeDevice      = "device"
	TypeSilent      = "silent"
	TypeBack        = "back"
	TypeForgotten   = "forgotten"
)
