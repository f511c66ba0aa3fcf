package bridge

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// maxPublish is a bound on what can be sent at all; what may be sent is decided before it gets here.
const maxPublish = 64 << 20

// A Refusal is the broker's no to one message. The reason is its own; By tells the packet that it came in, or, at 0, that
// the broker closed the connection on this very message and gave none.
type Refusal = mqtt.Refusal

// A ReasonCode is the broker's, of MQTT 5.
type ReasonCode = mqtt.ReasonCode

// A Publication is one message on its way to the broker.
type Publication struct {
	sent mqtt.Publication
	lane *lane // whose books it is in
	size int
	kind kind
	seq  uint64 // rises with each that its lane is given

	taken atomic.Bool // the lane's sender, or a Wait that ended before, has it

	reason ReasonCode // like err, valid once done is closed
	err    error
	done   chan struct{}
	trace  string // see Message
}

func newPublication(m Message, l *lane) *Publication {
	p := &Publication{lane: l, size: len(m.Topic) + len(m.Payload) + m.Properties.Size() + len(m.Trace), done: make(chan struct{})}
	p.kind = kindOf(m.Topic, m.QoS, m.Retain, len(m.Payload))
	p.sent.Message = mqtt.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Properties: m.Properties}
	p.sent.Owner, p.trace = p, m.Trace
	return p
}

// traceName is the W3C's name for where a message comes from.
const traceName = "traceparent"

// speak fits p to the version of its link.
func (p *Publication) speak(k *mqtt.Conn) error {
	m := &p.sent.Message
	if m.Properties == nil && p.trace == "" {
		return nil
	}
	switch v := k.Version(); {
	case v != mqtt.V5 && m.Properties != nil:
		return ErrNeedsMQTT5
	case v == mqtt.V5 && p.trace != "":
		var all Properties
		if m.Properties != nil {
			all = *m.Properties
		}
		if !slices.ContainsFunc(all.User, func(u UserProperty) bool { return u.Name == traceName }) {
			all.User = append(slices.Clip(all.User), UserProperty{Name: traceName, Value: p.trace})
		}
		m.Properties = &all
	}
	return nil
}

// topicSeed spreads topics over the lanes; a topic must stay on its lane only as long as the process lives.
var topicSeed = maphash.MakeSeed()

// Publish hands m to the link of its topic's lane and returns at once. Messages of one topic are sent in the order of
// the calls. The payload must not be changed until the outcome is known. With an error nothing has been sent:
// [ErrNoConnection], [ErrOverloaded], [ErrInvalid], [ErrNeedsMQTT5], or a [*Refusal] where the broker has ended the
// connection on its like before.
func (b *Bridge) Publish(m Message) (*Publication, error) {
	check := topic.CheckName
	if m.Retain && len(m.Payload) == 0 { // clears what somebody else may have chosen the name of
		check = topic.CheckReadName
	}
	if err := check(m.Topic); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if m.QoS > 2 {
		return nil, fmt.Errorf("%w: QoS %d", ErrInvalid, m.QoS)
	}
	if len(m.Payload) > maxPublish {
		return nil, fmt.Errorf("%w: %d bytes", ErrInvalid, len(m.Payload))
	}
	refusal, trial := b.suspects.about(kindOf(m.Topic, m.QoS, m.Retain, len(m.Payload)))
	switch {
	case refusal != nil:
		b.stats.refuse(refusal)
		return nil, refusal
	case trial, b.trial.holds(m.Topic):
		return b.trial.submit(m)
	}
	return b.lane(m.Topic).submit(m)
}

// lane is the one of a topic.
func (b *Bridge) lane(topic string) *lane {
	return b.lanes[maphash.String(topicSeed, topic)%uint64(len(b.lanes))]
}

// Wait returns the outcome: nil when the broker has the message (QoS 0: it was written to the socket, QoS 1: PUBACK,
// QoS 2: PUBCOMP, each on the connection it was sent on), a [*Refusal] when the broker said no, [ErrNotSent] when it
// certainly was not sent and can be repeated, [ErrUnknown] when it was or may have been and there is no answer, because
// the link was lost or ctx ended.
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
		p.complete(0, ErrNotSent) // it still waited in its lane, and the sender will now pass over it
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

// Reason is what the broker said of a message whose outcome is known; success on MQTT 3.1.1, and at QoS 0.
// [mqtt.NoSubscribers] comes with a nil error.
func (p *Publication) Reason() ReasonCode { return p.reason }

// Settled is for the connection. What was under way when that ended waits for the lane's judgement.
func (p *Publication) Settled(sent *mqtt.Publication) {
	reason, err := sent.Outcome()
	if err == ErrUnknown {
		p.lane.flight.lose(p)
		return
	}
	if err != ErrNotSent {
		p.lane.flight.note(p, err)
	}
	p.complete(reason, err)
}

// complete sets the outcome. It is called once, by whoever owns p at the time.
func (p *Publication) complete(reason ReasonCode, err error) {
	p.reason, p.err = reason, err
	if refusal, ok := err.(*Refusal); ok {
		p.lane.stats.refuse(refusal)
	}
	close(p.done)
	p.lane.release(p)
}
