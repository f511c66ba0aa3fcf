package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// A client whose link is cut a thousand times under load, and which resumes
// each time from the last cursor it saw, misses nothing and is told nothing.
func TestThousandCutsAreSeamless(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	l := startTraffic(t, broker.Addr(), 4, 2*time.Millisecond)
	a := newAudit()
	s := g.dial("?topic=load/%23")
	for range sized(1000, 300) {
		n := len(s.messages())
		s.until("a few messages", func([]frame) bool { return len(s.messages()) >= min(n+3, 3) })
		_ = s.conn.CloseNow()
		s.closed()
		a.read(s.all())
		s = g.dial("?topic=load/%23&since=" + a.cursor)
	}
	l.stop()
	a.follow(s, l)
	a.verdict(t, "the client")
	if len(a.gaps) > 0 || a.dups > 0 {
		t.Errorf("got gaps %v and %d repeats, want none", a.gaps, a.dups)
	}
}

// Whatever happens between gateway and broker while messages flow: clients
// that stay connected, and one that is away meanwhile and resumes, have
// everything or are told.
func TestBrokerFaultsAreTold(t *testing.T) {
	t.Parallel()
	faults := map[string]func(*brokertest.Broker, *brokertest.Proxy){
		"restart": func(b *brokertest.Broker, _ *brokertest.Proxy) { b.Restart() },
		"kill":    func(b *brokertest.Broker, _ *brokertest.Proxy) { b.Kill(); b.StartAgain() },
		"cut":     func(_ *brokertest.Broker, p *brokertest.Proxy) { p.Cut() },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.Start(t, brokertest.Persistent())
			proxy := brokertest.StartProxy(t, broker.Addr())
			g := startReady(t, proxy.URL(), nil)
			l := startTraffic(t, broker.Addr(), 4, 2*time.Millisecond)
			stays := g.dial("?topic=load/%23")
			away := g.dial("?topic=load/%23")
			away.waitMessages(20)
			_ = away.conn.CloseNow()
			away.closed()
			resumed := newAudit()
			resumed.read(away.all())
			for range 3 {
				n := len(stays.messages())
				gaps := g.metric(`gateway_gaps_total{reason="broker_connection_lost"}`)
				fault(broker, proxy)
				eventually(t, "the loss is told", func() bool {
					return g.metric(`gateway_gaps_total{reason="broker_connection_lost"}`) > gaps
				})
				stays.waitMessages(n + 20)
			}
			back := g.dial("?topic=load/%23&since=" + resumed.cursor)
			l.stop()
			for who, c := range map[string]struct {
				s *socket
				a *audit
			}{"who stayed": {stays, newAudit()}, "who resumed": {back, resumed}} {
				c.a.follow(c.s, l)
				c.a.verdict(t, name+": "+who)
				if c.a.gaps["broker_connection_lost"] != 3 {
					t.Errorf("%s: %s was told %v, want 3 losses", name, who, c.a.gaps)
				}
			}
		})
	}
}

