package bridge

import (
	"strconv"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// batch publishes n messages on one lane and waits for all; the fastest of several times.
func batch(t testing.TB, b *rig, n int) time.Duration {
	t.Helper()
	best := time.Hour
	for range 7 {
		start := time.Now()
		open := make([]*Publication, n)
		for i := range open {
			p, err := b.Publish(Message{Topic: "batch", Payload: []byte("0123456789"), QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
			open[i] = p
		}
		for _, p := range open {
			if err := p.Wait(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		best = min(best, time.Since(start))
	}
	return best
}

// A broker on its documented configuration leaves Nagle's algorithm on, which together with delayed acknowledgements
// costs 40 ms a round. The best of some rounds is compared with a broker that has it off.
func TestBatchDoesNotWaitForDelayedAcknowledgements(t *testing.T) {
	bothVersions(t, testBatchDoesNotWaitForDelayedAcknowledgements)
}

func testBatchDoesNotWaitForDelayedAcknowledgements(t *testing.T, v mqtt.Version) {
	bare := brokertest.Start(t, brokertest.Bare())
	tuned := brokertest.Start(t, brokertest.Bare(), brokertest.Conf("set_tcp_nodelay true"))
	slow := batch(t, launch(t, bare.URL(), Config{Version: v, Pool: 1, Watch: []string{"none"}}).ready(t), 200)
	fast := batch(t, launch(t, tuned.URL(), Config{Version: v, Pool: 1, Watch: []string{"none"}}).ready(t), 200)
	t.Logf("200 messages at QoS 1: %v, with set_tcp_nodelay %v", slow, fast)
	if slow > 8*fast && slow > 30*time.Millisecond {
		t.Errorf("bare: got %v, want about %v", slow, fast)
	}
}

func BenchmarkPublish(b *testing.B) {
	broker := brokertest.Start(b)
	for _, qos := range []byte{0, 1} {
		b.Run("QoS"+strconv.Itoa(int(qos)), func(b *testing.B) {
			r := launch(b, broker.URL(), Config{Pool: 1, Watch: []string{"none"}}).ready(b)
			payload := make([]byte, 100)
			var open []*Publication
			b.ReportAllocs()
			for b.Loop() {
				p, err := r.Publish(Message{Topic: "bench", Payload: payload, QoS: qos})
				if err != nil {
					b.Fatal(err)
				}
				if open = append(open, p); len(open) == 500 {
					for _, p := range open {
						if err := p.Wait(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					open = open[:0]
				}
			}
		})
	}
}

// BenchmarkReceive is one message through the broker to the Receiver.
func BenchmarkReceive(b *testing.B) {
	broker := brokertest.Start(b)
	sender := brokertest.Dial(b, broker.Addr())
	r := launch(b, broker.URL(), Config{Pool: 1, Watch: []string{"#"}}).ready(b)
	payload := make([]byte, 100)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		sender.PublishAsync("bench", payload, 1, false)
		n++
	}
	r.rec.wait(b, "all", func() bool { return len(r.rec.messages) >= n })
}
