package bridge

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// retain fills a broker with n retained topics t/0 … and closes its sender.
func retain(t testing.TB, broker *brokertest.Broker, n int) {
	t.Helper()
	sender := brokertest.Dial(t, broker.Addr())
	defer sender.Close()
	outcomes := make([]<-chan error, n)
	for i := range n {
		outcomes[i] = sender.PublishAsync("t/"+strconv.Itoa(i), []byte(strconv.Itoa(i)), 1, true)
	}
	for _, c := range outcomes {
		if err := <-c; err != nil {
			t.Fatal(err)
		}
	}
}

// complete checks that the messages are t/0 … with their values, each once, sorted and retained.
func complete(t testing.TB, got []Message, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("retained: got %d, want %d", len(got), n)
	}
	for i, m := range got {
		if m.Topic != "t/"+string(m.Payload) || !m.Retain || i > 0 && got[i-1].Topic >= m.Topic {
			t.Fatalf("message %d: got %+v", i, m)
		}
	}
}

func TestRetainedIsComplete(t *testing.T) { bothVersions(t, testRetainedIsComplete) }

func testRetainedIsComplete(t *testing.T, v mqtt.Version) {
	for name, options := range map[string][]brokertest.Option{
		"raised limits": nil,
		"bare":          {brokertest.Bare()},
	} {
		t.Run(name, func(t *testing.T) {
			broker := brokertest.Start(t, options...)
			retain(t, broker, 5000)
			b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
			waitControl(t, b)
			for _, filter := range []string{"#", "t/+", "#"} {
				start := time.Now()
				got, err := b.Retained(within(t), filter)
				if err != nil {
					t.Fatal(err)
				}
				complete(t, got, 5000)
				t.Logf("%s: %d in %v", filter, len(got), time.Since(start).Round(time.Millisecond))
			}
			got, err := b.Retained(within(t), "t/4711")
			if err != nil || len(got) != 1 || string(got[0].Payload) != "4711" || got[0].QoS != 1 {
				t.Errorf("one topic: got %+v, %v", got, err)
			}
			got, err = b.Retained(within(t), "none")
			if err != nil || len(got) != 0 {
				t.Errorf("no topic: got %+v, %v", got, err)
			}
		})
	}
}

// waitControl waits for the control link.
func waitControl(t testing.TB, b *rig) {
	t.Helper()
	eventually(t, "control link", func() bool {
		b.fetch.mu.Lock()
		defer b.fetch.mu.Unlock()
		return b.fetch.link != nil && b.inbound.isUp()
	})
}

// Callers that come together share rounds; each gets its own filter's messages.
func TestRetainedServesManyCallersAtOnce(t *testing.T) {
	t.Parallel()
	bothVersions(t, testRetainedServesManyCallersAtOnce)
}

func testRetainedServesManyCallersAtOnce(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	retain(t, broker, 300)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			filter, n := "t/"+strconv.Itoa(i), 1
			if i%10 == 0 {
				filter, n = "t/#", 300
			}
			got, err := b.Retained(within(t), filter)
			if err != nil || len(got) != n {
				t.Errorf("%s: got %d, %v", filter, len(got), err)
			}
		})
	}
	all.Wait()
}

// A value that Retained returns is never older than what the Receiver had been given before, and whatever was sent
// before the fetch has been given to it.
func TestRetainedDoesNotRunBackwards(t *testing.T) { bothVersions(t, testRetainedDoesNotRunBackwards) }

func testRetainedDoesNotRunBackwards(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	rec := newRecorder()
	rec.hold = func(Message) { time.Sleep(200 * time.Microsecond) } // a stream that is always behind
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}, Receiver: rec}).ready(t)
	waitControl(t, b)
	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; !stop.Load(); i++ {
			sender.Publish("counter", []byte(strconv.Itoa(i)), 1, true)
			rec.wait(t, "stream", func() bool { return len(rec.messages) >= i-100 }) // behind, but not without end
		}
	})
	rec.wait(t, "stream", func() bool { return len(rec.messages) > 20 })
	for range 20 {
		got, err := b.Retained(within(t), "counter")
		seen := rec.on("counter")
		if err != nil || len(got) != 1 {
			t.Fatalf("got %+v, %v", got, err)
		}
		value, _ := strconv.Atoi(string(got[0].Payload))
		newest, _ := strconv.Atoi(seen[len(seen)-1])
		// Everything before the fetched value was published earlier, so it must have been received already.
		if newest < value {
			t.Fatalf("retained value %d, and the stream is only at %d", value, newest)
		}
	}
	stop.Store(true)
	writer.Wait()
	seen := rec.on("counter")
	if !slices.IsSortedFunc(seen, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	}) {
		t.Error("the stream ran backwards")
	}
}

