package test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// stall opens a WebSocket that subscribes and then never reads.
func (g *gateway) stall(query string) net.Conn {
	g.t.Helper()
	addr := g.host()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		g.t.Fatalf("dial: %v", err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(c, "GET /ws%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", query, addr)
	return c
}

// What the kernel takes for a client that does not read is in no sum, and old by
// the time it is read: a few hundred KiB at most, not the megabytes that a send
// buffer may grow to.
func TestKernelTakesLittleForAStalledReader(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	g.stall("?topic=full/%23")
	eventually(t, "it is subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
	pub := brokertest.Dial(t, broker.Addr())
	payload := []byte(strings.Repeat("x", 16<<10))
	waits := func() bool { return g.metric("gateway_queued_bytes") > 64<<10 }
	published := 0
	for ; published < 8<<20 && !waits(); published += len(payload) {
		if err := pub.Publish("full/1", payload, 1, false); err != nil {
			t.Fatal(err)
		}
	}
	if most := 1 << 20; published > most {
		t.Errorf("the kernel took %d bytes before anything waited, want at most %d", published, most)
	}
}

// A thousand clients that never read do not slow the one that does, nor the
// publishers, and what is kept for them is bounded.
func TestStalledReadersHarmNobody(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{
		"GATEWAY_CLIENT_QUEUE_BYTES": "1048576", "GATEWAY_CLIENTS_QUEUE_BYTES": "33554432",
	})
	healthy := g.dial("?topic=flood/%23")
	readers := sized(1000, 300)
	for range readers {
		g.stall("?topic=flood/%23&overflow=close")
	}
	eventually(t, "all are subscribed", func() bool {
		return g.metric(`gateway_subscriptions`) == float64(readers+1)
	})
	pub := brokertest.Dial(t, broker.Addr())
	payload := []byte(strings.Repeat("x", 8000))
	cut := func() bool { return g.metric(`gateway_ws_closes_total{code="4008"}`) > 0 }
	messages := 0
	for i := 0; i < 400 || i%50 > 0 || i < 4000 && !cut(); i++ { // the kernel may take megabytes for each
		messages++
		if err := pub.Publish(fmt.Sprint("flood/", i), payload, 1, false); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			if a := g.post(`{"topic":"other","payload":"1"}`); a.status != 200 {
				t.Fatalf("publish beside stalled readers: %d %s", a.status, a.body)
			}
		}
		if i%50 > 0 {
			continue
		}
		// On top of the limit stands what each has under way, also those that are being ended.
		if q, most := g.metric("gateway_queued_bytes"), float64(2*33554432+readers*(96<<10)); q > most {
			t.Errorf("%v bytes are queued, want at most %v with a limit of 33554432", q, most)
		}
	}
	healthy.waitMessages(messages)
	for _, f := range healthy.all() {
		if f.Type == "gap" {
			t.Errorf("the healthy reader got a gap: %s", f.raw)
		}
	}
	eventually(t, "stalled readers are cut off", cut)
	if g.metric(`gateway_messages_dropped_total{reason="slow_consumer"}`) == 0 {
		t.Error("nothing was counted as dropped")
	}
}

