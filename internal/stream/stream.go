// Package stream has the connections of the hub's clients and the ways to
// frame what they are sent: a WebSocket, and a response of server-sent events,
// of one JSON object a line, or of plain text.
//
// A connection moves bytes and knows nothing of what they say; a codec frames
// messages and knows nothing of sockets. The hub takes one of each.
package stream

import (
	"cmp"
	"time"
)

// MaxFrame is the largest WebSocket message that a client may send, in bytes.
const MaxFrame = 256 << 10

// Timing says how long a connection may be slow or silent. A zero value gives
// the default in brackets.
type Timing struct {
	Write  time.Duration // a client that takes nothing for so long is cut off [10s]
	Last   time.Duration // what a client has for the last bytes before the end [5s]
	Linger time.Duration // the wait for its end after ours, so that a reset does not overtake the last bytes [2s]

	Ping  time.Duration // how often a WebSocket is pinged [20s]
	Dead  time.Duration // a WebSocket that shows no life for so long, not even a pong, is cut off [32s]
	Flood time.Duration // the time in which a WebSocket may send twice MaxFrame without a whole message [30s]

	KeepAlive time.Duration // how often server-sent events show life [15s]
}

// withDefaults fills in what is zero.
func (t Timing) withDefaults() Timing {
	return Timing{
		Write:     cmp.Or(t.Write, 10*time.Second),
		Last:      cmp.Or(t.Last, 5*time.Second),
		Linger:    cmp.Or(t.Linger, 2*time.Second),
		Ping:      cmp.Or(t.Ping, 20*time.Second),
		Dead:      cmp.Or(t.Dead, 32*time.Second),
		Flood:     cmp.Or(t.Flood, 30*time.Second),
		KeepAlive: cmp.Or(t.KeepAlive, 15*time.Second),
	}
}