// Fetching for one caller sends nothing to anybody else.
func TestRetainedAddsNothingToTheStream(t *testing.T) {
	t.Parallel()
	bothVersions(t, testRetainedAddsNothingToTheStream)
}

func testRetainedAddsNothingToTheStream(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	retain(t, broker, 10)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	copies := 0
	if v == mqtt.V311 { // with MQTT 5 the stream is asked for without
		copies = 10
	}
	b.rec.wait(t, "retained copies of the subscription", func() bool { return len(b.rec.messages) == copies })
	for _, m := range b.rec.seen() {
		if !m.Retain {
			t.Errorf("%s: got Retain false", m.Topic)
		}
	}
	for range 5 {
		if _, err := b.Retained(within(t), "t/#"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.send("end", "x", 1); err != nil {
		t.Fatal(err)
	}
	b.rec.waitMessage(t, "end", "x")
	if got := len(b.rec.seen()); got != copies+1 {
		t.Errorf("messages: got %d, want %d", got, copies+1)
	}
}

// Where a broker does not let the gateway use its own topic, retained messages are fetched without a fence.
func TestRetainedWithoutAFence(t *testing.T) { bothVersions(t, testRetainedWithoutAFence) }

func testRetainedWithoutAFence(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	retain(t, broker, 200)
	proxy := brokertest.StartProxy(t, broker.Addr())
	proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if m, ok := brokertest.PublishOf(packet); ok && dir == brokertest.Down && strings.HasPrefix(m.Topic, "$gateway/") {
			return nil, brokertest.Swallow
		}
		return nil, brokertest.Pass
	})
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}, func(b *Bridge) {
		b.timing.fenceFirst, b.timing.fenceQuiet = 200*time.Millisecond, 100*time.Millisecond
	}).ready(t)
	waitControl(t, b)
	for range 3 {
		got, err := b.Retained(within(t), "#")
		if err != nil {
			t.Fatal(err)
		}
		complete(t, got, 200)
	}
	logs := b.logs.String()
	if strings.Count(logs, "grant its user read and write") != 1 || !strings.Contains(logs, "$gateway/#") {
		t.Errorf("the log does not say once what to grant:\n%s", logs)
	}
}

// A fence that is lost on its way to the subscriber link only is sent again.
func TestRetainedSendsAnotherFence(t *testing.T) { bothVersions(t, testRetainedSendsAnotherFence) }

func testRetainedSendsAnotherFence(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	retain(t, broker, 3)
	proxy := brokertest.StartProxy(t, broker.Addr())
	var seen atomic.Int32
	proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		m, ok := brokertest.PublishOf(packet)
		if ok && dir == brokertest.Down && strings.HasPrefix(m.Topic, "$gateway/") && seen.Add(1) == 1 {
			// The control link is the older one, so the broker serves it first; either copy may be the lost one.
			return nil, brokertest.Swallow
		}
		return nil, brokertest.Pass
	})
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}, func(b *Bridge) {
		b.timing.fenceFirst, b.timing.fenceQuiet, b.timing.fenceAgain = 200*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	}).ready(t)
	waitControl(t, b)
	got, err := b.Retained(within(t), "#")
	if err != nil {
		t.Fatal(err)
	}
	complete(t, got, 3)
}

func TestRetainedEndsWithItsContextAndItsLinks(t *testing.T) {
	t.Parallel()
	bothVersions(t, testRetainedEndsWithItsContextAndItsLinks)
}

func testRetainedEndsWithItsContextAndItsLinks(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	proxy.Stall(true, true)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Retained(ctx, "a")
	wantErr(t, "ctx", err, context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() {
		_, err := b.Retained(within(t), "b")
		done <- err
	}()
	eventually(t, "request queued or running", func() bool {
		b.fetch.mu.Lock()
		defer b.fetch.mu.Unlock()
		return len(b.fetch.queue) > 0
	})
	proxy.Cut()
	proxy.Heal()
	wantErr(t, "cut", <-done, ErrNoConnection)
	eventually(t, "fetching again", func() bool { _, err := b.Retained(within(t), "b"); return err == nil })
	for _, filter := range []string{"$gateway/#", "a+", ""} {
		_, err := b.Retained(within(t), filter)
		wantErr(t, fmt.Sprintf("%q", filter), err, ErrInvalid)
	}
}

func TestRetainedRefusedByTheBroker(t *testing.T) { bothVersions(t, testRetainedRefusedByTheBroker) }

func testRetainedRefusedByTheBroker(t *testing.T, v mqtt.Version) {
	broker := brokertest.StartFake(t, granting(map[string]bool{"secret": true}))
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	_, err := b.Retained(within(t), "secret")
	wantErr(t, "refused", err, ErrRefused)
}
