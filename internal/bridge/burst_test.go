package bridge

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// Many who publish on one topic leave the trial link as soon as their message is found innocent, however busy they keep it.
func TestBurstLeavesTheTrialLinkOnceItIsCleared(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("#", 1)
	b := launch(t, broker.URL(), Config{Pool: 1, Watch: []string{"#"}}).ready(t)
	b.suspects.suspect([]kind{kindOf("busy", 1, false, 10)})
	var all sync.WaitGroup
	var stop atomic.Bool
	var order sync.Mutex
	next := 0
	for range 8 {
		all.Go(func() {
			for !stop.Load() {
				order.Lock()
				next++
				p, err := b.Publish(Message{Topic: "busy", Payload: []byte(strconv.Itoa(1_000_000_000 + next)), QoS: 1})
				order.Unlock()
				if err == nil {
					err = p.Wait(within(t))
				}
				if err != nil {
					t.Errorf("got %v", err)
					return
				}
			}
		})
	}
	eventually(t, "the trial link to be left", func() bool {
		b.suspects.mu.Lock()
		suspected := len(b.suspects.kinds)
		b.suspects.mu.Unlock()
		return suspected == 0 && !b.trial.holds("busy")
	})
	stop.Store(true)
	all.Wait()
	broker.WaitLogCount("-trial0 ", 1)
	last := 0
	for _, m := range oracle.Received() {
		if n, _ := strconv.Atoi(string(m.Payload)); m.Topic == "busy" {
			if n <= last {
				t.Fatalf("got %d behind %d", n, last)
			}
			last = n
		}
	}
}

// A message of QoS 0 is found among many that were sent behind it before the broker closed the connection.
func TestGuiltyMessageIsFoundAheadOfABurst(t *testing.T) {
	t.Parallel()
	test := guilt["QoS 0"]
	broker := brokertest.Start(t, brokertest.Conf(test.conf))
	b := launch(t, broker.URL(), Config{Version: mqtt.V311, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	broker.Pause() // so that it closes the connection late
	all := []*Publication{}
	for i := range 900 {
		m := test.m
		if i > 0 {
			m = Message{Topic: "burst/" + strconv.Itoa(i)}
		}
		p, err := b.Publish(m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for _, p := range all {
		p.Wait(within(t))
	}
	broker.Continue()
	eventually(t, "the connection to end", func() bool { return b.Stats().Reconnects > 0 })
	if refusal, trial := b.suspects.about(all[0].kind); refusal == nil && !trial {
		t.Error("the guilty one is not under suspicion")
	}
}

// What a lane remembers of messages without an answer has a bound, and the newest are in it; an answer behind them clears
// them all.
func TestMessagesWithoutAnAnswerAreRememberedWithinABound(t *testing.T) {
	t.Parallel()
	for size, n := range map[int]int{1: 3 * recentMost, 60_000: 100} {
		var f inFlight
		kindOf := func(i int) kind { return kind{topic: strconv.Itoa(i) + strings.Repeat("x", size)} }
		for i := range n {
			f.note(&Publication{kind: kindOf(i), seq: uint64(i + 1)}, nil)
		}
		if len(f.recent) > recentMost || f.bytes > recentBytes+size+10 {
			t.Errorf("got %d with %d bytes", len(f.recent), f.bytes)
		}
		for i := n - 5; i < n; i++ {
			if f.recent[kindOf(i)].seq == 0 {
				t.Errorf("number %d is not remembered", i)
			}
		}
		f.note(&Publication{kind: kindOf(n - 1), seq: uint64(n + 1)}, nil)
		f.note(&Publication{kind: kind{qos: 1}, seq: uint64(n - 1)}, nil)
		if _, kinds := f.take(); len(kinds) != 2 {
			t.Errorf("behind an answer: got %d, want one that was there twice", len(kinds))
		}
		f.note(&Publication{kind: kindOf(0), seq: uint64(n + 2)}, nil)
		f.note(&Publication{kind: kind{qos: 2}, seq: uint64(n + 3)}, nil)
		if len(f.recent) != 0 || f.bytes != 0 {
			t.Errorf("before an answer: got %d with %d bytes", len(f.recent), f.bytes)
		}
	}
}
