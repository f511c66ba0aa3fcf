package broker

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/embedded/packet"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// ended waits for the end of a connection, with whatever comes before.
func ended(t testing.TB, nc net.Conn) {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(raw.Patience))
	for buf := make([]byte, 1024); ; {
		if _, err := nc.Read(buf); err != nil {
			if n, ok := err.(net.Error); ok && n.Timeout() {
				t.Fatalf("the connection is open after %v", raw.Patience)
			}
			return
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Connections = 5 })
	var open []*raw.Conn
	for i := range 5 {
		open = append(open, s.client(4, fmt.Sprint("c", i)))
	}
	ended(t, raw.Dial(t, s.addr, 4))
	open[0].Ping()
	_ = open[4].Close()
	eventually(t, "there is room again", func() bool { return s.figure(func() int64 { return int64(len(s.conns)) }) == 4 })
	s.healthy()
}

// Connections that say nothing do not keep out those that do.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Connecting = 3; o.Limits.Connections = 10 })
	connected := s.client(4, "connected")
	var silent []*raw.Conn
	for range 20 {
		silent = append(silent, raw.Dial(t, s.addr, 4))
	}
	for _, c := range silent[:17] {
		ended(t, c)
	}
	s.healthy()
	connected.Ping()
}

func TestACONNECTHasToCome(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.ConnectTime = 50 * time.Millisecond })
	silent, slow := raw.Dial(t, s.addr, 4), raw.Dial(t, s.addr, 4)
	slow.Send(raw.Connect(4, 2, nil, "slow")[:8])
	ended(t, silent)
	ended(t, slow)
	c := s.client(4, "c") // the time is not for what comes after it
	ended(t, raw.Dial(t, s.addr, 4))
	c.Ping()
}

// A packet that has begun has to go on, whatever the keep alive.
func TestAPacketHasToGoOn(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.PartTime = 50 * time.Millisecond })
	quiet := s.client(4, "quiet")
	c := s.client(4, "c")
	c.Send([]byte{0x30, 100, 0, 1})
	ended(t, c)
	quiet.Ping()
}

func TestRetainedMessagesAreBounded(t *testing.T) {
	for name, limit := range map[string]func(*Limits){
		"number": func(l *Limits) { l.Retained = 10 },
		"bytes":  func(l *Limits) { l.RetainedBytes = 10 * (100 + messageOverhead + 3 + 2*levelOverhead) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(o *Options) { limit(&o.Limits) })
			payload := strings.Repeat("x", 100)
			c := s.client(5, "c")
			for i := range 10 {
				c.Send(raw.Publish(3, fmt.Sprint("r/", i), 1, raw.Props(), payload))
				c.Want("4003000110")
			}
			c.Send(raw.Publish(3, "r/x", 1, raw.Props(), payload), raw.Publish(5, "r/x", 2, raw.Props(), payload))
			c.Want("4003000197", "5003000297")
			c.Send(raw.Publish(3, "r/1", 1, raw.Props(), strings.Repeat("y", 100)), raw.Publish(2, "r/x", 1, raw.Props(), payload))
			c.Want("4003000110", "4003000110") // in place of another, and not retained
			c.Send(raw.Publish(1, "r/x", 0, raw.Props(), payload))
			c.WantEnd(0x97) // at QoS 0 there is no other answer
			old := s.client(4, "old")
			old.Send(raw.Publish(3, "r/x", 1, nil, payload))
			old.WantEnd(0)
			s.publish("r/0", "", 1, true)
			s.publish("r/x", payload, 1, true) // in its place
			s.healthy()
		})
	}
}

