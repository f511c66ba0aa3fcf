package bridge

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"time"
)

// timing holds every duration that decides when something counts as dead, lost or quiet; tests shorten them.
type timing struct {
	connect   time.Duration // dial, TLS, WebSocket and CONNACK together
	keepAlive time.Duration // silence until a PINGREQ
	ping      time.Duration // silence after that until the link is dead
	write     time.Duration // a write that moves nothing for so long is dead
	answer    time.Duration // SUBACK and UNSUBACK, which may queue behind many messages
	control   time.Duration // that Retained waits for a control link
	quiesce   time.Duration // for a clean disconnect
	drain     time.Duration // for acknowledgements before it

	backoffFirst, backoffMax time.Duration
	backoffDial              time.Duration // the most between attempts that fail before the broker has answered
	backoffTakeover          time.Duration // the most while somebody else uses our client id
	settled                  time.Duration // a link that lived so long resets the backoff
	flap                     time.Duration // one that lived shorter was probably taken over

	fenceFirst time.Duration // nothing at all arrives: the fence is lost
	fenceQuiet time.Duration // nothing more arrives: the fence is lost
	fenceAgain time.Duration // the subscriber link did not get it: send another
	quiet      time.Duration // without a fence, so much silence ends a fetch
}

func defaultTiming(keepAlive time.Duration) timing {
	return timing{
		connect:   5 * time.Second,
		keepAlive: keepAlive,
		ping:      5 * time.Second,
		write:     5 * time.Second,
		answer:    time.Minute,
		control:   2 * time.Second,
		quiesce:   time.Second,
		drain:     500 * time.Millisecond,

		backoffFirst:    200 * time.Millisecond,
		backoffMax:      5 * time.Second,
		backoffDial:     2 * time.Second,
		backoffTakeover: 30 * time.Second,
		settled:         30 * time.Second,
		flap:            time.Second,

		fenceFirst: time.Second,
		fenceQuiet: 500 * time.Millisecond,
		fenceAgain: time.Second,
		quiet:      250 * time.Millisecond,
	}
}

// counters are written where things happen and read by Stats.
type counters struct {
	reconnects, received, oversize atomic.Uint64
	inFlight                       atomic.Int64
}

func randomID(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// fenceTopic is private to the process; with a stable client id it stays the same, so that a kept session does not
// collect one more subscription with every start.
func fenceTopic(clientID string) string {
	id := randomID(8)
	if clientID != "" {
		sum := sha256.Sum256([]byte(clientID))
		id = hex.EncodeToString(sum[:8])
	}
	return "$gateway/" + id + "/fence"
}
