package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestPersistentSessionReceivesWhatWasPublishedWhileAway(t *testing.T) {
	b := Start(t)
	away := Dial(t, b.Addr(), ClientID("away"), PersistentSession())
	away.Subscribe("a/+", 1)
	away.Drop()
	p := Dial(t, b.Addr())
	for i := range 3000 {
		if err := p.Publish("a/"+strconv.Itoa(i%7), []byte(strconv.Itoa(i)), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := away.Reconnect(); err != nil {
		t.Fatal(err)
	}
	if !away.SessionPresent() {
		t.Fatal("session present: got false, want true")
	}
	for i, m := range away.WaitCount(3000, 10*time.Second) {
		if string(m.Payload) != strconv.Itoa(i) {
			t.Fatalf("message %d: got %s", i, m.Payload)
		}
	}
}

func TestPublishQoS2ArrivesOnce(t *testing.T) {
	b := Start(t)
	s, p := Dial(t, b.Addr()), Dial(t, b.Addr())
	s.Subscribe("q", 2)
	for i := range 50 {
		if err := p.Publish("q", []byte{byte(i)}, 2, false); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range s.WaitCount(50, 5*time.Second) {
		if m.QoS != 2 || m.Payload[0] != byte(i) {
			t.Fatalf("message %d: got %+v", i, m)
		}
	}
}

func TestPublishAsyncFromManyGoroutines(t *testing.T) {
	const publishers, each = 8, 5000
	b := Start(t)
	s, p := Dial(t, b.Addr()), Dial(t, b.Addr())
	s.Subscribe("#", 1)
	var wg sync.WaitGroup
	start := time.Now()
	for n := range publishers {
		wg.Go(func() {
			var last <-chan error
			for i := range each {
				last = p.PublishAsync(fmt.Sprintf("t/%d", n), []byte(strconv.Itoa(i)), 1, false)
			}
			if err := <-last; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	for _, m := range s.WaitCount(publishers*each, 30*time.Second) {
		if got, _ := strconv.Atoi(string(m.Payload)); got != next[m.Topic] {
			t.Fatalf("%s: got %d, want %d", m.Topic, got, next[m.Topic])
		}
		next[m.Topic]++
	}
	t.Logf("%d messages in %v", publishers*each, time.Since(start))
}

func TestNextWaitAndForget(t *testing.T) {
	b := Start(t)
	c := Dial(t, b.Addr())
	c.Subscribe("n/#", 0)
	for _, topic := range []string{"n/1", "n/2", "n/3"} {
		if err := c.Publish(topic, nil, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, want := range []string{"n/1", "n/2"} {
		if m, err := c.Next(ctx); err != nil || m.Topic != want {
			t.Fatalf("Next: got %q, %v; want %q", m.Topic, err, want)
		}
	}
	c.Wait(5*time.Second, func(m Message) bool { return m.Topic == "n/3" })
	c.Forget()
	if n := len(c.Received()); n != 0 {
		t.Fatalf("after Forget: got %d messages, want 0", n)
	}
	cancel()
	if _, err := c.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next after cancel: got %v", err)
	}
}

func TestUnsubscribeEndsDelivery(t *testing.T) {
	b := Start(t)
	c := Dial(t, b.Addr())
	c.Subscribe("u", 1)
	c.Subscribe("end", 1)
	if err := c.Unsubscribe("u"); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"u", "end"} {
		if err := c.Publish(topic, nil, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	c.Wait(5*time.Second, func(m Message) bool { return m.Topic == "end" })
	if n := c.Count(); n != 1 {
		t.Fatalf("got %d messages, want 1: %+v", n, c.Received())
	}
}

func TestNoAcksGetsTheMessageAgain(t *testing.T) {
	b := Start(t)
	c := Dial(t, b.Addr(), ClientID("noack"), PersistentSession(), NoAcks())
	c.Subscribe("x", 1)
	if err := Dial(t, b.Addr()).Publish("x", []byte("1"), 1, false); err != nil {
		t.Fatal(err)
	}
	c.WaitCount(1, 5*time.Second)
	if err := c.Reconnect(); err != nil {
		t.Fatal(err)
	}
	if m := c.WaitCount(2, 5*time.Second)[1]; !m.Dup {
		t.Fatalf("got %+v, want the duplicate flag", m)
	}
}

func TestAutoReconnectSubscribesAgain(t *testing.T) {
	b := Start(t)
	c := Dial(t, b.Addr(), AutoReconnect())
	c.Subscribe("a", 1)
	b.Kill()
	b.StartAgain()
	b.WaitLogCount(" a\n", 2) // the broker logs each subscription
	if err := Dial(t, b.Addr()).Publish("a", nil, 1, false); err != nil {
		t.Fatal(err)
	}
	c.WaitCount(1, 5*time.Second)
}

func TestRefusedConnectTellsTheCode(t *testing.T) {
	b := Start(t, Set("allow_anonymous", "false"))
	if _, err := TryDial(t, b.Addr(), Credentials("u", "p")); err != ConnackError(5) {
		t.Fatalf("got %v, want CONNACK 5", err)
	}
}

func TestWorksWithMosquittoClients(t *testing.T) {
	b := Start(t)
	port := strconv.Itoa(b.Port())
	sub := exec.CommandContext(t.Context(), "mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-t", "to/tool", "-q", "1", "-C", "1")
	var out bytes.Buffer
	sub.Stdout = &out
	if err := sub.Start(); err != nil {
		t.Fatalf("%v: run scripts/test-deps.sh", err)
	}
	b.WaitLog(" to/tool\n")
	c := Dial(t, b.Addr())
	if err := c.Publish("to/tool", []byte("grüße"), 1, false); err != nil {
		t.Fatal(err)
	}
	if err := sub.Wait(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "grüße\n" {
		t.Fatalf("mosquitto_sub: got %q, want %q", out.String(), "grüße\n")
	}
	c.Subscribe("from/tool", 2)
	pub := exec.CommandContext(t.Context(), "mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-t", "from/tool", "-q", "2", "-m", "hello")
	if text, err := pub.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, text)
	}
	if m := c.WaitCount(1, 5*time.Second)[0]; string(m.Payload) != "hello" || m.QoS != 2 {
		t.Fatalf("got %+v", m)
	}
}

func BenchmarkClientReceive(b *testing.B) {
	broker := Start(b)
	s, p := Dial(b, broker.Addr()), Dial(b, broker.Addr())
	s.Subscribe("b", 0)
	payload := make([]byte, 100)
	b.ResetTimer()
	for i := range b.N {
		p.PublishAsync("b", payload, 1, false)
		if i%1000 == 999 {
			s.WaitCount(i-500, time.Minute)
		}
	}
	s.WaitCount(b.N, time.Minute)
}