// Messages of all kinds have a bound together.
func TestAllMessagesTogetherAreBounded(t *testing.T) {
	const each = 100 + messageOverhead + 3
	s := start(t, func(o *Options) { o.Limits.Held = 3 * each })
	c := s.client(5, "c")
	payload := strings.Repeat("x", 100)
	for _, tt := range [][2]string{{"r/1", "10"}, {"r/2", "10"}, {"r/3", "10"}, {"r/4", "97"}, {"r/3", "10"}, {"r/5", "97"}} {
		c.Send(raw.Publish(3, tt[0], 1, raw.Props(), payload))
		c.Want("40030001" + tt[1])
	}
	will := raw.Dial(t, s.addr, 5)
	will.Send(raw.Connect(5, 6, nil, "will", raw.Props(), raw.Text("w"), raw.Text(payload)))
	if p := will.WantType(0x20); p[3] != 0x97 {
		t.Errorf("got %x for a will, want a CONNACK with reason 0x97", p)
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	for name, limit := range map[string]func(*Limits){
		"of a session": func(l *Limits) { l.Filters = 10 },
		"of all":       func(l *Limits) { l.Subscriptions = 10 * (messageOverhead + 3 + 2*levelOverhead) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(o *Options) { limit(&o.Limits) })
			c := s.client(5, "c")
			for i := range 12 {
				c.Send(raw.Subscribe(1, raw.Props(), fmt.Sprint("f/", string(rune('a'+i))), 1))
				want := "900400010001"
				if i >= 10 {
					want = "900400010097"
				}
				c.Want(want)
			}
			c.Send(raw.Subscribe(1, raw.Props(), "f/a", 0)) // one that is there
			c.Want("900400010000")
			old := s.client(4, "c")
			for i := range 10 {
				old.Send(raw.Subscribe(1, nil, fmt.Sprint("f/", i), 1))
				old.Want("9003000101")
			}
			old.Send(raw.Subscribe(1, nil, "f/x", 1))
			old.Want("9003000180")
		})
	}
}

// However many filters clients have, and whatever they are, a message looks at few of them; those that would make it
// more are refused, one by one, and others are not.
func TestFiltersDoNotMakeALookUpTakeLong(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Width = 64 })
	width := func() int64 { return s.figure(func() int64 { return int64(s.subscriptions.Width()) }) }
	c, old := s.client(5, "c"), s.client(4, "old")
	taken, refused := "", 0
	for i := range 256 {
		levels := strings.Split("a/a/a/a/a/a/a/a/z", "/")
		for at := range 8 {
			if i>>at&1 == 1 {
				levels[at] = "+"
			}
		}
		f := strings.Join(levels, "/")
		old.Send(raw.Subscribe(2, nil, "$share/g/"+f, 1))
		shared := old.WantType(0x90)
		c.Send(raw.Subscribe(1, raw.Props(), f, 1))
		switch answer := fmt.Sprintf("%x", c.WantType(0x90)); {
		case answer == "900400010097" && fmt.Sprintf("%x", shared) == "9003000280":
			refused++
		case answer == "900400010001" && fmt.Sprintf("%x", shared) == "9003000201":
			taken = f
		default:
			t.Fatalf("%s: got %s and %x", f, answer, shared)
		}
	}
	if got := width(); refused < 100 || taken == "" || got > 64 {
		t.Errorf("%d filters were refused, and a message leads to %d places; want most, and 64 at most", refused, got)
	}
	for _, f := range []string{"#", "b/+", "+/b", "fleet/+/temp", taken} {
		c.Send(raw.Subscribe(1, raw.Props(), f, 1))
		c.Want("900400010001")
	}
	s.healthy()
}

// A SUBSCRIBE with as many filters as there may be, deep ones, does not keep the others away.
func TestALargeSubscribeIsServed(t *testing.T) {
	s := start(t)
	c := s.client(5, "c")
	var filters []byte
	for i := range 10_000 {
		filters = append(filters, raw.Join(raw.Text(fmt.Sprint("deep/", i)), []byte{1})...)
	}
	c.Send(raw.Packet(0x82, raw.U16(1), raw.Props(), filters))
	s.healthy()
	if p := c.WantType(0x90); len(p) < 10_000 {
		t.Errorf("got a SUBACK of %d bytes, want a code for each filter", len(p))
	}
}

