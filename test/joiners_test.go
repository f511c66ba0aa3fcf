package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// joiner is a client that counts the retained copies it gets.
type joiner struct {
	*leanSocket
	seen   map[string]int
	wrong  string // the first frame that should not be there
	enough chan struct{}
}

func (g *gateway) join(filter string, want int) *joiner {
	g.t.Helper()
	j := &joiner{seen: map[string]int{}, enough: make(chan struct{})}
	j.leanSocket = g.dialLean("?topic="+strings.ReplaceAll(filter, "#", "%23"), func(frame []byte) {
		topic, _, ok := topicAndPayload(frame)
		if !ok {
			return
		}
		if s := string(frame); j.wrong == "" && (!strings.Contains(s, `"retain":true`) || strings.Contains(s, `"cursor"`)) {
			j.wrong = s
		}
		if j.seen[string(topic)]++; len(j.seen) == want {
			select {
			case <-j.enough:
			default:
				close(j.enough)
			}
		}
	})
	return j
}

// check waits until everything came, ends the connection and looks at it.
func (j *joiner) check(t *testing.T, name string, want int) {
	t.Helper()
	select {
	case <-j.enough:
	case <-j.done:
		t.Fatalf("%s: the connection ended with code %d: %v", name, j.code, j.err)
	case <-time.After(2 * patience):
		t.Fatalf("%s: timed out", name)
	}
	j.leave()
	j.ended(t)
	if len(j.seen) != want || j.wrong != "" {
		t.Errorf("%s: got %d topics, want %d; wrong: %s", name, len(j.seen), want, j.wrong)
	}
	for topic, n := range j.seen {
		if n != 1 {
			t.Fatalf("%s: got %s %d times, want once", name, topic, n)
		}
	}
}

func TestHundredJoinersGetAllRetainedOnce(t *testing.T) {
	t.Parallel()
	for _, watch := range watches {
		t.Run(watch.name, func(t *testing.T) {
			topics, joiners := 5000, sized(100, 20)
			broker := brokertest.Start(t)
			raw := brokertest.Dial(t, broker.Addr())
			var acks []<-chan error
			for i := range topics {
				acks = append(acks, raw.PublishAsync(fmt.Sprintf("shelf/%d/value", i), fmt.Append(nil, i), 1, true))
			}
			for _, ack := range acks {
				if err := <-ack; err != nil {
					t.Fatal(err)
				}
			}
			g := startReady(t, broker.URL(), map[string]string{"GATEWAY_WATCH": watch.value})
			before := g.dial("")
			before.subscribe("#")
			before.waitMessages(topics)
			var all []*joiner
			for range joiners {
				all = append(all, g.join("#", topics))
			}
			for i, j := range all {
				j.check(t, fmt.Sprint("joiner ", i), topics)
			}
			before.sync()
			if got := len(before.messages()); got != topics {
				t.Errorf("the client that was there before: got %d messages, want %d", got, topics)
			}
		})
	}
}
