package broker

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
	"github.com/vulturepi/gateway/internal/embedded/store"
)

func inDir(dir string) func(*Options) { return func(o *Options) { o.Dir = dir } }

// crashed is the directory as an end of the process at this moment would leave it.
func crashed(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	data, err := os.ReadFile(filepath.Join(dir, "broker.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "broker.db"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestRetainedMessagesSurvive(t *testing.T) {
	dir := t.TempDir()
	s := start(t, inDir(dir))
	p := raw.Props(raw.User("k", "v"), raw.Join([]byte{3}, raw.Text("text/plain")))
	c := s.client(5, "c")
	long := strings.Repeat("level/", 150) + strings.Repeat("x", 60_000) // longer than a key may be
	for i, tt := range [][2]string{{"r/1", "old"}, {"r/1", "new"}, {"r/2", "gone"}, {"r/2", ""}, {long, "long"}, {"$r/3", "hidden"}} {
		c.Send(raw.Publish(5, tt[0], uint16(i+1), p, tt[1]))
		c.WantType(0x50)
	}
	c.Send(raw.Publish(3, "r/short", 7, raw.Props(raw.Prop32(2, 1)), "short"), raw.Publish(1, "r/0", 0, raw.Props(), "at QoS 0"), raw.Publish(2, "r/1", 8, raw.Props(), "not retained"))
	c.Want("4003000710", "4003000810")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // and once more
		s = start(t, inDir(dir))
		sub := s.client(5, "sub")
		sub.Send(raw.Subscribe(1, raw.Props(), "r/1", 2), raw.Subscribe(2, raw.Props(), "r/2", 2), raw.Subscribe(3, raw.Props(), "level/#", 0), raw.Subscribe(4, raw.Props(), "$r/#", 0), raw.Subscribe(5, raw.Props(), "r/0", 2))
		var got []string
		for range 9 {
			if p := sub.Next(); p[0]>>4 == 3 {
				got = append(got, hex.EncodeToString(p))
			}
		}
		want := []string{hex.EncodeToString(raw.Publish(5, "r/1", 1, p, "new")), hex.EncodeToString(raw.Publish(1, long, 0, p, "long")),
			hex.EncodeToString(raw.Publish(1, "$r/3", 0, p, "hidden")), hex.EncodeToString(raw.Publish(1, "r/0", 0, raw.Props(), "at QoS 0"))}
		if !slices.Equal(got, want) {
			t.Errorf("round %d:\n got %q\nwant %q", round, got, want)
		}
		eventually(t, "the message that has expired is gone", func() bool { return s.figure(func() int64 { return int64(s.retainedCount) }) == 4 })
		if err := s.consistent(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSessionsSurvive(t *testing.T) {
	dir := t.TempDir()
	s := start(t, inDir(dir))
	keep := raw.Prop32(17, 600)
	c := raw.Client(t, s.addr, 5, "keep", 0, keep)
	c.Send(raw.Subscribe(1, raw.Props([]byte{11, 7}), "a/#", 0x0E), // QoS 2, no local, as published
		raw.Subscribe(2, raw.Props(), "$share/g/b", 1), raw.Subscribe(3, raw.Props(), "gone", 1),
		raw.Packet(0xA2, raw.U16(4), raw.Props(), raw.Text("gone")), raw.Publish(4, "x", 9, raw.Props(), "once"))
	c.Want("900400010002", "900400020001", "900400030001", "b00400040000", "5003000910")
	s.publish("a/1", "1", 2, false)
	s.publish("a/2", "2", 2, true)
	one, two := c.WantType(0x34), c.WantType(0x35)
	c.Send(raw.Packet(0x50, raw.U16(idOfTopic3(one)))) // PUBREC
	c.WantType(0x62)
	_ = c.Close()
	s.publish("a/3", "3", 1, false)
	s.publish("b", "4", 1, false)
	s.publish("gone", "5", 1, false)
	raw.Client(t, s.addr, 4, "clean", 2)
	raw.Client(t, s.addr, 5, "short", 0, raw.Prop32(17, 0))

	s = start(t, inDir(crashed(t, dir)))
	if err := s.consistent(); err != nil {
		t.Fatal(err)
	}
	if got := s.figure(func() int64 { return int64(len(s.sessions)) }); got != 1 {
		t.Errorf("got %d sessions, want the one that is kept", got)
	}
	c = raw.Dial(t, s.addr, 5)
	c.Send(raw.Connect(5, 0, raw.Props(keep), "keep"))
	if !c.Accepted() {
		t.Fatal("the session is gone")
	}
	again := hex.EncodeToString(two)
	c.Want("6202"+hex.EncodeToString(raw.U16(idOfTopic3(one))), "3d"+again[2:]) // DUP
	for _, want := range []string{"3", "4"} {
		if p := c.WantType(0x32); !strings.HasSuffix(string(p), want) {
			t.Errorf("got %q, want message %s", p, want)
		}
	}
	c.Send(raw.Publish(0xC, "x", 9, raw.Props(), "once"), []byte{0x62, 2, 0, 9}, raw.Publish(0, "a/own", 0, raw.Props(), ""))
	c.Want("50020009", "70020009")
	c.Ping() // its own message does not come
	s.publish("a/4", "6", 0, true)
	c.Want(hex.EncodeToString(raw.Publish(1, "a/4", 0, raw.Props([]byte{11, 7}), "6")))
}

// Of a session that ends nothing stays on disk, and one that is to end with its connection ends with the process, too.
func TestSessionsThatEndLeaveNothingOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := start(t, inDir(dir))
	records := func() (kinds string) {
		t.Helper()
		c, err := store.Open(crashed(t, dir), 1<<30, slog.New(slog.DiscardHandler), func(key string, _ []byte) bool { kinds += key[:1]; return true }, func() {})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		return kinds
	}
	c := raw.Client(t, s.addr, 5, "c", 0, raw.Prop32(17, 600))
	c.Send(raw.Subscribe(1, raw.Props(), "a", 1), raw.Publish(4, "x", 9, raw.Props(), ""))
	c.Want("900400010001", "5003000910")
	s.publish("a", "x", 1, false)
	c.WantType(0x32)
	_ = c.Close()
	s.publish("a", "y", 1, false)
	if got := records(); got != "12334" {
		t.Errorf("got records of the kinds %s, want 12334", got)
	}
	c = raw.Dial(t, s.addr, 5)
	c.Send(raw.Connect(5, 0, raw.Props(), "c")) // is to end with this connection
	if !c.Accepted() {
		t.Fatal("the session is gone")
	}
	again := start(t, inDir(crashed(t, dir)))
	if got := again.figure(func() int64 { return int64(len(again.sessions)) }); got != 0 {
		t.Errorf("got %d sessions after the end of the process, want none", got)
	}
	_ = c.Close()
	eventually(t, "nothing is left of the session", func() bool { return records() == "" })
}

// idOfTopic3 is the packet identifier of a PUBLISH on a topic of three bytes.
func idOfTopic3(publish []byte) uint16 { return uint16(publish[7])<<8 | uint16(publish[8]) }

// Whatever was answered is on disk: an end of the process behind any answer loses nothing of it.
func TestWhatIsAnsweredIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := start(t, inDir(dir))
	p := brokertest.Dial(t, s.addr)
	kept := raw.Client(t, s.addr, 4, "kept", 0)
	for i := range 10 {
		if err := p.Publish(fmt.Sprint("r/", i%3), []byte(fmt.Sprint(i)), byte(1+i%2), true); err != nil {
			t.Fatal(err)
		}
		kept.Send(raw.Subscribe(1, nil, fmt.Sprint("f/", i), 1))
		for kept.Next()[0] != 0x90 { // messages come, too
		}
		if err := p.Publish(fmt.Sprint("f/", i), []byte("x"), 1, false); err != nil {
			t.Fatal(err)
		}
		after, err := New(Options{Dir: crashed(t, dir), Log: s.Broker.log.log, Limits: DefaultLimits()})
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := after.retained.Get(fmt.Sprint("r/", i%3)); !ok || string(m.Payload) != fmt.Sprint(i) {
			t.Errorf("round %d: got %v, want the retained message", i, m)
		}
		session := after.sessions["kept"]
		if session == nil || len(session.subscriptions) != i+1 || session.waiting.len() != i+1 {
			t.Errorf("round %d: got %+v, want a session with %d filters and messages", i, session, i+1)
		}
		if err := after.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What cannot be written is not acknowledged, and the broker says that it fails.
func TestWhatCannotBeWrittenIsNotAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := start(t, inDir(dir), func(o *Options) { o.Limits.File = 256 << 10 })
	c := s.client(4, "c")
	c.Send(raw.Publish(3, "r", 1, nil, "x"))
	c.Want("40020001")
	c.Send(raw.Publish(3, "r", 2, nil, strings.Repeat("y", 1<<20)), []byte{0xC0, 0})
	<-s.Failed()
	if s.Err() == nil {
		t.Error("got no error, want the one of the disk")
	}
	other := s.client(4, "other")
	other.Send(raw.Publish(2, "a", 1, nil, "x")) // is not kept
	other.Want("40020001")
	if err := s.Close(); err == nil {
		t.Error("close: got no error, want the one of the disk")
	}
	if p, err := c.TryNext(raw.Patience); err == nil {
		t.Errorf("got packet %x, want the end without an acknowledgement", p)
	}
}
