package device

import (
	"fmt"
	"testing"
)

// mosquitto 2.0 tells of the end of a WebSocket that was taken over behind the beginning of the other, and does not say
// which it was: the device may be there or not, until the log or its own topic says so.
func TestAnEndBehindATakeoverMayBeTheOldConnections(t *testing.T) {
	takeover := func(g *rig) {
		g.connectWebSocket("a", "10.0.0.1:1")
		g.Line("1: Client a already connected, closing old connection.")
		g.connectWebSocket("a", "10.0.0.1:2")
		g.want("a", Online, ReasonTakenOver)
		g.Line("1: Client a closed its connection.")
		g.want("a", Unknown, ReasonTakenOver)
	}
	for what, tell := range map[string]func(*rig){
		"a second end": func(g *rig) {
			g.Line("1: Client a closed its connection.")
			g.want("a", Offline, ReasonClosed)
		},
		"a goodbye": func(g *rig) {
			g.Line("1: Client a disconnected.")
			g.want("a", Offline, ReasonDisconnected)
		},
		"another takeover": func(g *rig) {
			g.Line("1: Client a already connected, closing old connection.")
			g.connect("a", "10.0.0.1:3")
			g.want("a", Online, ReasonTakenOver)
		},
		"its own topic": func(g *rig) {
			g.Message("fleet/a/LWT", []byte("Online"), false)
			g.want("a", Online, ReasonReported)
		},
		"what anybody may write": func(g *rig) {
			g.Message("fleet/a/any", []byte("Online"), false)
			g.want("a", Unknown, ReasonTakenOver)
		},
	} {
		t.Log(what)
		g := start(t, patterns(t, "fleet/{id}/LWT=Online|Offline,fleet/{id}/any"))
		takeover(g)
		tell(g)
	}
	g := start(t)
	takeover(g)
	g.connectWebSocket("a", "10.0.0.1:3")
	g.Line("1: Client a already connected, closing old connection.")
	g.connectWebSocket("a", "10.0.0.1:4")
	g.now = g.now.Add(lateEnd)
	g.Line("1: Client a closed its connection.") // so late it is the new one
	g.want("a", Offline, ReasonClosed)
	for i := range 3 * acceptedMost {
		g.Line(fmt.Sprintf("1: New connection from 10.0.0.2:%d on port 1883.", i))
	}
	if n := len(g.accepted); n > acceptedMost {
		t.Errorf("%d connections are remembered, want %d at most", n, acceptedMost)
	}
}
