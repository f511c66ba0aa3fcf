package wire

import "time"

// Device is whether a device is at the broker, as far as the gateway has been
// told.
type Device struct {
	Type     string    `json:"type,omitempty"` // TypeDevice on a stream
	ID       string    `json:"id"`
	State    string    `json:"state"`              // online, offline or unknown
	Since    time.Time `json:"since,omitzero"`     // when the state was told
	LastSeen time.Time `json:"last_seen,omitzero"` // the last connect, disconnect or message
	Address  string    `json:"address,omitempty"`  // of its last connection
	Reason   string    `json:"reason"`
	Source   string    `json:"source"` // log, will or seen
}

// Silence says that a topic has gone quiet for longer than it may, or is back.
type Silence struct {
	Type  string    `json:"type"` // TypeSilent or TypeBack
	Topic string    `json:"topic"`
	Since time.Time `json:"since"` // of its last message; when it came back
}

// Forgotten says that devices or topics were forgotten because there are more
// than can be known: those that were unseen for longest.
type Forgotten struct {
	Type  string `json:"type"` // TypeForgotten
	Count uint64 `json:"count"`
}
