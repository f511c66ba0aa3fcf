package test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestGatewayStartsBeforeItsBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	broker.Stop()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": broker.URL(), "GATEWAY_MQTT_POOL": "2"})
	g.waitReady(503)
	isUnavailable(t, "before the broker", g.post(`{"topic":"a","payload":1}`))
	if _, h := g.health(); strings.Contains(fmt.Sprint(h), "127.0.0.1") {
		t.Errorf("/readyz tells the broker's address: %v", h)
	}
	ws := g.dial("")
	if f := ws.wait("broker", func(f frame) bool { return f.Type == "broker" }); f.Connected {
		t.Errorf("got %s, want connected false", f.raw)
	}
	if r := ws.subscribe("a").Results[0]; !r.OK {
		t.Errorf("subscribe before the broker: got %+v, want ok", r)
	}
	broker.StartAgain()
	g.waitReady(200)
	if a := g.post(`{"topic":"a","payload":2}`); a.status != 200 {
		t.Errorf("afterwards: got %d %s, want 200", a.status, a.body)
	}
	ws.waitMessages(1)
	if got := kinds(ws.all()); got != "broker:false ack broker:true message" {
		t.Errorf("got %s, want broker:false ack broker:true message", got)
	}
}

// Who subscribes while there is no broker gets the retained messages when it
// is there, and in between no live message twice.
func TestRetainedFollowsTheOutage(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t, brokertest.Persistent())
	if err := brokertest.Dial(t, broker.Addr()).Publish("kept", []byte("1"), 1, true); err != nil {
		t.Fatal(err)
	}
	broker.Stop()
	g := start(t, map[string]string{"GATEWAY_MQTT_URL": broker.URL()})
	ws := g.dial("")
	ws.subscribe("#")
	broker.StartAgain()
	raw := brokertest.Dial(t, broker.Addr())
	var stop atomic.Bool
	sent := make(chan int)
	go func() { // live messages all the time, so that some pass while the copies are fetched
		n := 0
		for ; !stop.Load() && raw.Publish("live", fmt.Append(nil, n), 1, false) == nil; n++ {
		}
		sent <- n
	}()
	kept := ws.wait("the retained message", func(f frame) bool { return f.Topic == "kept" })
	stop.Store(true)
	n := <-sent
	if !kept.Retain || kept.Cursor != "" {
		t.Errorf("got %s, want it with retain and without cursor", kept.raw)
	}
	ws.wait("the last live message", func(f frame) bool { return string(f.Payload) == fmt.Sprint(n-1) && f.Topic == "live" })
	ws.sync()
	seen := map[string]int{}
	for _, f := range ws.messages() {
		if seen[f.Topic+string(f.Payload)]++; seen[f.Topic+string(f.Payload)] > 1 {
			t.Fatalf("came twice: %s", f.raw)
		}
		if f.Topic == "live" && f.Cursor == "" {
			t.Fatalf("a live message without cursor: %s", f.raw)
		}
	}
}