func TestKeptSessionsAreBounded(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Sessions = 3 })
	for i := range 5 {
		c := brokertest.Dial(t, s.addr, brokertest.ClientID(fmt.Sprint("kept ", i)), brokertest.PersistentSession())
		c.Close()
		eventually(t, "the connection has ended", func() bool { return s.figure(func() int64 { return int64(len(s.conns)) }) == 0 })
	}
	for i, want := range []bool{false, false, true, true, true} {
		c := brokertest.Dial(t, s.addr, brokertest.ClientID(fmt.Sprint("kept ", i)), brokertest.PersistentSession())
		if c.SessionPresent() != want {
			t.Errorf("session %d: present is %v, want %v", i, c.SessionPresent(), want)
		}
	}
	if !strings.Contains(s.log.String(), "too many sessions") {
		t.Errorf("got log %q, want it to say that sessions were forgotten", s.log)
	}
}

func TestAnOfflineSessionHoldsABoundedQueue(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Queue = 10 })
	c := brokertest.Dial(t, s.addr, brokertest.ClientID("kept"), brokertest.PersistentSession())
	c.Subscribe("a", 1)
	c.Drop()
	<-c.Lost()
	eventually(t, "the connection has ended", func() bool { return s.figure(func() int64 { return int64(len(s.conns)) }) == 0 })
	for i := range 15 {
		s.publish("a", fmt.Sprint(i), 1, false)
	}
	if err := c.Reconnect(); err != nil {
		t.Fatal(err)
	}
	c.WaitCount(10, raw.Patience)
	s.acknowledgedAll("kept")
	s.publish("a", "end", 1, false)
	if got := payloads(until(t, c, "end")); got != "0 1 2 3 4 5 6 7 8 9" {
		t.Errorf("got %q, want the first ten", got)
	}
	if got := s.droppedNow(); got != 5 {
		t.Errorf("got %d dropped messages, want 5", got)
	}
}

func TestMessagesAtQoS2ThatAreNotReleasedAreBounded(t *testing.T) {
	s := start(t, func(o *Options) { o.Limits.Held = 10 * receivedOverhead })
	c := s.client(5, "c")
	for i := range uint16(10) {
		c.Send(raw.Publish(4, "a", i+1, raw.Props(), "x"))
		c.WantType(0x50)
	}
	c.Send(raw.Publish(4, "a", 11, raw.Props(), "x"))
	c.WantEnd(0x97)
	eventually(t, "they are given back", func() bool { return s.heldNow() == 0 })
}

func TestCloseTellsClientsAndEnds(t *testing.T) {
	s := start(t)
	five, four := s.client(5, "five"), s.client(4, "four")
	silent := raw.Dial(t, s.addr, 4)
	if err := s.Close(); err != nil {
		t.Errorf("close: got %v, want no error", err)
	}
	five.WantEnd(0x8B)
	four.WantEnd(0)
	ended(t, silent)
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("it still listens")
	}
}

// docs/operations.md tells the bounds; here they are written from the code.
func TestBoundsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	number := func(n int) string { // with a space for thousands
		if n < 10_000 {
			return strconv.Itoa(n)
		}
		return fmt.Sprintf("%d %03d", n/1000, n%1000)
	}
	mib := func(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
	l := DefaultLimits()
	for _, row := range [][2]string{
		{"A packet", mib(int64(l.Packet)) + ", a CONNECT 512 KiB"},
		{"Packets that arrive, together", mib(l.Arriving)},
		{"Connections", number(l.Connections)},
		{"Connections without a CONNECT", fmt.Sprintf("%s, %.0f seconds each", number(l.Connecting), l.ConnectTime.Seconds())},
		{"Messages that wait for one client", number(l.Queue) + ", " + mib(l.QueueBytes)},
		{"Messages that wait or are retained, together", mib(l.Held)},
		{"Retained messages", number(l.Retained) + ", " + mib(l.RetainedBytes)},
		{"Filters", number(l.Filters) + " of a client, " + mib(l.Subscriptions) + " together"},
		{"Places that one topic leads to among all filters", number(l.Width)},
		{"Sessions without a connection", number(l.Sessions)},
		{"Messages sent and not acknowledged", number(l.Window) + ", or the client's Receive Maximum"},
		{"Levels of a topic or filter", number(packet.MaxLevels)},
	} {
		if want := "| " + row[0] + " | " + row[1] + " |"; !strings.Contains(string(text), want) {
			t.Errorf("operations.md has no row %q", want)
		}
	}
}
