package bridge

import (
	"context"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// selfTest sends a message to the gateway's own topic, which both the control and the subscriber link hear, and says what
// is wrong if it does not come back: a broker whose access list denies everything accepts connections, publications and
// subscriptions all the same. One that ends the link on it is known then, before anybody's filters are on it with such a
// message; known is false when the link has ended, or ctx.
func (f *fetcher) selfTest(ctx context.Context, k *mqtt.Conn) (warning string, known bool) {
	if f.noFence.Load() {
		return "the broker refuses the gateway's own topic: grant its user read and write on $gateway/#", true
	}
	r := &round{fence: f.nextFence(), passed: make(chan struct{})}
	payload, live := r.fence, make(chan struct{})
	f.mu.Lock()
	f.round = r
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.round = nil
		f.mu.Unlock()
		f.b.inbound.forget(payload)
	}()
	f.b.inbound.await(payload, live)
	limited, cancel := context.WithTimeout(ctx, f.b.timing.selfTest)
	defer cancel()
	k.Publish(f.message(payload))
	for _, came := range []<-chan struct{}{r.passed, live} {
		select {
		case <-came:
		case <-k.Done():
			f.b.judgeFence(k, f.fenceQoS())
			return "", false
		case <-limited.Done():
			if ctx.Err() != nil {
				return "", false
			}
			warning = f.b.unheard(ctx, k)
			if k.Err() != nil {
				f.b.judgeFence(k, f.fenceQoS())
			}
			return warning, k.Err() == nil
		}
	}
	f.b.suspects.clear(f.b.fenceKind(f.fenceQoS()))
	return "", true
}

// fenceKind is what fences at a QoS are like.
func (b *Bridge) fenceKind(qos byte) kind { return kind{topic: b.fence, qos: qos} }

// judgeFence finds out whether the broker has ended a link on the fence that was alone on it.
func (b *Bridge) judgeFence(k *mqtt.Conn, qos byte) {
	if e := b.ending(k); e.answer && (e.clear || b.suspects.reset(b.fenceKind(qos))) {
		b.suspects.convict(b.fenceKind(qos), e.reason)
	}
}

// chooseFence decides for a new link how fences are sent: at QoS 1, or at 0 where the broker takes nothing above, or not at
// all. It holds for the link's life: only a fence that is alone may be tried again.
func (f *fetcher) chooseFence(k *mqtt.Conn) {
	s := f.b.suspects
	f.noFence.Store(s.guiltyFilter(f.b.fence) || s.guiltyKind(f.b.fenceKind(0)))
	f.fence0.Store(k.Connack().MaximumQoS == 0 || s.guiltyKind(f.b.fenceKind(1)))
}

func (f *fetcher) fenceQoS() byte {
	if f.fence0.Load() {
		return 0
	}
	return 1
}

// unheard is what to say when the message has not come back. A broker that is only slow answers nothing else either.
func (b *Bridge) unheard(ctx context.Context, k *mqtt.Conn) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if !b.inbound.isUp() || k.RoundTrip(ctx) != nil {
		return ""
	}
	return "a message of the gateway's own does not come back from the broker: it may deny everything; " +
		"grant its user the topics it is to use, and read and write on $gateway/#"
}
