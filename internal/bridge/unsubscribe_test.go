package bridge

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// What the broker does not unsubscribe stays in force: it covers what is wanted next, and the broker is not asked again
// before there is another link.
func TestWhatIsNotUnsubscribedStaysInForce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := map[string]int{} // "+" and "-" with a filter
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		c.Serve(func(kind, _ byte, body []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			switch kind {
			case brokertest.SUBSCRIBE:
				filters, _ := c.Filters(body)
				for _, f := range filters {
					asked["+"+f]++
				}
			case brokertest.UNSUBSCRIBE:
				for rest := body[3:]; len(rest) > 2; rest = rest[2+int(rest[1]):] {
					asked["-"+string(rest[2:2+int(rest[1])])]++
				}
				c.Write([]byte{0xb0, 4, body[0], body[1], 0, 0x87})
				return true
			}
			return false
		})
	})
	b := launch(t, broker.URL(), Config{Version: mqtt.V5, Pool: 1}).ready(t)
	want := func(f string) {
		t.Helper()
		if err := b.Want(within(t), f); err != nil {
			t.Error(err)
		}
	}
	count := func(what string) int {
		mu.Lock()
		defer mu.Unlock()
		return asked[what]
	}
	want("a/#")
	b.Release("a/#")
	eventually(t, "it is said", func() bool { return strings.Contains(b.logs.String(), "does not end subscriptions") })
	want("a/b")
	want("a/#")
	b.Release("a/b")
	b.Release("a/#")
	want("c")
	settled(t, b)
	if got := subscribed(b); !slices.Equal(got, []string{"a/#", "c"}) {
		t.Errorf("subscribed: got %q", got)
	}
	if plus, minus, other := count("+a/#"), count("-a/#"), count("+a/b"); plus != 1 || minus != 1 || other != 0 {
		t.Errorf("got %d SUBSCRIBE and %d UNSUBSCRIBE of a/#, and %d SUBSCRIBE of a/b; want 1, 1 and none", plus, minus, other)
	}
	if n := strings.Count(b.logs.String(), "does not end subscriptions"); n != 1 {
		t.Errorf("it is said %d times, want once", n)
	}
}

// A control link that the broker keeps sending to what a fetch has asked for is replaced.
func TestFetchThatIsNotUnsubscribedEndsItsLink(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.UNSUBSCRIBE {
				return false
			}
			c.Write([]byte{0xb0, 4, body[0], body[1], 0, 0x80})
			return true
		})
	})
	b := launch(t, broker.URL(), Config{Version: mqtt.V5, Pool: 1}).ready(t)
	before := broker.Connections()
	if _, err := b.Retained(within(t), "a/b"); err != nil {
		t.Error(err)
	}
	eventually(t, "there is another control link", func() bool { return broker.Connections() > before })
	if got := b.Status(); !got.Publish || !got.Subscribe {
		t.Errorf("status: got %+v, want everything to work", got)
	}
}
