package test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// series are the names and labels of all samples.
func (g *gateway) series() map[string]bool {
	g.t.Helper()
	all := map[string]bool{}
	for line := range strings.Lines(g.get(g.admin + "/metrics")) {
		if end := strings.LastIndexByte(line, ' '); end > 0 && line[0] != '#' {
			all[line[:end]] = true
		}
	}
	return all
}

func TestMetricsCountWhatHappened(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), map[string]string{"GATEWAY_MQTT_POOL": "1"})
	ws := g.dial("")
	ws.subscribe("a", "b")
	for _, qos := range []string{"0", "1", "1", "2"} {
		g.post(`{"topic":"a","payload":1,"qos":` + qos + `}`)
	}
	g.post(`{"topic":"a/+","payload":1}`)
	ws.send(`{"op":"publish","id":1,"topic":"other","payload":1}`)
	ws.wait("published", func(f frame) bool { return f.Type == "published" })
	ws.waitMessages(4)
	g.get(g.url + "/nowhere")
	leaving := g.dial("")
	_ = leaving.conn.Close(1000, "")
	eventually(t, "the end is counted", func() bool { return g.metric(`gateway_ws_closes_total{code="1000"}`) == 1 })
	eventually(t, "the broker's own figures are there", func() bool { return g.metric("broker_clients_connected") > 0 })
	want := map[string]float64{
		`gateway_publish_total{outcome="ok",qos="0",via="http"}`: 1, `gateway_publish_total{outcome="ok",qos="1",via="http"}`: 2,
		`gateway_publish_total{outcome="ok",qos="2",via="http"}`: 1, `gateway_publish_total{outcome="ok",qos="1",via="websocket"}`: 1,
		`gateway_publish_duration_seconds_count{qos="1"}`: 3,
		`gateway_messages_received_total`:                 5, `gateway_messages_delivered_total{transport="websocket"}`: 4,
		`gateway_subscribers{transport="websocket"}`: 1, `gateway_subscriptions`: 2, `gateway_upstream_filters`: 1,
		`gateway_broker_connected`: 1, `gateway_broker_reconnects_total`: 0, `gateway_publishes_in_flight`: 0,
		`gateway_http_requests_total{method="POST",route="/publish",status="200"}`: 3,
		`gateway_http_requests_total{method="POST",route="/publish",status="202"}`: 1,
		`gateway_http_requests_total{method="POST",route="/publish",status="422"}`: 1,
		`gateway_http_requests_total{method="GET",route="none",status="404"}`:      1,
		`gateway_http_requests_total{method="GET",route="/ws",status="101"}`:       2,
		`gateway_http_request_duration_seconds_count{route="/publish"}`:            5,
		`gateway_messages_dropped_total{reason="slow_consumer"}`:                   0,
		`gateway_messages_dropped_total{reason="oversize"}`:                        0,
	}
	for _, reason := range []string{"history_expired", "gateway_restarted", "broker_connection_lost", "slow_consumer", "broker_overflow", "too_large"} {
		want[`gateway_gaps_total{reason="`+reason+`"}`] = 0
	}
	for _, outcome := range []string{"not_sent", "overloaded", "unknown", "failed"} {
		want[`gateway_publish_total{outcome="`+outcome+`",qos="1",via="http"}`] = 0
	}
	all := g.series()
	for name, v := range want {
		if got := g.metric(name); !all[name] || got != v {
			t.Errorf("%s: got %v (there: %t), want %v", name, got, all[name], v)
		}
	}
	for _, name := range []string{"go_goroutines", "process_open_fds", "broker_messages_received_total"} {
		if !all[name] {
			t.Errorf("%s is missing", name)
		}
	}
	broker.Restart()
	ws.wait("connected again", func(f frame) bool { return f.Type == "broker" && f.Connected })
	if got := g.metric(`gateway_gaps_total{reason="broker_connection_lost"}`); got != 1 {
		t.Errorf("gaps after a restart: got %v, want 1", got)
	}
	eventually(t, "the reconnects are counted", func() bool { return g.metric("gateway_broker_reconnects_total") == 3 })
}

// Nobody can make the gateway remember more series by inventing names.
func TestInventedNamesAddNoSeries(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	t.Cleanup(client.CloseIdleConnections)
	do := func(method, path, body string) {
		req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
		if err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	all := func(n int) {
		name := func() string { return fmt.Sprintf("x%x", rand.Uint64()) }
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for range n / 8 / 10 {
					do("POST", "/publish", `{"topic":"`+name()+`/`+name()+`","payload":1,"qos":0}`)
					do("POST", "/publish", `{"topic":"`+name()+`/+","payload":1}`)
					do("POST", "/publish?"+name()+"=1", `{}`)
					do("GET", "/"+name(), "")
					do("GET", "/docs/"+name(), "")
					do("DELETE", "/publish/"+name(), "")
					do(strings.ToUpper(name()), "/publish", "")
					do(strings.ToUpper(name()), "/"+name(), "")
					do("GET", "/ws?topic="+name(), "")
					do("GET", "/%2e%2e/"+name()+"%2F", "")
				}
			})
		}
		workers.Wait()
	}
	ours := func() map[string]bool {
		s := g.series()
		maps.DeleteFunc(s, func(name string, _ bool) bool { return !strings.HasPrefix(name, "gateway_") })
		return s
	}
	all(80)
	g.series() // the first scrape counts the scraping, too
	before := ours()
	all(10_000)
	after := ours()
	maps.DeleteFunc(after, func(name string, _ bool) bool { return before[name] })
	if len(after) > 0 {
		t.Errorf("new series: %s", strings.Join(slices.Sorted(maps.Keys(after)), "\n"))
	}
}
