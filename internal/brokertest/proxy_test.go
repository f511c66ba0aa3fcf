package brokertest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

func TestProxyPassesBothWays(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.URL())
	c := Dial(t, p.URL())
	c.Subscribe("a", 1)
	big := bytes.Repeat([]byte("x"), 200_000)
	if err := c.Publish("a", big, 1, false); err != nil {
		t.Fatal(err)
	}
	if m := c.WaitCount(1, 5*time.Second)[0]; !bytes.Equal(m.Payload, big) {
		t.Fatalf("payload: got %d bytes, want %d", len(m.Payload), len(big))
	}
	if got := p.Connections(); got != 1 {
		t.Fatalf("connections: got %d, want 1", got)
	}
	c.Close()
	b.WaitLog(" disconnected.") // an orderly end passes as such
	if bytes.Contains([]byte(b.Log()), []byte("Socket error")) {
		t.Fatalf("the broker saw an error:\n%s", b.Log())
	}
}

func TestProxyCutFailsWhatIsOpen(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	c := Dial(t, p.Addr())
	p.Stall(true, false)
	done := c.PublishAsync("a", nil, 1, false)
	p.Cut()
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Fatalf("got %v, want %v", err, ErrLost)
	}
	if got := p.Connections(); got != 0 {
		t.Fatalf("connections after Cut: got %d, want 0", got)
	}
	p.Heal()
	if err := c.Reconnect(); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish("a", nil, 1, false); err != nil {
		t.Fatal(err)
	}
}

func TestProxySwallowsThePubackAndCuts(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	direct := Dial(t, b.Addr())
	direct.Subscribe("a", 1)
	c := Dial(t, p.Addr())
	p.Hook(func(dir Direction, packet []byte) ([]byte, Action) {
		if dir == Down && PacketType(packet) == PUBACK {
			return nil, CutNow
		}
		return nil, Pass
	})
	if err := c.Publish("a", []byte("1"), 1, false); !errors.Is(err, ErrLost) {
		t.Fatalf("got %v, want %v", err, ErrLost)
	}
	direct.WaitCount(1, 5*time.Second) // the broker did get it
}

func TestProxyCutNowKeepsWhatPassedBefore(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	c := Dial(t, p.Addr())
	var acks atomic.Int32
	p.Hook(func(dir Direction, packet []byte) ([]byte, Action) {
		if dir == Down && PacketType(packet) == PUBACK && acks.Add(1) > 10 {
			return nil, CutNow
		}
		return nil, Pass
	})
	b.Pause() // so that all acknowledgements come together
	var results [20]<-chan error
	for i := range results {
		results[i] = c.PublishAsync("a", nil, 1, false)
	}
	b.Continue()
	for i, result := range results {
		if err := <-result; (err == nil) != (i < 10) {
			t.Errorf("publish %d: got %v", i, err)
		}
	}
}

func TestProxyHookSwallowsAndRewrites(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	c := Dial(t, p.Addr())
	c.Subscribe("#", 1)
	var swallowed atomic.Int32
	p.Hook(func(dir Direction, packet []byte) ([]byte, Action) {
		m, ok := PublishOf(packet)
		switch {
		case ok && dir == Down && m.Topic == "gone":
			swallowed.Add(1)
			return nil, Swallow
		case ok && dir == Down && m.Topic == "changed":
			return appendPublish(nil, PacketID(packet), "other", []byte("new"), m.QoS, m.Retain), Pass
		}
		return nil, Pass
	})
	for _, topic := range []string{"gone", "changed", "kept"} {
		if err := c.Publish(topic, []byte("old"), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	got := c.WaitCount(2, 5*time.Second)
	if got[0].Topic != "other" || string(got[0].Payload) != "new" || got[1].Topic != "kept" || swallowed.Load() != 1 {
		t.Fatalf("got %+v, swallowed %d", got, swallowed.Load())
	}
}

func TestProxyStallHoldsAndHealReleases(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	c := Dial(t, p.Addr())
	p.Stall(false, true)
	done := c.PublishAsync("a", nil, 1, false)
	fresh, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatalf("a stalled proxy must accept: %v", err)
	}
	defer fresh.Close()
	select {
	case err := <-done:
		t.Fatalf("an answer passed: %v", err)
	case <-c.Lost():
		t.Fatal("the connection was lost")
	case <-time.After(200 * time.Millisecond): // nothing must come
	}
	p.Heal()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestProxyRefuseClosesNewOnes(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	old := Dial(t, p.Addr())
	p.Refuse(true)
	if _, err := TryDial(t, p.Addr()); err == nil {
		t.Fatal("a refusing proxy accepted")
	}
	if err := old.Publish("a", nil, 1, false); err != nil {
		t.Fatalf("an old connection: %v", err)
	}
	p.Refuse(false)
	Dial(t, p.Addr())
}

func TestProxySlowLimitsTheRate(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	c := Dial(t, p.Addr())
	p.Slow(100_000)
	start := time.Now()
	if err := c.Publish("a", make([]byte, 50_000), 1, false); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 400*time.Millisecond {
		t.Fatalf("50 kB at 100 kB/s took %v", took)
	}
}

func TestProxyPassesWhatIsNotMQTT(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := echo.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	p := StartProxy(t, echo.Addr().String())
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := []byte("GET / HTTP/1.1\r\n\r\n")
	if _, err := conn.Write(want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
	_ = conn.Close()
	<-served
}

func TestProxyResetsWhenTheBrokerIsDown(t *testing.T) {
	b := Start(t)
	p := StartProxy(t, b.Addr())
	b.Stop()
	if _, err := TryDial(t, p.Addr()); err == nil {
		t.Fatal("connected to a stopped broker")
	}
}
