package device

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vulturepi/gateway/internal/list"
)

// rig is a registry with a clock of its own.
type rig struct {
	*Registry
	t   *testing.T
	now time.Time
}

func start(t *testing.T, change ...func(*Options)) *rig {
	g := &rig{t: t, now: time.Unix(1_000_000, 0)}
	o := Options{Log: true, Now: func() time.Time { return g.now }, Own: func(id string) bool { return strings.HasPrefix(id, "gw-") }}
	for _, f := range change {
		f(&o)
	}
	g.Registry = New(o)
	g.Up()
	return g
}

func patterns(t *testing.T, s string) func(*Options) {
	t.Helper()
	all, err := ParsePatterns(s)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Patterns = all }
}

func quiet(t *testing.T, s string) func(*Options) {
	t.Helper()
	all, err := ParseQuiet(s)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Quiet = all }
}

// device is all that is known of one.
func (g *rig) device(id string) (Device, bool) {
	f, ok := g.Get(id)
	if !ok {
		return Device{}, false
	}
	return f.Show(nil)
}

// want fails unless the device is in that state for that reason.
func (g *rig) want(id string, state State, reason Reason) {
	g.t.Helper()
	d, ok := g.device(id)
	if !ok || d.State != state || d.Reason != reason {
		g.t.Errorf("%s: got %+v %v, want %s because of %s", id, d, ok, state, reason)
	}
}

func (g *rig) unheard(id string) {
	g.t.Helper()
	if d, ok := g.device(id); ok {
		g.t.Errorf("%s: got %+v, want nothing", id, d)
	}
}

func (g *rig) connect(id, address string) {
	g.Line(fmt.Sprintf("1: New connection from %s on port 1883.", address))
	g.connectWebSocket(id, address)
}

// connectWebSocket is connect at a listener of mosquitto 2.0 that has no line for a connection alone.
func (g *rig) connectWebSocket(id, address string) {
	g.Line(fmt.Sprintf("1: New client connected from %s as %s (p2, c1, k60).", address, id))
}

func TestDevicesComeAndGo(t *testing.T) {
	g := start(t)
	g.connect("a", "10.0.0.1:1")
	at := g.now
	g.want("a", Online, ReasonConnected)
	g.now = g.now.Add(time.Second)
	g.Line("1: Client a already connected, closing old connection.")
	g.connect("a", "10.0.0.1:2")
	g.want("a", Online, ReasonTakenOver)
	if d, _ := g.device("a"); d.Address != "10.0.0.1:2" || d.Source != SourceLog || d.LastSeen != at.Add(time.Second) {
		t.Errorf("got %+v, want the address of the new connection", d)
	}
	g.Line("1: Client a closed its connection.")
	g.want("a", Offline, ReasonClosed)
	g.Line("1: Client b disconnected.") // came before the gateway
	g.want("b", Offline, ReasonDisconnected)
	if got := g.Stats().States; got[Online] != 0 || got[Offline] != 2 || got[Unknown] != 0 {
		t.Errorf("got %v, want 2 offline", got)
	}
}

func TestTheNewWordingIsHeldAgainstTheAddress(t *testing.T) {
	g := start(t)
	g.Version("mosquitto version 2.1.2")
	g.connect("a", "10.0.0.1:1")
	// Somebody fails to log in with the same id, or is thrown out before.
	g.Line("1: Client a [10.9.9.9:7] disconnected: not authorised.")
	g.Line("1: Client a [10.9.9.9:7] disconnected: protocol error.")
	g.want("a", Online, ReasonConnected)
	g.Line("1: Client a [10.0.0.1:1] disconnected: session taken over.")
	g.connect("a", "10.0.0.1:2")
	g.want("a", Online, ReasonTakenOver)
	g.Line("1: Client a [10.0.0.1:1] disconnected: connection closed by client.") // the old one
	g.want("a", Online, ReasonTakenOver)
	g.Line("1: Client a [10.0.0.1:2] disconnected.")
	g.want("a", Offline, ReasonDisconnected)
	g.Line("1: Client b [10.0.0.1:3] disconnected.") // never seen before, and there is one way to read it
	g.want("b", Offline, ReasonDisconnected)
	g.Line("1: Client 10.0.0.1 [10.0.0.1:4] disconnected: connection closed by client.") // before it said who it is
	g.unheard("10.0.0.1")
}

func TestWhatCannotBeKnownIsUnknown(t *testing.T) {
	g := start(t)
	g.connect("a", "10.0.0.1:1")
	// With 2.0 this may be somebody else, who does not know the password.
	g.Line("1: Client a disconnected, not authorised.")
	g.want("a", Unknown, ReasonNotAuthorised)
	g.Line("1: Client stranger disconnected, not authorised.")
	g.unheard("stranger")
	g.Line("1: Client <unknown> closed its connection.")
	g.unheard("<unknown>")

	g.connect("a", "10.0.0.1:1")
	g.Down()
	g.want("a", Unknown, ReasonBrokerLost)
	g.Up()
	g.want("a", Unknown, ReasonBrokerLost)
	g.connect("a", "10.0.0.1:2")
	g.want("a", Online, ReasonConnected)
	g.Line("1: Outgoing messages are being dropped for client b.")
	g.want("a", Online, ReasonConnected)
	g.Line("1: Outgoing messages are being dropped for client gw-1-sub0.")
	g.want("a", Unknown, ReasonMessagesLost)
	if got := g.Stats().States; got[Unknown] != 1 || got[Online] != 0 {
		t.Errorf("got %v, want one unknown", got)
	}
}

