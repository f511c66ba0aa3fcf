package broker

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// withWill connects a client that leaves "gone" on the topic will.
func (s *server) withWill(version byte, flags byte, connect [][]byte, will ...[]byte) *raw.Conn {
	s.t.Helper()
	c := raw.Dial(s.t, s.addr, version)
	c.Send(raw.Connect(version, 0x04|flags, raw.Props(connect...), "mortal", raw.Join(props(version, will...), raw.Text("will"), raw.Text("gone"))))
	c.Accepted()
	return c
}

func TestAWillIsPublishedWhenAConnectionIsLost(t *testing.T) {
	for name, tt := range map[string]struct {
		version byte
		end     []byte // what the client sends before it closes
		want    string
	}{
		"lost":                   {4, nil, "gone"},
		"lost, 5":                {5, nil, "gone"},
		"malformed packet":       {4, []byte{0, 0}, "gone"},
		"DISCONNECT":             {4, []byte{0xE0, 0}, ""},
		"DISCONNECT, 5":          {5, []byte{0xE0, 0}, ""},
		"DISCONNECT with a will": {5, []byte{0xE0, 1, 4}, "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			sub := s.subscribed(1, "will", "end")
			c := s.withWill(tt.version, 0x2A, nil) // clean, QoS 1, retained
			if tt.end != nil {
				c.Send(tt.end)
			}
			_ = c.Close()
			eventually(t, "the connection has ended", func() bool { return s.figure(func() int64 { return int64(s.offline + len(s.conns)) }) == 1 })
			s.publish("end", "end", 1, false)
			got := until(t, sub, "end")
			if payloads(got) != tt.want || tt.want != "" && (got[0].QoS != 1 || got[0].Retain) {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
			late := s.subscribed(1, "will", "end")
			s.publish("end", "over", 1, false)
			if got := payloads(until(t, late, "over")); got != tt.want {
				t.Errorf("retained: got %q, want %q", got, tt.want)
			}
		})
	}
}

// A will without a payload is one: retained, it clears a topic.
func TestAnEmptyWillClearsItsTopic(t *testing.T) {
	s := start(t)
	s.publish("state", "online", 1, true)
	sub := s.subscribed(1, "state")
	sub.WaitCount(1, raw.Patience)
	c := raw.Dial(t, s.addr, 4)
	c.Send(raw.Connect(4, 0x26, nil, "c", raw.Text("state"), raw.Text("")))
	c.Accepted()
	_ = c.Close()
	if m := sub.WaitCount(2, raw.Patience)[1]; len(m.Payload) != 0 {
		t.Errorf("got %q, want nothing", m.Payload)
	}
	if got := s.figure(func() int64 { return int64(s.retainedCount) }); got != 0 {
		t.Errorf("got %d retained messages, want 0", got)
	}
}

func TestAWillHasItsProperties(t *testing.T) {
	s := start(t)
	sub := s.client(5, "sub")
	sub.Send(raw.Subscribe(1, raw.Props(), "will", 0))
	sub.Want("900400010000")
	kept := [][]byte{{1, 1}, raw.User("a", "b"), raw.Join([]byte{8}, raw.Text("answer"))}
	c := s.withWill(5, 2, nil, append(kept, raw.Prop32(24, 0))...)
	_ = c.Close()
	sub.Want(hex.EncodeToString(raw.Publish(0, "will", 0, raw.Props(kept...), "gone")))
}

func TestAWillWaitsForItsDelayAndForTheClient(t *testing.T) {
	keep, delayed := [][]byte{raw.Prop32(17, 600)}, func(n uint32) []byte { return raw.Prop32(24, n) }
	t.Run("published after the delay", func(t *testing.T) {
		s := start(t)
		sub := s.subscribed(1, "will")
		_ = s.withWill(5, 0, keep, delayed(1)).Close()
		begin := time.Now()
		sub.WaitCount(1, raw.Patience)
		if took := time.Since(begin); took < 900*time.Millisecond {
			t.Errorf("came after %v, want a second", took)
		}
	})
	t.Run("not if the client comes back", func(t *testing.T) {
		s := start(t)
		sub := s.subscribed(1, "will", "end")
		_ = s.withWill(5, 0, keep, delayed(600)).Close()
		eventually(t, "the connection has ended", func() bool { return s.figure(func() int64 { return int64(s.offline) }) == 1 })
		_ = raw.Client(t, s.addr, 5, "mortal", 0, keep...)
		s.publish("end", "end", 1, false)
		if got := payloads(until(t, sub, "end")); got != "" {
			t.Errorf("got %q, want nothing", got)
		}
		eventually(t, "nothing is held any more", func() bool { return s.heldNow() == 0 })
	})
	t.Run("published when the session ends before", func(t *testing.T) {
		s := start(t)
		sub := s.subscribed(1, "will")
		_ = s.withWill(5, 0, [][]byte{raw.Prop32(17, 1)}, delayed(600)).Close()
		sub.WaitCount(1, raw.Patience)
	})
	for name, comeBack := range map[string]byte{"at once if the session ends": 2, "at once without a session": 0} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			sub := s.subscribed(1, "will")
			connect := keep
			if comeBack == 0 {
				connect = nil // the session ends with the connection
			}
			_ = s.withWill(5, 0, connect, delayed(600)).Close()
			eventually(t, "the connection has ended", func() bool { return s.figure(func() int64 { return int64(len(s.conns)) }) == 1 })
			_ = raw.Client(t, s.addr, 5, "mortal", comeBack)
			sub.WaitCount(1, raw.Patience)
		})
	}
	t.Run("when another connection takes over", func(t *testing.T) {
		s := start(t)
		sub := s.subscribed(1, "will")
		first := s.withWill(5, 2, nil)
		second := s.withWill(5, 2, nil)
		first.WantEnd(0x8E)
		sub.WaitCount(1, raw.Patience)
		second.Ping()
	})
}

func TestAWillMayNotForgeTheBrokersTopics(t *testing.T) {
	s := start(t)
	sub := s.subscribed(0, "$SYS/#")
	c := raw.Dial(t, s.addr, 4)
	c.Send(raw.Connect(4, 0x26, nil, "c", raw.Text("$SYS/broker/version"), raw.Text("forged")))
	c.Accepted()
	_ = c.Close()
	eventually(t, "the will is given up", func() bool { return s.figure(func() int64 { return int64(len(s.sessions)) }) == 1 })
	for _, m := range sub.Received() {
		if string(m.Payload) == "forged" {
			t.Error("a client has published to $SYS")
		}
	}
	if m := brokertest.Dial(t, s.addr); m.Subscribe("$SYS/broker/version", 0) != 0 {
		t.Error("cannot subscribe")
	} else if got := m.WaitCount(1, raw.Patience)[0].Payload; string(got) == "forged" {
		t.Errorf("got version %q", got)
	}
}