// The last words of a client that is cut off: a gap with the last cursor, and
// close code 4008. It resumes from there without a loss.
func TestSlowReaderIsToldAndResumes(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_CLIENT_QUEUE_BYTES": "524288"})
	proxy := brokertest.StartProxy(t, g.host())
	direct := g.ws
	g.ws = "ws://" + proxy.Addr() + "/ws"
	slow := g.dial("?topic=flood/%23")
	g.ws = direct
	slow.wait("ack", func(f frame) bool { return f.Type == "ack" })
	proxy.Stall(true, true)
	pub := brokertest.Dial(t, broker.Addr())
	const messages = 3000
	payload := strings.Repeat("x", 8000)
	sent := make([]<-chan error, 0, messages)
	for i := range messages {
		sent = append(sent, pub.PublishAsync("flood/a", fmt.Appendf(nil, "%d %s", i, payload), 1, false))
	}
	for _, c := range sent {
		if err := <-c; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the slow one overflows", func() bool {
		return g.metric(`gateway_gaps_total{reason="slow_consumer"}`) == 1
	})
	proxy.Heal()
	if code := slow.closed(); code != 4008 {
		t.Fatalf("close code %d, want 4008", code)
	}
	frames := slow.all()
	gap := frames[len(frames)-1]
	if gap.Type != "gap" || gap.Reason != "slow_consumer" || !gap.Certain {
		t.Fatalf("the last frame is %.200s, want a gap", gap.raw)
	}
	got := slow.messages()
	if gap.After != got[len(got)-1].Cursor {
		t.Errorf("the gap is after %s, the last message was %s", gap.After, got[len(got)-1].Cursor)
	}
	back := g.dial("?topic=flood/%23&since=" + gap.After)
	rest := back.waitMessages(messages - len(got))
	if n := len(got) + len(rest); n != messages {
		t.Errorf("%d messages in all, want %d", n, messages)
	}
	if n, want := numberOf(rest[0]), numberOf(got[len(got)-1])+1; n != want {
		t.Errorf("resumed with message %d, want %d", n, want)
	}
}

func numberOf(f frame) (n int) {
	_, _ = fmt.Sscanf(strings.Trim(string(f.Payload), `"`), "%d", &n)
	return n
}

// flood publishes 20 000 messages with QoS 1 at once, from four publishers, and
// waits until the broker has acknowledged all.
func flood(t *testing.T, broker *brokertest.Broker) {
	t.Helper()
	var sent []<-chan error
	for p := range 4 {
		c := brokertest.Dial(t, broker.Addr(), brokertest.ClientID(fmt.Sprint("burst", p)))
		for i := range 5000 {
			sent = append(sent, c.PublishAsync(fmt.Sprint("burst/", p), fmt.Appendf(nil, "%d", i), 1, false))
		}
	}
	for _, c := range sent {
		if err := <-c; err != nil {
			t.Fatal(err)
		}
	}
}

// With the bare documented configuration and a subscription at QoS 1 mosquitto
// drops what a burst queues beyond its limit. That is told to every client, counted, and logged once.
func TestBrokerOverflowIsTold(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, brokertest.Bare(), brokertest.Conf("sys_interval 1"))
	proxy := brokertest.StartProxy(t, broker.Addr())
	g := startReady(t, proxy.URL(), map[string]string{"GATEWAY_MQTT_SUBSCRIBE_QOS": "1"})
	s := g.dial("?topic=burst/%23")
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	proxy.Slow(200_000) // the way to the gateway is slower than the publishers
	flood(t, broker)
	proxy.Heal()
	gap := s.wait("a gap", func(f frame) bool { return f.Type == "gap" })
	if gap.Reason != "broker_overflow" {
		t.Errorf("got %s, want broker_overflow", gap.raw)
	}
	if n := len(s.messages()); n >= 20_000 {
		t.Errorf("%d messages arrived, so nothing was lost and the test proves nothing", n)
	}
	if g.metric(`gateway_gaps_total{reason="broker_overflow"}`) == 0 {
		t.Error("the gap is not counted")
	}
	if n := strings.Count(g.logged(), "dropped messages"); n != 1 {
		t.Errorf("the loss is logged %d times, want once: %s", n, tail(g.logged(), 2000))
	}
}

// With the shipped configuration the same burst arrives whole.
func TestShippedConfigurationLosesNothing(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, brokertest.ConfFile("../mosquitto/server_settings.conf"))
	g := startReady(t, broker.URL(), nil)
	s := g.dial("?topic=burst/%23")
	s.wait("ack", func(f frame) bool { return f.Type == "ack" })
	flood(t, broker)
	if n := len(s.waitMessages(20_000)); n != 20_000 {
		t.Errorf("got %d messages, want 20000", n)
	}
	for _, f := range s.all() {
		if f.Type == "gap" {
			t.Errorf("got a gap: %s", f.raw)
		}
	}
}
