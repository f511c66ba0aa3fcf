package test

import (
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/spectest"
)

// The other examples of frames are what the gateway sends, too.
func TestFrameExamplesAreReal(t *testing.T) {
	t.Parallel()
	g := play(t)
	g.upstream.play([]hub.Inbound{{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1}}, nil)
	s := g.dialStrict(t, "?topic=pi/3/%23")
	got := map[string]bool{}
	note := func(name string) { got[spectest.Steady(t, s.expect(name))] = true }
	note("welcome")
	note("broker") // there is no connection yet
	note("ack")
	note("message")
	g.up(false)
	note("broker")
	g.battery()
	note("message")
	g.led()
	note("message")
	g.receive(hub.Inbound{Topic: "pi/3/frame", Payload: []byte("\xde\xad\xbe\xef")})
	note("message")
	g.receive(hub.Inbound{Topic: "pi/3/switch", Payload: []byte("ON"), QoS: 1})
	note("message")
	g.receive(hub.Inbound{Topic: "pi/3/imu", Payload: []byte("\x92\x01"), QoS: 1})
	note("message")
	g.receive(hub.Inbound{Topic: "pi/3/mode", Payload: []byte("eco"), QoS: 1, Properties: exampleProperties()})
	note("message")
	g.down()
	note("broker")
	g.up(true)
	note("gap")
	note("broker")
	g.overflow()
	note("gap")
	g.receive(hub.Inbound{Topic: "elsewhere", TooLarge: 1 << 20}) // of no concern
	g.receive(hub.Inbound{Topic: "pi/3/camera", TooLarge: 1 << 20})
	note("gap")
	s.send(`{"op":"jump","id":9}`)
	note("error")
	g.publisher.play(api.ErrNotSent, nil, false)
	s.send(`{"op":"publish","id":10,"topic":"a","payload":1}`)
	note("error")
	g.publisher.play(nil, nil, false)
	defer g.drain(t)()
	s.send(`{"op":"publish","id":16,"topic":"a","payload":1}`)
	note("error")
	for _, frame := range []map[string]any{slowGap(t), expiredGap(t), throttled(t), restartGap(t), snapshotEnd(t)} {
		got[spectest.Steady(t, frame)] = true
	}

	answered := map[string]bool{}
	for _, op := range ops {
		for _, e := range s.doc.FrameExamples(op) {
			answered[e.Name] = true
		}
	}
	for _, name := range []string{"welcome", "ack", "message", "gap", "broker", "error", "snapshot_end"} {
		for _, e := range s.doc.FrameExamples(name) {
			if !answered[e.Name] && !got[spectest.Steady(t, e.Value)] {
				t.Errorf("no frame was like the example %s of %s: %s", e.Name, name, spectest.Steady(t, e.Value))
			}
		}
	}
}

// expiredGap is what comes instead of messages that have left the history.
func expiredGap(t *testing.T) map[string]any {
	t.Helper()
	g := playWith(t, 1<<10, nil)
	g.up(false)
	for range 100 {
		g.battery()
	}
	s := g.dialStrict(t, "?topic=pi/3/battery&since="+epoch+"-12")
	s.expect("welcome")
	if ack := s.expect("ack"); ack["resumed"] != false {
		t.Errorf("got %v, want resumed false", ack)
	}
	return s.expect("gap")
}

// restartGap is for a cursor of another gateway.
func restartGap(t *testing.T) map[string]any {
	t.Helper()
	g := play(t)
	g.up(false)
	s := g.dialStrict(t, "?topic=a&since=h8w2c5v7n4xe-77")
	s.expect("welcome")
	s.expect("ack")
	return s.expect("gap")
}

// throttled is a message that stands for others.
func throttled(t *testing.T) map[string]any {
	t.Helper()
	g := play(t)
	g.up(false)
	s := g.dialStrict(t, "?topic=pi/3/battery&min_interval=1h")
	s.expect("welcome")
	s.expect("ack")
	for i := range 19 { // the first comes at once
		g.receive(hub.Inbound{Topic: "pi/3/battery", Payload: []byte([]string{"21.50", "21.75"}[min(i, 1)]), QoS: 1})
	}
	if m := s.expect("message"); m["skipped"] != nil {
		t.Errorf("got %v first, want nothing skipped", m)
	}
	g.overflow() // the gap must not overtake what is held back
	return s.expect("message")
}

// snapshotEnd is that of a subscription in the URL.
func snapshotEnd(t *testing.T) map[string]any {
	t.Helper()
	g := play(t)
	g.up(false)
	g.led()
	g.led()
	s := g.dialStrict(t, "?topic=pi/%23&snapshot=true")
	s.expect("welcome")
	s.expect("ack")
	if m := s.expect("message"); m["cursor"] != nil || m["retain"] != false {
		t.Errorf("got %v, want the newest message without cursor", m)
	}
	return s.expect("snapshot_end")
}

// slowGap is the last frame for a client that does not read.
func slowGap(t *testing.T) map[string]any {
	t.Helper()
	g := play(t)
	g.up(false)
	network := brokertest.StartProxy(t, g.host())
	through := *g.gateway
	through.at(network.Addr(), "")
	s := through.dialStrict(t, "?topic=%23&overflow=close")
	s.expect("welcome")
	s.expect("ack")
	network.Stall(true, true)
	payload := []byte(strings.Repeat("x", 1<<15))
	for n := 0; g.metric(`gateway_gaps_total{reason="slow_consumer"}`) == 0; n++ {
		if n > 500 { // far more than the sockets hold
			t.Fatal("a client that does not read is not cut off")
		}
		for range 20 {
			g.receive(hub.Inbound{Topic: "a", Payload: payload})
		}
	}
	network.Heal()
	for {
		if frame := s.next(); frame["type"] == "gap" {
			if code := s.closed(); code != 4008 {
				t.Errorf("got close code %d behind the gap, want 4008", code)
			}
			return frame
		}
	}
}
