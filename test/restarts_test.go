package test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// poster posts numbers to one topic, one after the other, and notes which
// were answered 200.
type poster struct {
	topic  string
	client *http.Client
	acked  []int
}

// run posts until stop is set. A number that was certainly not sent is sent
// again; one with an unknown outcome is not.
func (p *poster) run(g *gateway, stop *atomic.Bool, acked *atomic.Int64) error {
	for i := 0; !stop.Load(); {
		body := fmt.Sprintf(`{"topic":%q,"payload":%d}`, p.topic, i)
		res, err := p.client.Post(g.url+"/publish", "application/json", strings.NewReader(body))
		if err != nil {
			return err
		}
		answer, _ := io.ReadAll(res.Body)
		res.Body.Close()
		switch res.StatusCode {
		case http.StatusOK:
			p.acked = append(p.acked, i)
			acked.Add(1)
			i++
		case http.StatusGatewayTimeout:
			i++
		case http.StatusServiceUnavailable:
			<-time.After(5 * time.Millisecond) // the pause between two attempts
		default:
			return errors.New(string(answer))
		}
	}
	return nil
}

// What was answered 200 has arrived, in order, though the broker was restarted
// twenty times meanwhile.
func TestPublishedMeansReceivedOverRestarts(t *testing.T) {
	t.Parallel()
	const publishers, restarts = 8, 20
	broker := brokertest.Start(t, brokertest.Persistent())
	oracle := brokertest.Dial(t, broker.Addr(), brokertest.ClientID("oracle"), brokertest.PersistentSession(), brokertest.AutoReconnect())
	oracle.Subscribe("load/#", 1)
	g := startReady(t, broker.URL(), nil)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: publishers}}
	t.Cleanup(client.CloseIdleConnections)

	var stop atomic.Bool
	var acked atomic.Int64
	var load sync.WaitGroup
	all := make([]*poster, publishers)
	for n := range all {
		all[n] = &poster{topic: "load/" + strconv.Itoa(n), client: client}
		load.Go(func() {
			if err := all[n].run(g, &stop, &acked); err != nil {
				t.Errorf("publisher %d: %v", n, err)
			}
		})
	}
	for range restarts {
		n := acked.Load()
		eventually(t, "publishes are acknowledged", func() bool { return acked.Load() > n+100 })
		broker.Restart()
	}
	g.waitReady(200)
	n := acked.Load()
	eventually(t, "publishes are acknowledged at the end", func() bool { return acked.Load() > n+100 })
	stop.Store(true)
	load.Wait()

	missing := ""
	defer func() {
		if missing != "" {
			t.Errorf("%s was answered 200 and did not arrive", missing)
		}
	}()
	eventually(t, "all that was answered 200 is received", func() bool {
		missing = notReceived(all, oracle.Received())
		return missing == ""
	})
	checkOrder(t, oracle.Received())
	t.Logf("%d acknowledged, %v reconnects", acked.Load(), g.metric("gateway_broker_reconnects_total"))
}

// notReceived names a message that was answered 200 and is not among received.
func notReceived(all []*poster, received []brokertest.Message) string {
	seen := map[string]bool{}
	for _, m := range received {
		seen[m.Topic+" "+string(m.Payload)] = true
	}
	for _, p := range all {
		for _, i := range p.acked {
			if key := p.topic + " " + strconv.Itoa(i); !seen[key] {
				return key
			}
		}
	}
	return ""
}

// checkOrder checks that what arrives for the first time never goes back.
func checkOrder(t *testing.T, received []brokertest.Message) {
	t.Helper()
	newest, seen := map[string]int{}, map[string]bool{}
	for _, m := range received {
		key := m.Topic + " " + string(m.Payload)
		if seen[key] {
			continue // delivered again, as QoS 1 may
		}
		seen[key] = true
		n, err := strconv.Atoi(string(m.Payload))
		if err != nil {
			t.Fatalf("got payload %q", m.Payload)
		}
		if last, ok := newest[m.Topic]; ok && n < last {
			t.Errorf("%s: %d came after %d", m.Topic, n, last)
		}
		newest[m.Topic] = n
	}
}
