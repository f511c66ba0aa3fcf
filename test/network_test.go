package test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// A way to the broker that is slow and does not end: what there is no room for
// is refused at once, the rest arrives, once, over the same connections.
func TestSlowWayToTheBrokerLosesNothing(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	oracle := brokertest.Dial(t, broker.Addr())
	oracle.Subscribe("slow/#", 1)
	proxy := brokertest.StartProxy(t, broker.Addr())
	g := startReady(t, proxy.URL(), map[string]string{"GATEWAY_MQTT_POOL": "1"})
	client := newClient(0)
	t.Cleanup(client.CloseIdleConnections)
	reconnects := g.metric("gateway_broker_reconnects_total")
	proxy.Slow(2000)
	const publishes = 1500 // more than wait for one connection
	payload := strings.Repeat("x", 50)
	var all sync.WaitGroup
	var refused atomic.Int32
	var mu sync.Mutex
	var acked []string // guarded by mu
	for i := range publishes {
		all.Go(func() {
			name := fmt.Sprint("slow/", i)
			a, err := g.try(client, post("", fmt.Sprintf(`{"topic":%q,"payload":%q}`, name, payload)))
			switch {
			case err != nil:
				t.Error(err)
			case a.status == 503 && a.problem.Code == "overloaded" && a.header.Get("Retry-After") != "":
				refused.Add(1)
			case a.status == 200:
				mu.Lock()
				defer mu.Unlock()
				acked = append(acked, name)
			default:
				t.Errorf("got %d %s, want 200, or 503 overloaded with Retry-After", a.status, a.body)
			}
		})
	}
	eventually(t, "there is no more room", func() bool { return refused.Load() > 0 })
	proxy.Heal()
	all.Wait()
	g.post(`{"topic":"slow/end","payload":1}`)
	oracle.Wait(patience, func(m brokertest.Message) bool { return m.Topic == "slow/end" })
	var got []string
	for _, m := range oracle.Received() {
		if m.Topic != "slow/end" {
			got = append(got, m.Topic)
		}
	}
	slices.Sort(got)
	slices.Sort(acked)
	if !slices.Equal(got, acked) || len(acked)+int(refused.Load()) != publishes || len(acked) == 0 {
		t.Errorf("got %d messages, want those %d that were answered 200, each once; %d were refused", len(got), len(acked), refused.Load())
	}
	if n := g.metric("gateway_broker_reconnects_total"); n != reconnects {
		t.Errorf("got %v reconnects, want %v as before", n, reconnects)
	}
}

// Two gateways that were given one identity take each other's connections, and
// with them messages: the log names the cause, clients are told of losses, and
// all is well when one of them has ended.
func TestTwoGatewaysOfOneIdentity(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	env := map[string]string{"GATEWAY_MQTT_CLIENT_ID": "twin"}
	g := startReady(t, broker.URL(), env)
	l := startTraffic(t, broker.Addr(), 2, 5*time.Millisecond)
	s := g.dial("?topic=load/%23")
	s.waitMessages(20)
	twin := start(t, map[string]string{"GATEWAY_MQTT_URL": broker.URL(), "GATEWAY_MQTT_CLIENT_ID": "twin"})
	eventually(t, "a takeover is suspected", func() bool {
		return strings.Contains(g.logged()+twin.logged(), "possible_takeover")
	})
	twin.stopped(t)
	g.waitReady(200)
	n := len(s.messages())
	s.waitMessages(n + 20)
	l.stop()
	a := newAudit()
	a.follow(s, l)
	if a.gaps["broker_connection_lost"] == 0 {
		t.Errorf("got gaps %v, want one at least: the other gateway had messages", a.gaps)
	}
	if a := g.post(`{"topic":"x","payload":1}`); a.status != 200 {
		t.Errorf("afterwards: got %d %s, want 200", a.status, a.body)
	}
}
