package bridge

import (
	"context"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// selfTest sends a message to the gateway's own topic, which both the control and the subscriber link hear, and says what
// is wrong if it does not come back: a broker whose access list denies everything accepts connections, publications and
// subscriptions all the same.
func (f *fetcher) selfTest(ctx context.Context, k *mqtt.Conn) (warning string) {
	if f.noFence.Load() {
		return "the broker refuses the gateway's own topic: grant its user read and write on $gateway/#"
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
	ctx, cancel := context.WithTimeout(ctx, f.b.timing.selfTest)
	defer cancel()
	k.Publish(mqtt.NewPublication(mqtt.Message{Topic: f.b.fence, Payload: []byte(payload)}))
	for _, came := range []<-chan struct{}{r.passed, live} {
		select {
		case <-came:
		case <-k.Done():
			return ""
		case <-ctx.Done():
			return f.b.unheard(ctx, k)
		}
	}
	return ""
}

// unheard is what to say when the message has not come back. A broker that is only slow answers nothing else either.
func (b *Bridge) unheard(ctx context.Context, k *mqtt.Conn) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if !b.inbound.isUp() || k.RoundTrip(ctx) != nil {
		return ""
	}
	return "a message of the gateway's own does not come back from the broker: it may deny everything; " +
		"grant its user the topics it is to use, and read and write on $gateway/#"
}
