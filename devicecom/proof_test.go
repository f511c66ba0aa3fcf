package devicecom

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// tally counts what Publish said of each payload.
type tally struct {
	confirmed, refused, unknown []string
}

// 10 000 messages at QoS 1 while the broker is restarted three times. Whatever
// was confirmed has arrived, at an independent subscriber whose session and
// queue the broker keeps over its restarts. A proxy sees what leaves the client:
// nothing leaves twice, and what was refused does not leave at all.
func TestEveryConfirmedMessageArrivesOverRestarts(t *testing.T) {
	const messages, publishers, restarts = 10_000, 20, 3
	b := startBroker(t, brokertest.Persistent())
	oracle := brokertest.Dial(t, b.Addr(), brokertest.ClientID("oracle"), brokertest.PersistentSession(), brokertest.AutoReconnect())
	if code := oracle.Subscribe("count/#", 1); code != 1 {
		t.Fatalf("SUBACK: got %#x, want 1", code)
	}
	p := brokertest.StartProxy(t, b.Addr())
	sent := newWitness(p)
	vals := connect(t, p.Addr(), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	var confirmed atomic.Int64
	results := make(chan tally)
	for p := range publishers {
		go func() { results <- publishAll(ctx, t, vals, p, messages/publishers, &confirmed) }()
	}
	for i := range int64(restarts) {
		until(t, "so many confirmed", func() bool { return confirmed.Load() > (i+1)*messages/(restarts+1) })
		b.Restart()
	}
	var all tally
	for range publishers {
		part := await(t, results)
		all.confirmed = append(all.confirmed, part.confirmed...)
		all.refused = append(all.refused, part.refused...)
		all.unknown = append(all.unknown, part.unknown...)
	}
	t.Logf("%d confirmed, %d unknown, %d refused attempts", len(all.confirmed), len(all.unknown), len(all.refused))
	if len(all.confirmed)+len(all.unknown) != messages {
		t.Errorf("got %d confirmed and %d unknown, want %d together", len(all.confirmed), len(all.unknown), messages)
	}
	if len(all.refused) == 0 {
		t.Error("no attempt was refused: the restarts had no effect")
	}
	all.check(t, oracle, sent.counts())
}

// witness counts the payloads that pass a proxy on their way to the broker.
type witness struct {
	mu   sync.Mutex
	sent map[string]int // guarded by mu
}

func newWitness(p *brokertest.Proxy) *witness {
	w := &witness{sent: map[string]int{}}
	p.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if m, ok := brokertest.PublishOf(packet); ok && dir == brokertest.Up {
			w.mu.Lock()
			w.sent[string(m.Payload)]++
			w.mu.Unlock()
		}
		return nil, brokertest.Pass
	})
	return w
}

func (w *witness) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.sent)
}

// publishAll publishes each message until it is confirmed or its fate is
// unknown; each attempt has a payload of its own.
func publishAll(ctx context.Context, t *testing.T, vals *Values, publisher, n int, confirmed *atomic.Int64) tally {
	var all tally
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for i := range n {
		for attempt := 0; ; attempt++ {
			payload := fmt.Sprintf("%d/%d/%d", publisher, i, attempt)
			err := vals.Publish(ctx, fmt.Sprintf("count/%d", publisher), payload)
			switch {
			case err == nil:
				all.confirmed = append(all.confirmed, payload)
				confirmed.Add(1)
			case errors.Is(err, ErrUnknownOutcome):
				all.unknown = append(all.unknown, payload)
			case errors.Is(err, ErrNotConnected):
				all.refused = append(all.refused, payload)
				select {
				case <-retry.C: // the pause before the next attempt
					continue
				case <-ctx.Done():
				}
				return all
			default:
				t.Error(err)
				return all
			}
			break
		}
	}
	return all
}

// check holds the tally against what the subscriber received and what was sent.
func (all *tally) check(t *testing.T, oracle *brokertest.Client, sent map[string]int) {
	t.Helper()
	received := map[string]bool{}
	read := 0
	missing := func() (n int) {
		messages := oracle.Received()
		for _, m := range messages[read:] {
			received[string(m.Payload)] = true
		}
		read = len(messages)
		for _, payload := range all.confirmed {
			if !received[payload] {
				n++
			}
		}
		return n
	}
	until(t, "everything there that was confirmed", func() bool { return missing() == 0 })
	for _, payload := range all.refused {
		if sent[payload] != 0 || received[payload] {
			t.Errorf("%s was refused, and sent %d times", payload, sent[payload])
		}
	}
	for payload, n := range sent {
		if n > 1 {
			t.Errorf("%s was sent %d times", payload, n)
		}
	}
}
