package mqtt

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// A broker may send a message once for each of the filters that it matches.
func TestOverlappingFiltersWithIdentifiersGiveAMessageOnce(t *testing.T) {
	broker := brokertest.Start(t)
	for qos := range byte(3) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			rec := newRecorder()
			c := dial(t, broker.URL(), V5, func(c *Config) { c.Handler = rec })
			for i, f := range []string{"a/+", "+/b", "a/#", "#"} {
				if _, err := c.Subscribe(within(t), []Filter{{Filter: f, QoS: qos, Identifier: uint32(i)}}); err != nil {
					t.Fatal(err)
				}
			}
			sent := []string{"1", "1", "1", "2", "1", "", "", "3"}
			for _, p := range sent {
				if _, err := outcome(t, c, Message{Topic: "a/b", Payload: []byte(p), QoS: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := outcome(t, c, Message{Topic: "end", QoS: 1}); err != nil {
				t.Fatal(err)
			}
			got := rec.wait(t, "the end", func() bool { n := len(rec.messages); return n > 0 && rec.messages[n-1].Topic == "end" })
			var payloads []string
			for _, m := range got[:len(got)-1] {
				payloads = append(payloads, string(m.Payload))
			}
			if fmt.Sprint(payloads) != fmt.Sprint(sent) {
				t.Errorf("got %q, want %q", payloads, sent)
			}
		})
	}
}

// Whatever is published, and however subscriptions come and go in between, each
// message is handed over once.
func TestCopiesAreToldFromEqualMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l latest
		subscribed := []uint32{0}
		for i := range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "change") == 0 { // a SUBACK or an UNSUBACK stands in between
				subscribed = rapid.SliceOfNDistinct(rapid.Uint32Range(0, 5), 1, 4, rapid.ID).Draw(t, "subscribed")
				l.forget()
			}
			m := Message{Topic: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "topic"), Payload: []byte(rapid.SampledFrom([]string{"", "1"}).Draw(t, "payload"))}
			handed := 0
			for ids := subscribed; len(ids) > 0; {
				n := 1 // of the subscriptions, in one packet
				if ids[0] > 0 {
					n = rapid.IntRange(1, len(ids)).Draw(t, "together")
				}
				if !l.copied(m, ids[:n]) {
					handed++
				}
				ids = ids[n:]
			}
			if handed != 1 {
				t.Fatalf("message %d was handed over %d times", i, handed)
			}
		}
	})
}
