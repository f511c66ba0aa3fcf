package wire

import (
	"encoding/json"
	"time"
)

// TypeExpired is the type of an Expired. A WebSocket has a close code for that.
const TypeExpired = "expired"

// AuthAck answers an auth op: from then on the connection is the principal's.
type AuthAck struct {
	Type      string          `json:"type"` // TypeAck
	ID        json.RawMessage `json:"id,omitempty"`
	Principal string          `json:"principal"`
	Expires   *time.Time      `json:"expires,omitempty"` // the connection ends then, unless it is renewed
}

// Expired is the last of a response whose reader is let in no longer.
type Expired struct {
	Type string `json:"type"` // TypeExpired
}

// Whoami is what a caller learns of itself. The lists are the filters that its
// rights come to.
type Whoami struct {
	Principal string     `json:"principal"` // empty: no credentials were shown
	Via       string     `json:"via"`       // none, anonymous, key, jwt, mtls or header
	Publish   []string   `json:"publish"`
	Retain    []string   `json:"retain"`
	Subscribe []string   `json:"subscribe"`
	Deny      []string   `json:"deny"`
	Operator  bool       `json:"operator"`
	Expires   *time.Time `json:"expires,omitempty"`
}

// Explanation says whether the caller may do something, and why.
type Explanation struct {
	Allowed bool   `json:"allowed"`
	Rule    string `json:"rule"`
}

// Ticket lets its bearer in once, in the place of credentials.
type Ticket struct {
	Ticket    string `json:"ticket"`
	ExpiresIn int    `json:"expires_in"` // seconds
}

// Account is a principal of the access file, as operators see it.
type Account struct {
	Name      string     `json:"name"`
	Keys      int        `json:"keys"`
	Expires   *time.Time `json:"expires,omitempty"`
	Publish   []string   `json:"publish"`
	Retain    []string   `json:"retain"`
	Subscribe []string   `json:"subscribe"`
	Deny      []string   `json:"deny"`
	Operator  bool       `json:"operator"`
}
