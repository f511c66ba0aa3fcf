package devicecom

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// The documented use: no arguments, settings.ini in the working directory.
func TestConnectBrokerReadsTheWorkingDirectory(t *testing.T) {
	b := startBroker(t)
	publish(t, brokertest.Dial(t, b.Addr()), "room/1/light", 0, true)
	host, port, _ := strings.Cut(b.Addr(), ":")
	t.Chdir(t.TempDir())
	write(t, "settings.ini", "[system]\nip_address = "+host+"\nmqtt_port = "+port+"\n")
	vals, err := ConnectBroker()
	if err != nil {
		t.Fatal(err)
	}
	defer vals.Close()
	v, err := vals.Next(within(t))
	if err != nil || v != 0 {
		t.Fatalf("Next: got %T %v, %v, want the int 0", v, v, err)
	}
}

func TestNextGivesValuesInOrder(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	c := brokertest.Dial(t, b.Addr())
	want := []any{0, 21.5, "on", []byte{0xff}, nil, map[string]any{"t": 21}}
	for _, payload := range []string{"0", "21.5", "on", "\xff", "null", `{"t":21.0}`} {
		publish(t, c, "a/b", payload, false)
	}
	for i, want := range want {
		if got, err := vals.Next(within(t)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("value %d: got %T %v, %v, want %v", i, got, got, err, want)
		}
	}
}