// A broker that hangs, or a network that swallows everything or one way, is
// found out by the keep-alive; then it is told like any loss.
func TestSilentBrokerIsFoundOut(t *testing.T) {
	t.Parallel()
	faults := map[string][2]func(*brokertest.Broker, *brokertest.Proxy){
		"hangs":     {func(b *brokertest.Broker, _ *brokertest.Proxy) { b.Pause() }, func(b *brokertest.Broker, _ *brokertest.Proxy) { b.Continue() }},
		"blackhole": {func(_ *brokertest.Broker, p *brokertest.Proxy) { p.Stall(true, true) }, func(_ *brokertest.Broker, p *brokertest.Proxy) { p.Heal(); p.Cut() }},
		"one way":   {func(_ *brokertest.Broker, p *brokertest.Proxy) { p.Stall(false, true) }, func(_ *brokertest.Broker, p *brokertest.Proxy) { p.Heal(); p.Cut() }},
		"the other": {func(_ *brokertest.Broker, p *brokertest.Proxy) { p.Stall(true, false) }, func(_ *brokertest.Broker, p *brokertest.Proxy) { p.Heal(); p.Cut() }},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.Start(t, brokertest.Persistent())
			proxy := brokertest.StartProxy(t, broker.Addr())
			g := startReady(t, proxy.URL(), map[string]string{"GATEWAY_MQTT_KEEPALIVE": "5s"})
			l := startTraffic(t, broker.Addr(), 2, 5*time.Millisecond)
			s := g.dial("?topic=load/%23")
			s.waitMessages(10)
			f[0](broker, proxy)
			s.wait("broker down", func(f frame) bool { return f.Type == "broker" && !f.Connected })
			if a := g.post(`{"topic":"x","payload":"1"}`); a.status != 503 && a.status != 504 {
				t.Errorf("publish while the broker is silent: %d, want 503 or 504", a.status)
			}
			f[1](broker, proxy)
			s.wait("broker up", func(f frame) bool { return f.Type == "broker" && f.Connected })
			n := len(s.messages())
			s.waitMessages(n + 10)
			l.stop()
			a := newAudit()
			a.follow(s, l)
			a.verdict(t, name)
			if a.gaps["broker_connection_lost"] == 0 {
				t.Errorf("no gap was told: %v", a.gaps)
			}
		})
	}
}

// With a stable client id the broker keeps what is published meanwhile.
func TestStableIdentityLosesNothingOverACut(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	g := startReady(t, proxy.URL(), map[string]string{"GATEWAY_MQTT_CLIENT_ID": "gateway-1"})
	l := startTraffic(t, broker.Addr(), 4, 2*time.Millisecond)
	s := g.dial("?topic=load/%23")
	for i := range 5 {
		n := len(s.messages())
		s.waitMessages(n + 20)
		proxy.Cut()
		s.until("the broker is back", func(frames []frame) bool {
			up := 0
			for _, f := range frames {
				if f.Type == "broker" && f.Connected {
					up++
				}
			}
			return up > i
		})
	}
	l.stop()
	a := newAudit()
	a.follow(s, l)
	a.verdict(t, "the client")
	for _, f := range s.all() {
		if f.Type == "gap" && f.Certain {
			t.Errorf("got %s, want no certain gap: the broker kept the session, only QoS 0 may be missing", f.raw)
		}
	}
	if a.holes > 0 {
		t.Errorf("%d messages of QoS 1 are missing, want none", a.holes)
	}
}

// Five thousand clients come back at once, each with its cursor.
func TestReconnectStorm(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	g := startReady(t, broker.URL(), nil)
	l := startTraffic(t, broker.Addr(), 2, 20*time.Millisecond)
	first := g.dial("?topic=load/%23")
	first.waitMessages(40)
	cursor := first.messages()[10].Cursor
	clients := sized(5000, 1000)
	results := make(chan error, clients)
	places := make(chan struct{}, 500) // sockets that this process can open at once
	for i := range clients {
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			results <- stormClient(g, cursor, i)
		}()
	}
	published := 0
	for range clients {
		if err := <-results; err != nil {
			t.Error(err)
		}
		if a := g.post(fmt.Sprintf(`{"topic":"during","payload":%d}`, published)); a.status != 200 {
			t.Fatalf("publish in the storm: %d %s", a.status, a.body)
		}
		published++
	}
	l.stop()
}

// since= as a duration and as a time works on a WebSocket's URL, too.
func TestWebSocketTakesATimeInItsURL(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	for n := range 3 {
		g.post(fmt.Sprintf(`{"topic":"t","payload":%d}`, n))
	}
	all := g.dial("?topic=t&snapshot=true")
	all.wait("the newest", func(f frame) bool { return string(f.Payload) == "2" })
	for _, since := range []string{"10m", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00%2B01:00", "2026-01-01T00:00:00.123456Z"} {
		if got := g.dial("?topic=t&since=" + since).waitMessages(3); string(got[0].Payload) != "0" {
			t.Errorf("since=%s: got %s first, want payload 0", since, got[0].raw)
		}
	}
}
