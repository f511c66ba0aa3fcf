// Package device knows which devices are at the broker, and which topics have
// gone quiet. It makes that of what the broker says: the lines of its log, the
// payloads of last wills, and the messages that pass.
//
// What cannot be known is [Unknown], never guessed: after the gateway has
// started or lost its connection, when lines of the log may be missing, and when
// a line can be read in two ways.
//
// What the log tells and what each pattern of topics tells of an id are [Facts]
// of their own. None changes another, and who asks is shown a [Device] that is
// made of those that he may read.
//
// A [Registry] holds a bounded number of devices, and of topics that may go
// quiet; the one that was unseen for longest goes first, and those that are
// online last. It has one lock, and
// what is done under it at one time takes the same for any number of devices,
// but for the logarithm. It is never held while anything else is called.
package device

import "time"

// State is whether a device is at the broker.
type State string

// All states.
const (
	Online  State = "online"
	Offline State = "offline"
	Unknown State = "unknown"
)

// States are all, in the order in which they are told.
var States = []State{Online, Offline, Unknown}

// Reason is why a device is in its state.
type Reason string

// All reasons.
const (
	ReasonConnected      Reason = "connected"       // online: it has connected
	ReasonReported       Reason = "reported"        // its topic says so: the last will, or the device itself
	ReasonDisconnected   Reason = "disconnected"    // it has said goodbye
	ReasonClosed         Reason = "connection_lost" // its connection ended without a goodbye
	ReasonTimeout        Reason = "timeout"         // it was silent for longer than its keep-alive
	ReasonTakenOver      Reason = "taken_over"      // another connection has the same client id
	ReasonNotAuthorised  Reason = "not_authorised"
	ReasonMalformed      Reason = "malformed_packet"
	ReasonProtocol       Reason = "protocol_error"
	ReasonTooLarge       Reason = "too_large"
	ReasonAdministrative Reason = "administrative" // an operator of the broker ended it
	ReasonOther          Reason = "other"          // the broker names another one

	ReasonNotTold      Reason = "not_told"               // unknown: nothing has been said yet
	ReasonBrokerLost   Reason = "broker_connection_lost" // unknown: and not since the gateway is connected again
	ReasonMessagesLost Reason = "messages_lost"          // unknown: the broker has dropped messages, perhaps the log's
)

// Source is who says so.
type Source string

// All sources.
const (
	SourceLog  Source = "log"  // the broker's log
	SourceWill Source = "will" // a topic with a payload for each state
	SourceSeen Source = "seen" // a message on a topic of the device, which tells no state
)

// Device is what somebody may know of one device at one moment.
type Device struct {
	ID       string
	State    State
	Since    time.Time // when the state was told; zero: never
	LastSeen time.Time // the last connect, disconnect or message; zero: never
	Address  string    // host:port of its last connection; empty: not known
	Reason   Reason
	Source   Source // of the state; of an unknown one, of what is known besides
}

// Silence says that a topic has gone quiet, or is back.
type Silence struct {
	Topic  string
	Silent bool
	Since  time.Time // of its last message, or when it came back
}
