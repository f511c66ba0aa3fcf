package devicecom

import (
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestWillIsPublishedForALostClientOnly(t *testing.T) {
	b := startBroker(t)
	p := brokertest.StartProxy(t, b.Addr())
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("#", 1)
	will := &Will{Topic: "lamp/state", Value: map[string]any{"online": false}, QoS: 1, Retain: true}
	o := Options{Will: will}
	vals := connect(t, b.Addr(), o)
	_ = vals.Close() // in order: no will
	book := newLogbook(t)
	o.Logger = slog.New(book)
	connect(t, p.Addr(), o)
	p.Cut()
	if m := c.WaitCount(1, patience)[0]; m.Topic != "lamp/state" || string(m.Payload) != `{"online":false}` {
		t.Errorf("got %+v, want the will", m)
	}
	book.wait(t, againLine, 1)
	late := brokertest.Dial(t, b.Addr())
	late.Subscribe("#", 1)
	if m := late.WaitCount(1, patience)[0]; !m.Retain || m.Topic != "lamp/state" {
		t.Errorf("got %+v, want the retained will", m)
	}
	if n := c.Count(); n != 1 {
		t.Errorf("got %d messages, want the will alone", n)
	}
}

// The broker has published the will of the connection that was lost; the birth
// of the next one puts it right.
func TestBirthIsPublishedOnEachConnection(t *testing.T) {
	b := startBroker(t)
	p := brokertest.StartProxy(t, b.Addr())
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("lamp/state", 1)
	book := newLogbook(t)
	connect(t, p.Addr(), Options{
		ClientID: "lamp-7",
		Will:     &Will{Topic: "lamp/state", Value: "offline", QoS: 1, Retain: true},
		Birth:    &Will{Topic: "lamp/state", Value: "online", QoS: 1, Retain: true},
		Logger:   slog.New(book),
	})
	c.WaitCount(1, patience) // when it is connected, the broker has it
	p.Cut()
	book.wait(t, againLine, 1)
	states := ""
	for _, m := range c.WaitCount(3, patience) {
		states += string(m.Payload) + " "
	}
	if want := "online offline online "; states != want {
		t.Errorf("got %q, want %q", states, want)
	}
}

// Without the confirmation there is no connection, so there is another attempt.
func TestBirthIsConfirmedBeforeThereIsAConnection(t *testing.T) {
	b := startBroker(t)
	p := brokertest.StartProxy(t, b.Addr())
	c := brokertest.Dial(t, b.Addr())
	c.Subscribe("lamp/state", 1)
	var lost atomic.Bool
	p.Hook(func(_ brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if brokertest.PacketType(packet) == brokertest.PUBACK && lost.CompareAndSwap(false, true) {
			return nil, brokertest.CutNow
		}
		return nil, brokertest.Pass
	})
	connect(t, p.Addr(), Options{Birth: &Will{Topic: "lamp/state", Value: "online", QoS: 1}})
	if got := p.Accepted(); got != 2 {
		t.Errorf("got %d connections, want 2", got)
	}
	c.WaitCount(2, patience)
}