// A client cannot say anything about another one, whatever it calls itself.
func TestNamesThatLookLikeLinesHurtNobody(t *testing.T) {
	g := start(t)
	g.connect("victim", "10.0.0.1:1")
	g.connect("victim disconnected: x", "10.9.9.9:1")
	g.Line("1: Client victim disconnected: x disconnected.")
	g.want("victim", Online, ReasonConnected)
	g.want("victim disconnected: x", Offline, ReasonDisconnected)
	g.Line("1: Client nobody disconnected: x disconnected.") // two ways, and neither is known
	g.unheard("nobody")
	g.Line("1: New client connected from 1.2.3.4:5 as a (p2, c1, k60, u'b (p2, c1, k60, u'c').")
	g.unheard("a")
	if got := g.Stats().Unread; got != 2 {
		t.Errorf("got %d lines that were left out, want 2", got)
	}
}

func TestTheGatewayItselfIsLeftOut(t *testing.T) {
	g := start(t)
	g.connect("gw-1-pub0", "127.0.0.1:1")
	g.unheard("gw-1-pub0")
}

func TestConnectionStateTopics(t *testing.T) {
	g := start(t)
	g.ConnectionState("a", []byte("1"))
	g.want("a", Online, ReasonConnected)
	g.ConnectionState("a", []byte("0"))
	g.want("a", Offline, ReasonClosed)
	g.ConnectionState("b", []byte("yes"))
	g.unheard("b")
}

func TestWillsSayTheState(t *testing.T) {
	g := start(t, patterns(t, `tele/{id}/LWT=Online|Offline, z/{id}/availability={"state":"online","x":1}|{"state":"offline","x":1}, fleet/{id}/#`))
	g.Message("tele/a/LWT", []byte("Online"), false)
	g.want("a", Online, ReasonReported)
	g.Message("tele/a/LWT", []byte(" Offline\n"), false)
	g.want("a", Offline, ReasonReported)
	g.Message("tele/a/LWT", []byte("what?"), false)
	g.want("a", Offline, ReasonReported)
	g.Message("z/b/availability", []byte(`{ "state": "online", "x": 1 }`), false)
	g.want("b", Online, ReasonReported)
	g.Message("fleet/c/deep/down", []byte("x"), false)
	g.want("c", Unknown, ReasonNotTold)
	g.Message("fleet", []byte("x"), false)
	g.Message("fleet//x", []byte("x"), false)
	g.Message("tele/a/b/LWT", []byte("Online"), false)
	if got := len(g.byID); got != 3 {
		t.Errorf("got %d devices, want 3", got)
	}
	g.connect("a", "10.0.0.1:1") // the log is another way to know
	g.want("a", Online, ReasonConnected)
}

// What the broker keeps counts where nothing newer is known.
func TestRetainedCopiesGiveWay(t *testing.T) {
	g := start(t, patterns(t, "{id}/LWT=Online|Offline,{id}/#"))
	g.Message("a/LWT", []byte("Online"), true)
	g.want("a", Online, ReasonReported)
	if d, _ := g.device("a"); d.Since.IsZero() || !d.LastSeen.IsZero() {
		t.Errorf("got %+v, want to know since when, and that it was not seen", d)
	}
	g.Message("a/LWT", []byte("Offline"), false)
	g.Message("a/LWT", []byte("Online"), true)
	g.want("a", Offline, ReasonReported)
	g.Message("b/x", []byte("x"), true) // says nothing about now
	g.unheard("b")
}

// kept is a broker side that keeps some messages.
type kept map[string]string

func (k kept) Hold(context.Context, string) error { return nil }
func (k kept) Kept(_ context.Context, _ string, each func(string, []byte)) error {
	for topic, payload := range k {
		each(topic, []byte(payload))
	}
	return nil
}

func TestWhatTheBrokerKeepsIsAskedForAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := start(t, patterns(t, "{id}/LWT=Online|Offline"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.Run(ctx, kept{"a/LWT": "Online"}) }()
		synctest.Wait()
		g.want("a", Online, ReasonReported)
		g.Down()
		synctest.Wait()
		g.want("a", Unknown, ReasonBrokerLost)
		g.Up()
		synctest.Wait()
		g.want("a", Online, ReasonReported)
		g.Lost(ReasonMessagesLost)
		synctest.Wait()
		g.want("a", Online, ReasonReported)
		cancel()
		<-done
	})
}

