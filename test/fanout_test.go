package test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// listener is a subscriber that keeps a sum over the bytes of all messages.
// They are the same for every subscriber, so it is enough that one looks into
// them.
type listener struct {
	*leanSocket
	sum   uint32
	gap   string // the first gap frame
	count atomic.Int64
}

func (g *gateway) listener(look func(frame []byte)) *listener {
	l := &listener{}
	l.leanSocket = g.dialLean("?topic=fan/%23", func(frame []byte) {
		switch {
		case bytes.HasPrefix(frame, []byte(`{"type":"message"`)):
			look(frame)
			l.sum = crc32.Update(l.sum, crc32.IEEETable, frame)
			l.count.Add(1)
		case l.gap == "" && bytes.HasPrefix(frame, []byte(`{"type":"gap"`)):
			l.gap = string(frame)
		}
	})
	return l
}

// inOrder gives a function that sees the messages of one subscriber, and fails
// the test if the numbers of a topic do not come one after the other.
func inOrder(t *testing.T) func(frame []byte) {
	next := map[string]int{}
	failed := false
	return func(frame []byte) {
		topic, payload, _ := topicAndPayload(frame)
		n, err := strconv.Atoi(string(payload))
		if want := next[string(topic)]; !failed && (err != nil || n != want) {
			failed = true
			t.Errorf("got %s, want payload %d", frame, want)
		}
		next[string(topic)] = n + 1
	}
}

// resources are what must not grow.
func resources(t *testing.T) (goroutines, files int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return runtime.NumGoroutine(), len(fds)
}

// backTo waits until no more than the given resources are used.
func backTo(t *testing.T, what string, goroutines, files int) {
	t.Helper()
	n, f := 0, 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if n, f = resources(t); n <= goroutines && f <= files {
			return
		}
		<-time.After(10 * time.Millisecond) // nothing signals the end of a goroutine
	}
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
	t.Fatalf("%s: got %d goroutines and %d files, want at most %d and %d\n%s", what, n, f, goroutines, files, stacks.String())
}

// burst publishes n messages as fast as the broker takes them, and waits until
// every subscriber has all of the total.
func burst(t *testing.T, raw *brokertest.Client, all []*listener, from, n int) {
	t.Helper()
	const topics = 10
	acks := make([]<-chan error, n)
	for i := range n {
		at := from + i
		acks[i] = raw.PublishAsync(fmt.Sprint("fan/", at%topics), strconv.AppendInt(nil, int64(at/topics), 10), byte(at/n%2), false)
	}
	for _, ack := range acks {
		if err := <-ack; err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range all {
		eventually(t, fmt.Sprintf("subscriber %d has %d messages", i, from+n), func() bool {
			select {
			case <-l.done:
				t.Fatalf("subscriber %d: the connection ended with code %d: %v; %s", i, l.code, l.err, l.gap)
			default:
			}
			return l.count.Load() >= int64(from+n)
		})
	}
}

func TestTwoHundredSubscribersGetEveryBurstInOrder(t *testing.T) {
	const subscribers, size = 200, 2000
	bursts := sized(10, 3)
	broker := brokertest.Start(t)
	goroutines, files := resources(t)
	g := startReady(t, broker.URL(), nil)
	raw := brokertest.Dial(t, broker.Addr())
	g.client.CloseIdleConnections()
	idleGoroutines, idleFiles := resources(t)

	all := make([]*listener, subscribers)
	all[0] = g.listener(inOrder(t))
	for i := range all[1:] {
		all[1+i] = g.listener(func([]byte) {})
	}
	eventually(t, "all have subscribed", func() bool { return g.metric("gateway_subscriptions") == subscribers })
	for i := range bursts {
		burst(t, raw, all, i*size, size)
	}
	for i, l := range all {
		l.leave()
		l.ended(t)
		if got := int(l.count.Load()); got != bursts*size || l.gap != "" {
			t.Errorf("subscriber %d: got %d messages, want %d; %s", i, got, bursts*size, l.gap)
		}
		if l.sum != all[0].sum {
			t.Errorf("subscriber %d: got other bytes than the first one", i)
		}
	}
	if got := g.metric(`gateway_gaps_total{reason="slow_consumer"}`); got != 0 {
		t.Errorf("gaps: got %v, want 0", got)
	}
	eventually(t, "nothing is kept for those who have gone", func() bool {
		return g.metric(`gateway_subscribers{transport="websocket"}`) == 0 && g.metric("gateway_subscriptions") == 0
	})
	g.client.CloseIdleConnections()
	backTo(t, "after the subscribers have gone", idleGoroutines, idleFiles)
	raw.Close()
	if err := g.shutdown(); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	g.log.Close()
	backTo(t, "after the gateway has gone", goroutines, files)
}
