package bridge

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"github.com/vulturepi/gateway/internal/topic"
)

// maxPublish is a bound on what can be sent at all; what may be sent is decided before it gets here.
const maxPublish = 64 << 20

// A Publication is one message on its way to the broker.
type Publication struct {
	msg  Message
	lane *lane
	size int

	taken atomic.Bool // the lane's sender, or a Wait that ended before, has it
	end   uint64      // where it ends in the bytes of its link

	err  error // valid once done is closed
	done chan struct{}
}

// topicSeed spreads topics over the lanes; a topic must stay on its lane only as long as the process lives.
var topicSeed = maphash.MakeSeed()

// Publish hands m to the link of its topic's lane and returns at once. Messages of one topic are sent in the order of
// the calls. The payload must not be changed until the outcome is known. With an error nothing has been sent:
// [ErrNoConnection], [ErrOverloaded], [ErrInvalid].
func (b *Bridge) Publish(m Message) (*Publication, error) {
	if err := topic.CheckName(m.Topic); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if m.QoS > 2 {
		return nil, fmt.Errorf("%w: QoS %d", ErrInvalid, m.QoS)
	}
	if len(m.Payload) > maxPublish {
		return nil, fmt.Errorf("%w: %d bytes", ErrInvalid, len(m.Payload))
	}
	lane := b.lanes[maphash.String(topicSeed, m.Topic)%uint64(len(b.lanes))]
	return lane.submit(m)
}

// Wait returns the outcome: nil when the broker has the message (QoS 0: it was written to the socket, QoS 1: PUBACK,
// QoS 2: PUBCOMP, each on the connection it was sent on), [ErrNotSent] when it certainly was not sent and can be
// repeated, [ErrUnknown] when it was or may have been and there is no answer, because the link was lost or ctx ended.
func (p *Publication) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	return p.Outcome()
}

// Outcome is what Wait returns when its time is over: a publication that has none yet is given up.
func (p *Publication) Outcome() error {
	select {
	case <-p.done:
		return p.err
	default:
	}
	if p.taken.CompareAndSwap(false, true) {
		p.complete(ErrNotSent) // it still waited in its lane, and the sender will now pass over it
	}
	select {
	case <-p.done:
		return p.err
	default:
		return ErrUnknown
	}
}

// Done is closed when the outcome is known.
func (p *Publication) Done() <-chan struct{} { return p.done }

// complete sets the outcome. It is called once, by whoever owns p at the time.
func (p *Publication) complete(err error) {
	p.err = err
	close(p.done)
	if p.lane != nil {
		p.lane.release(p)
	}
}