func TestTheLongestUnseenGoesFirst(t *testing.T) {
	g := start(t, func(o *Options) { o.Devices = 3 })
	feed := g.Feed(false)
	for i := range 4 {
		g.now = g.now.Add(time.Second)
		g.connect(fmt.Sprint("d", i), "10.0.0.1:1")
	}
	g.unheard("d0")
	g.want("d1", Online, ReasonConnected)
	if got := g.Stats(); got.Forgotten != 1 || got.States[Online] != 3 {
		t.Errorf("got %+v, want one forgotten and three known", got)
	}
	some, _ := feed.Next()
	if len(some) != 4 || some[0].Forgotten != 1 {
		t.Errorf("got %+v, want to be told of the one that is forgotten, and three devices", some)
	}
}

// Who comes and goes under ever new names, or publishes on topics of them, makes
// nobody forgotten who is there.
func TestThoseWhoAreOnlineAreForgottenLast(t *testing.T) {
	g := start(t, patterns(t, "fleet/{id}/x"), func(o *Options) { o.Devices = 4 })
	for _, id := range []string{"a", "b"} {
		g.connect(id, "10.0.0.1:1")
	}
	for i := range 20 {
		g.now = g.now.Add(time.Second)
		id := fmt.Sprint("auto-", i)
		g.connect(id, "10.0.0.2:1")
		g.Line("1: Client " + id + " disconnected.")
		g.Message(fmt.Sprintf("fleet/%d/x", i), nil, false)
	}
	g.want("a", Online, ReasonConnected)
	g.want("b", Online, ReasonConnected)
	g.want("auto-19", Offline, ReasonDisconnected)
	g.want("19", Unknown, ReasonNotTold)

	g.Lost(ReasonBrokerLost) // those who were online are still the last
	for i := range 20 {
		g.Message(fmt.Sprintf("fleet/%d/x", 100+i), nil, false)
	}
	g.want("a", Unknown, ReasonBrokerLost)
	for _, id := range []string{"c", "d", "e"} {
		g.connect(id, "10.0.0.1:1")
	}
	g.Message("fleet/new/x", nil, false) // there is room for it at the cost of the longest unseen
	g.unheard("a")
	g.want("new", Unknown, ReasonNotTold)
	if got := g.Stats(); got.States[Online] != 3 || got.States[Unknown] != 1 {
		t.Errorf("got %+v, want three online and the new one", got.States)
	}
}

// 100 000 devices and topics take no more than is said, whatever they are called.
func TestDevicesAreBoundedInBytes(t *testing.T) {
	g := start(t, quiet(t, "#=1s"), func(o *Options) { o.Bytes = 1 << 20 })
	for i := range 5000 {
		name := fmt.Sprintf("%d%s", i, strings.Repeat("x", i%maxID))
		g.connect(name, "10.0.0.1:1")
		g.Message(name, nil, false)
	}
	if got := g.Stats(); got.Bytes > got.Limit || got.Forgotten == 0 || got.Bytes < got.Limit/2 {
		t.Errorf("got %d of %d bytes, %d forgotten", got.Bytes, got.Limit, got.Forgotten)
	}
	g.connect(strings.Repeat("x", maxID+1), "10.0.0.1:1")
	if got := g.Stats().TooLong; got == 0 {
		t.Error("an id without end was taken in")
	}
	// All lists agree.
	n, changes := 0, 0
	for more, after := true, ""; more; {
		var some []Facts
		some, more = g.Walk(after)
		for _, d := range some {
			n, after = n+1, d.ID
		}
	}
	for x := g.changes.after(0); x != nil; x = x.next[0] {
		changes++
	}
	listed := 0
	for _, l := range []*list.List[entry]{&g.online, &g.others} {
		for range l.All() {
			listed++
		}
	}
	if n != len(g.byID) || changes != n || listed != n {
		t.Errorf("got %d walked, %d changes, %d listed, want %d", n, changes, listed, len(g.byID))
	}
}

// Addresses count as well, when devices that are known already connect.
func TestAddressesOfDevicesAreBoundedInBytes(t *testing.T) {
	g := start(t, patterns(t, "{id}/x"), func(o *Options) { o.Bytes = 50 * (entryBytes + 2) })
	for i := range 50 {
		g.Message(fmt.Sprintf("%02d/x", i), nil, false)
	}
	for i := range 50 {
		id := fmt.Sprintf("%02d", i)
		g.connect(id, strings.Repeat("a", 200)+":1")
		g.want(id, Online, ReasonConnected)
		if got := g.Stats(); got.Bytes > got.Limit {
			t.Fatalf("got %d of %d bytes", got.Bytes, got.Limit)
		}
	}
}

func TestWalkIsInOrder(t *testing.T) {
	g := start(t)
	for i := range 3 * steps {
		g.connect(fmt.Sprint(i*7919%1000000), "1.1.1.1:1")
	}
	last, n := "", 0
	for more := true; more; {
		var some []Facts
		if some, more = g.Walk(last); len(some) > steps {
			t.Fatalf("got %d at once, want %d at most", len(some), steps)
		}
		for _, d := range some {
			if d.ID <= last {
				t.Fatalf("got %q behind %q", d.ID, last)
			}
			last, n = d.ID, n+1
		}
	}
	if n != 3*steps {
		t.Errorf("got %d, want %d", n, 3*steps)
	}
}
