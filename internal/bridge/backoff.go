package bridge

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// timing holds every duration that decides when something counts as dead, lost or quiet; tests shorten them.
type timing struct {
	connect   time.Duration // dial, TLS, WebSocket and CONNACK together
	keepAlive time.Duration // silence until a PINGREQ
	ping      time.Duration // silence after that until the link is dead
	write     time.Duration // a write that moves nothing for so long is dead
	answer    time.Duration // SUBACK and UNSUBACK, which may queue behind many messages
	control   time.Duration // that Retained waits for a control link
	beat      time.Duration // between the signs of life on the control link
	selfTest  time.Duration // for a message to itself to come back
	who       time.Duration // that is waited for the broker's name
	alive     time.Duration // for another link's answer, when one was closed
	verdict   time.Duration // for the answer to one message on the trial link
	trialIdle time.Duration // that the trial link stays without being needed
	drain     time.Duration // for acknowledgements before a clean disconnect

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
		beat:      time.Second,
		selfTest:  2 * time.Second,
		who:       time.Second,
		alive:     time.Second,
		verdict:   10 * time.Second,
		trialIdle: 2 * time.Second,
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

// takeoverFlaps: so many links in a row that hardly lived are an accident. One more, and somebody else uses our id.
const takeoverFlaps = 3

// backoff decides how long to wait before the next attempt: with full jitter, so that the roles of many gateways do
// not come back together.
type backoff struct {
	timing  timing
	stable  bool // our client ids are known to others
	attempt int
	flaps   int
	limit   time.Duration
}

// failed notes an attempt that led to no link. One that found nobody there costs the broker nothing and is repeated
// sooner than one that the broker has answered.
func (p *backoff) failed(err error) {
	p.limit = p.timing.backoffMax
	if _, ok := errors.AsType[*mqtt.DialError](err); ok {
		p.limit = p.timing.backoffDial
		p.flaps = 0 // it was the broker that went away
	}
}

// lived notes a link that has ended.
func (p *backoff) lived(d time.Duration) {
	p.limit = p.timing.backoffMax
	if d >= p.timing.settled {
		p.attempt = 0
	}
	if d >= p.timing.flap {
		p.flaps = 0
	} else {
		p.flaps++
	}
	if p.takenOver() {
		p.limit = p.timing.backoffTakeover
	}
}

func (p *backoff) takenOver() bool { return p.stable && p.flaps > takeoverFlaps }

// delay is the next pause.
func (p *backoff) delay() time.Duration {
	d := min(p.timing.backoffFirst<<min(p.attempt, 20), p.limit)
	p.attempt++
	if p.takenOver() {
		return d/2 + rand.N(d/2+1) // a short pause would only take the connection back
	}
	return rand.N(d + 1)
}
