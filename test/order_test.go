package test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// Publishes of one WebSocket that are sent without waiting for each other
// reach the broker, and subscribers, in order of their topic.
func TestPublishesInFlightKeepTheirOrder(t *testing.T) {
	t.Parallel()
	const topics, each = 4, 500
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("order/#", 1)
	g := startReady(t, broker.URL(), nil)
	reader, writer := g.dial("?topic=order/%23"), g.dial("")
	reader.wait("ack", func(f frame) bool { return f.Type == "ack" })
	for i := range topics * each {
		writer.send(fmt.Sprintf(`{"op":"publish","id":%d,"topic":"order/%d","payload":%d}`, i, i%topics, i/topics))
	}
	next := map[string]int{}
	for _, m := range oracle.WaitCount(topics*each, patience) {
		if got, want := string(m.Payload), strconv.Itoa(next[m.Topic]); got != want {
			t.Fatalf("MQTT, %s: got %s, want %s", m.Topic, got, want)
		}
		next[m.Topic]++
	}
	next = map[string]int{}
	for _, f := range reader.waitMessages(topics * each) {
		if got, want := string(f.Payload), strconv.Itoa(next[f.Topic]); got != want {
			t.Fatalf("WebSocket, %s: got %s, want %s", f.Topic, got, want)
		}
		next[f.Topic]++
	}
	writer.until("all outcomes", func(frames []frame) bool {
		return len(frames) > 0 && countPublished(frames) == topics*each
	})
}

func countPublished(frames []frame) int {
	n := 0
	for _, f := range frames {
		if f.Type == "published" && f.Status == 200 {
			n++
		}
	}
	return n
}