func TestAllGivesWholeMessages(t *testing.T) {
	b := startBroker(t)
	c := brokertest.Dial(t, b.Addr())
	publish(t, c, "kept", "1", true)
	vals := connect(t, b.Addr(), Options{})
	publish(t, c, "a/é", `"x"`, true) // live, so not as a retained one
	want := []Message{
		{Topic: "kept", Value: 1, Payload: []byte("1"), Retained: true},
		{Topic: "a/é", Value: "x", Payload: []byte(`"x"`)},
	}
	var got []Message
	for m := range vals.All(within(t)) {
		if got = append(got, m); len(got) == len(want) {
			break
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLatestIsTheNewestAndTakesNothing(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	if m, ok := vals.Latest(); ok {
		t.Fatalf("before the first message: got %+v, want none", m)
	}
	c := brokertest.Dial(t, b.Addr())
	publish(t, c, "a", 1, false)
	publish(t, c, "b", 2, false)
	for _, want := range []any{1, 2} {
		if got, err := vals.Next(within(t)); err != nil || got != want {
			t.Fatalf("Next: got %v, %v, want %v", got, err, want)
		}
	}
	for range 2 {
		if m, ok := vals.Latest(); !ok || m.Topic != "b" || m.Value != 2 {
			t.Errorf("Latest: got %+v, %v, want 2 on b", m, ok)
		}
	}
}

func TestOnMessageSeesAllFromTheFirst(t *testing.T) {
	b := startBroker(t)
	c := brokertest.Dial(t, b.Addr())
	publish(t, c, "n", 0, true)
	vals := connect(t, b.Addr(), Options{})
	if got := next(t, vals); got.Value != 0 { // it came before OnMessage
		t.Fatalf("got %+v, want 0", got)
	}
	seen := make(chan Message, 100)
	vals.OnMessage(func(m Message) { seen <- m })
	for i := range 20 {
		publish(t, c, "n", i+1, false)
	}
	for want := range 21 {
		if got := await(t, seen); got.Value != want || got.Topic != "n" {
			t.Fatalf("got %+v, want %d", got, want)
		}
	}
	// Next has them too.
	for want := range 20 {
		if got, err := vals.Next(within(t)); err != nil || got != want+1 {
			t.Fatalf("Next: got %v, %v, want %d", got, err, want+1)
		}
	}
}

func TestOnMessageMayPublish(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("answer", 1)
	failed := make(chan error, 10)
	vals.OnMessage(func(m Message) {
		if n, ok := m.Value.(int); ok && m.Topic == "question" {
			if err := vals.Publish(context.Background(), "answer", n*2); err != nil {
				failed <- err
			}
		}
	})
	publish(t, c, "question", 21, false)
	if m := c.WaitCount(1, patience)[0]; string(m.Payload) != "42" {
		t.Errorf("got %s, want 42", m.Payload)
	}
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
}

// A function that does not return holds up neither Next nor the confirmations
// that Publish waits for.
func TestOnMessageDoesNotBlockTheReader(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	inside, release := make(chan struct{}), make(chan struct{})
	vals.OnMessage(func(m Message) {
		inside <- struct{}{}
		<-release
	})
	defer close(release)
	c := brokertest.Dial(t, b.Addr())
	publish(t, c, "n", 0, false)
	await(t, inside)
	for i := range 100 {
		if err := vals.Publish(within(t), "n", i+1); err != nil {
			t.Fatal(err)
		}
	}
	for want := range 101 {
		if got, err := vals.Next(within(t)); err != nil || got != want {
			t.Fatalf("Next: got %v, %v, want %d", got, err, want)
		}
	}
	vals.OnMessage(nil)
}

func TestLaterOnMessageReplacesTheFunction(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	first, second := make(chan Message, 10), make(chan Message, 10)
	vals.OnMessage(func(m Message) { first <- m })
	c := brokertest.Dial(t, b.Addr())
	publish(t, c, "n", 1, false)
	await(t, first)
	vals.OnMessage(func(m Message) { second <- m })
	publish(t, c, "n", 2, false)
	if m := await(t, second); m.Value != 2 {
		t.Errorf("got %+v, want 2", m)
	}
	if len(first) != 0 {
		t.Error("the first function was called again")
	}
}

// What waits is bounded, the newest is kept, and what gave way is counted.
func TestWaitingMessagesAreBounded(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{QueueMessages: 10})
	c := brokertest.Dial(t, b.Addr())
	for i := range 100 {
		publish(t, c, "n", i, false)
	}
	until(t, "90 dropped", func() bool { return vals.Drops().Next == 90 && vals.Drops().OnMessage == 90 })
	for want := 90; want < 100; want++ {
		if got, err := vals.Next(within(t)); err != nil || got != want {
			t.Fatalf("Next: got %v, %v, want %d", got, err, want)
		}
	}
	if got, want := vals.Drops(), (Drops{Next: 90, OnMessage: 90}); got != want {
		t.Errorf("Drops: got %+v, want %+v", got, want)
	}
	if m, ok := vals.Latest(); !ok || m.Value != 99 {
		t.Errorf("Latest: got %+v, %v, want 99", m, ok)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	q := newQueue(1000, 10_000)
	for i := range 100 {
		q.push(&entry{topic: "t", payload: make([]byte, 1000), retained: i == 99})
		if q.bytes > 10_000 || len(q.entries) > 8 {
			t.Fatalf("after %d: got %d entries, %d bytes; want at most 8 and 10000", i, len(q.entries), q.bytes)
		}
	}
	q.push(&entry{topic: "t", payload: make([]byte, 50_000)})
	if len(q.entries) != 1 || q.dropped != 100 {
		t.Errorf("got %d entries and %d dropped, want the newest alone and 100", len(q.entries), q.dropped)
	}
	if q.take(); q.bytes != 0 || q.take() != nil {
		t.Errorf("emptied: got %d bytes, want 0", q.bytes)
	}
}

// Each message goes to one of those who wait, and everyone who can be served is.
func TestSeveralCallersShareTheMessages(t *testing.T) {
	q := newQueue(1000, 1<<20)
	const callers, each = 8, 100
	got := make(chan string, callers*each)
	for range callers {
		go func() {
			for range each {
				e, err := q.pop(t.Context(), nil)
				if err != nil {
					return
				}
				got <- e.topic
			}
		}()
	}
	seen := map[string]bool{}
	for i := range callers * each {
		q.push(&entry{topic: fmt.Sprint(i)})
	}
	for range callers * each {
		seen[await(t, got)] = true
	}
	if len(seen) != callers*each {
		t.Errorf("got %d different messages, want %d", len(seen), callers*each)
	}
}

// Two messages, of which only the first wakes somebody: the second is not left
// lying while others wait.
func TestOneWakesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(10, 1<<20)
		got := make(chan string, 2)
		for range 2 {
			go func() {
				if e, err := q.pop(t.Context(), nil); err == nil {
					got <- e.topic
				}
			}()
		}
		synctest.Wait() // both wait
		q.mu.Lock()
		q.entries = append(q.entries, &entry{topic: "a"}, &entry{topic: "b"})
		q.signal()
		q.mu.Unlock()
		synctest.Wait()
		if len(got) != 2 {
			t.Errorf("got %d served, want both", len(got))
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := vals.Next(ctx)
		ended <- err
	}()
	cancel()
	if err := await(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context canceled", err)
	}
	for m := range vals.All(ctx) {
		t.Errorf("All with an ended context: got %+v", m)
	}
}

func TestCloseEndsEverybodyWhoWaits(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	ended := make(chan error)
	go func() {
		_, err := vals.Next(context.Background())
		ended <- err
	}()
	go func() {
		for range vals.All(context.Background()) {
			t.Error("a message came")
		}
		ended <- ErrClosed
	}()
	for range 2 {
		if err := vals.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := await(t, ended); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
	if err := vals.Publish(t.Context(), "a", 1); !errors.Is(err, ErrClosed) {
		t.Errorf("Publish: got %v, want ErrClosed", err)
	}
	vals.OnMessage(func(Message) { t.Error("called after Close") })
	if vals.Connected() {
		t.Error("Connected after Close")
	}
}

// What waits is not lost by Close, and the function of OnMessage is not called
// any more when Close has returned.
func TestCloseStopsCallsAndKeepsWhatWaits(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{})
	c := brokertest.Dial(t, b.Addr())
	calls := make(chan int, 1000)
	vals.OnMessage(func(m Message) { calls <- m.Value.(int) })
	for i := range 100 {
		publish(t, c, "n", i, false)
	}
	until(t, "all there", func() bool { m, _ := vals.Latest(); return m.Value == 99 })
	_ = vals.Close()
	n := len(calls)
	if got, err := vals.Next(t.Context()); err != nil || got != 0 {
		t.Errorf("Next: got %v, %v, want 0", got, err)
	}
	if len(calls) != n {
		t.Errorf("%d calls after Close", len(calls)-n)
	}
}

func TestCloseWithinOnMessageReturns(t *testing.T) {
	b := startBroker(t)
	short := usual
	short.close = 50 * time.Millisecond
	vals := connect(t, b.Addr(), Options{timing: short})
	closed := make(chan error)
	vals.OnMessage(func(Message) { closed <- vals.Close() })
	publish(t, brokertest.Dial(t, b.Addr()), "n", 0, false)
	if err := await(t, closed); err != nil {
		t.Error(err)
	}
}

func TestFiltersNarrowTheSubscription(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{Filters: []string{"a/+", "b/#"}})
	c := brokertest.Dial(t, b.Addr())
	for _, topic := range []string{"c", "a/1/x", "a/1", "b/1/x"} {
		publish(t, c, topic, topic, false)
	}
	for _, want := range []string{"a/1", "b/1/x"} {
		if got := next(t, vals); got.Topic != want {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
}
