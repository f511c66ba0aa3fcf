package test

import (
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestMessageGoesRound(t *testing.T) {
	t.Parallel()
	g := startReady(t, brokertest.Start(t).URL(), nil)
	ws := g.dial("?topic=pi/%2B/led")
	ws.wait("ack", func(f frame) bool { return f.Type == "ack" })
	if a := g.post(`{"topic":"pi/3/led","payload":"on"}`); a.status != 200 {
		t.Fatalf("POST /publish: %d %s", a.status, a.body)
	}
	m := ws.waitMessages(1)[0]
	if string(m.Payload) != `"on"` || m.Encoding != "text" || m.QoS != 0 || m.Retain || m.Topic != "pi/3/led" || m.Cursor == "" {
		t.Errorf("got %s", m.raw)
	}
}
