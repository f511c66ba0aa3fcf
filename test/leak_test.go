package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// heapInUse is what a gateway's process has in use after a collection, in bytes.
func (g *gateway) heapInUse() int64 {
	g.t.Helper()
	for range 3 { // finalizers and pools need more than one
		g.get(g.admin + "/debug/pprof/heap?gc=1")
	}
	return int64(g.metric("go_memstats_heap_alloc_bytes"))
}

// leak is something that a client does and that must leave nothing behind.
type leak struct {
	name string
	do   func(g *gateway) error
}

// leaks are every kind of stream, request and list, each on a connection of its
// own.
func leaks() []leak {
	all := []leak{
		{"WebSocket with a close frame", func(g *gateway) error { return g.briefSocket(true) }},
		{"WebSocket that is cut", func(g *gateway) error { return g.briefSocket(false) }},
	}
	for _, format := range []string{"sse", "ndjson", "text"} {
		all = append(all, leak{"event stream as " + format, func(g *gateway) error {
			return g.brief(request{method: "GET", path: "/events?topic=leak/%23&format=" + format}, false)
		}})
	}
	for name, r := range map[string]request{
		"publish": post("", `{"topic":"leak/a","payload":1}`), "refused publish": post("", `{"topic":"leak/+","payload":1}`),
		"batch":   {method: "POST", path: "/publish/batch", header: map[string]string{"Content-Type": "application/x-ndjson"}, body: `{"topic":"leak/a","payload":1}`},
		"request": {method: "POST", path: "/request/leak/a?reply=leak/a&timeout=1m", body: "1"},
		"value":   {method: "GET", path: "/topics/leak/a"}, "list": {method: "GET", path: "/topics?filter=leak/%23"}, "history": {method: "GET", path: "/history?filter=leak/%23"},
	} {
		all = append(all, leak{name, func(g *gateway) error { return g.brief(r, true) }})
	}
	return all
}

// brief makes a request on a connection of its own, reads the answer, or only
// its beginning, and hangs up.
func (g *gateway) brief(r request, whole bool) error {
	client := newClient(1)
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(r.method, g.url+r.path, strings.NewReader(r.body))
	if err != nil {
		return err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if whole {
		_, err = io.Copy(io.Discard, res.Body)
	}
	if res.StatusCode >= http.StatusInternalServerError {
		err = fmt.Errorf("status %s", res.Status)
	}
	return err
}

// briefSocket opens a WebSocket, waits until it is subscribed, and ends it with
// a close frame or without.
func (g *gateway) briefSocket(polite bool) error {
	subscribed := make(chan struct{})
	s, err := g.tryDialLean("?topic=leak/%23", func(frame []byte) {
		if strings.HasPrefix(string(frame), `{"type":"ack"`) {
			close(subscribed)
		}
	})
	if err != nil {
		return err
	}
	defer s.conn.Close()
	select {
	case <-subscribed:
	case <-s.done:
		return fmt.Errorf("code %d: %w", s.code, s.err)
	}
	if polite {
		s.leave()
	}
	return nil
}

// repeat does something many times, some at once, and waits until the gateway
// has seen the end of all.
func (g *gateway) repeat(l leak, times int) {
	g.t.Helper()
	var all sync.WaitGroup
	const atOnce = 8
	for range atOnce {
		all.Go(func() {
			for range times / atOnce {
				if err := l.do(g); err != nil {
					g.t.Errorf("%s: %v", l.name, err)
					return
				}
			}
		})
	}
	all.Wait()
	eventually(g.t, l.name+": all have ended", func() bool { return g.metric("gateway_subscriptions") == 0 })
}

// What has ended leaves nothing in memory, or a gateway that runs for months
// fills up: thousands of each kind of connection, and the heap is as before.
func TestWhatHasEndedLeavesNothing(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	network := brokertest.StartProxy(t, broker.Addr())
	const links = 66 // to the broker: 64 that publish, one that receives, one that controls
	_, g := launchReady(t, map[string]string{
		"GATEWAY_MQTT_URL": network.URL(), "GATEWAY_MQTT_POOL": fmt.Sprint(links - 2), "GATEWAY_PPROF": "true",
		"GATEWAY_HISTORY_BYTES": "0", "GATEWAY_LOG_LEVEL": "info",
	})
	times := sized(1000, 200)
	const slack = 400 << 10 // what pools, tables and the runtime may differ by
	check := func(name string, times int, round func()) {
		round() // pools and tables grow to their size
		before := g.heapInUse()
		round()
		round()
		if left := g.heapInUse() - before; left > slack {
			t.Errorf("%s: %d leave %d bytes, %d each, want none", name, 2*times, left, left/int64(2*times))
		}
	}
	for _, l := range leaks() {
		check(l.name, times, func() { g.repeat(l, times) })
	}
	cuts := max(times/links/2, 2)
	check("connection to the broker", cuts*links, func() {
		for range cuts {
			before := g.metric("gateway_broker_reconnects_total")
			network.Cut()
			eventually(t, "all links are made again", func() bool { return g.metric("gateway_broker_reconnects_total") >= before+links })
			g.waitReady(http.StatusOK)
		}
	})
}
