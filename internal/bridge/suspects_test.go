package bridge

import (
	"bytes"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
)

// guilt is what a broker closes the connection on, and a message of each sort.
var guilt = map[string]struct {
	conf string
	m    Message
	code ReasonCode // with which MQTT 5 says so
}{
	"retain":    {"retain_available false", Message{Topic: "lamp/1", Payload: []byte("on"), QoS: 1, Retain: true}, mqtt.RetainNotSupported},
	"clear":     {"retain_available false", Message{Topic: "lamp/1", QoS: 1, Retain: true}, mqtt.RetainNotSupported},
	"QoS 2":     {"max_qos 1", Message{Topic: "lamp/1", Payload: []byte("on"), QoS: 2}, mqtt.QoSNotSupported},
	"too large": {"max_packet_size 2000", Message{Topic: "lamp/1", Payload: make([]byte, 3000), QoS: 1}, mqtt.PacketTooLarge},
	"QoS 0":     {"retain_available false", Message{Topic: "lamp/1", Payload: []byte("on"), Retain: true}, mqtt.RetainNotSupported},
}

// publish publishes and waits for the outcome.
func (r *rig) publish(t testing.TB, m Message) error {
	t.Helper()
	p, err := r.Publish(m)
	if err != nil {
		return err
	}
	return p.Wait(within(t))
}

// A message that the broker closes the connection on is told so, when it was alone; and its like at once from then on.
func TestRefusedPublishIsToldSo(t *testing.T) {
	t.Parallel()
	for name, test := range guilt {
		t.Run(name, func(t *testing.T) {
			broker := brokertest.Start(t, brokertest.Conf(test.conf))
			bothVersions(t, func(t *testing.T, v mqtt.Version) {
				b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
				waitControl(t, b)
				err := b.publish(t, test.m)
				// In 3.1.1 there is no answer at QoS 0, and a connection that is reset over unread bytes proves nothing yet.
				if _, ok := errors.AsType[*Refusal](err); !ok && (v == mqtt.V5 || test.m.QoS > 0 && name != "too large") {
					t.Fatalf("first: got %v, want a refusal", err)
				}
				b.ready(t)
				eventually(t, "the like to be refused", func() bool {
					refusal, ok := errors.AsType[*Refusal](b.publish(t, test.m))
					return ok && (v == mqtt.V311 && refusal.For > 0 || v == mqtt.V5 && refusal.Reason == test.code)
				})
				eventually(t, "another message on its topic", func() bool { return b.send("lamp/1", "off", 1) == nil })
				// The lane once, and the trial link until there is a verdict.
				if most := map[mqtt.Version]uint64{mqtt.V311: 1 + resetsOfTheGuilty}[v]; b.Stats().Reconnects > most {
					t.Errorf("reconnects: got %d, want %d at most", b.Stats().Reconnects, most)
				}
				counted := uint64(0)
				for _, n := range b.Stats().Refused {
					counted += n
				}
				if counted == 0 {
					t.Error("no refusal was counted")
				}
			})
		})
	}
}

// What was queued for the trial link before the verdict fell is refused by it, and ends no further connection.
func TestVerdictHoldsForWhatIsQueued(t *testing.T) {
	t.Parallel()
	test := guilt["QoS 0"]
	broker := brokertest.Start(t, brokertest.Conf(test.conf))
	b := launch(t, broker.URL(), Config{Version: mqtt.V311, Pool: 1, Watch: []string{"#"}}).ready(t)
	waitControl(t, b)
	b.suspects.suspect([]kind{kindOf(test.m.Topic, test.m.QoS, test.m.Retain, len(test.m.Payload))})
	var queued []*Publication
	for range 20 {
		p, err := b.Publish(test.m)
		if err != nil {
			if _, is := errors.AsType[*Refusal](err); !is {
				t.Fatal(err)
			}
			break
		}
		queued = append(queued, p)
	}
	for _, p := range queued {
		p.Wait(within(t))
	}
	eventually(t, "a verdict", func() bool {
		_, is := errors.AsType[*Refusal](b.publish(t, test.m))
		return is
	})
	if _, is := errors.AsType[*Refusal](queued[len(queued)-1].Outcome()); !is {
		t.Errorf("the last of %d: got %v, want a refusal", len(queued), queued[len(queued)-1].Outcome())
	}
	if got := b.Stats().Reconnects; got > resetsOfTheGuilty {
		t.Errorf("reconnects: got %d, want %d at most", got, resetsOfTheGuilty)
	}
}

// One caller that repeats what the broker refuses takes the lane down once; the others go on, in order, on the same topics.
func TestRefusedPublishHurtsOnlyItsSender(t *testing.T) {
	t.Parallel()
	for name, test := range guilt {
		t.Run(name, func(t *testing.T) {
			broker := brokertest.Start(t, brokertest.Conf(test.conf))
			oracle := brokertest.Dial(t, broker.Addr())
			oracle.Subscribe("#", 1)
			b := launch(t, broker.URL(), Config{Version: mqtt.V311, Pool: 1, Watch: []string{"#"}}).ready(t)
			waitControl(t, b)
			var all sync.WaitGroup
			var stop atomic.Bool
			var refused, good atomic.Int32
			unknown := make([]int, 8)
			for n := range unknown {
				all.Go(func() {
					topic := "n/" + strconv.Itoa(n)
					if n == 0 {
						topic = "lamp/1"
					}
					for i := 0; !stop.Load(); i++ {
						switch err := b.send(topic, strconv.Itoa(i), 1); {
						case err == nil:
							good.Add(1)
						case errors.Is(err, ErrUnknown):
							unknown[n]++
						}
					}
				})
			}
			eventually(t, "load", func() bool { return good.Load() > 100 })
			for refused.Load() < 200 {
				if _, ok := errors.AsType[*Refusal](b.publish(t, test.m)); ok {
					refused.Add(1)
				}
			}
			before := good.Load()
			eventually(t, "more load", func() bool { return good.Load() > before+200 })
			stop.Store(true)
			all.Wait()
			for n, lost := range unknown {
				if lost > 3 {
					t.Errorf("neighbour %d: got %d unknown outcomes, want those of one or two ends of the lane", n, lost)
				}
			}
			if got := b.Stats().Reconnects; got > 5 {
				t.Errorf("reconnects: got %d", got)
			}
			inOrder(t, oracle.Received())
		})
	}
}

// A broker that restarts has refused nothing.
func TestRestartPutsNobodyUnderSuspicion(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v mqtt.Version) {
		b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
		for range 5 {
			waitControl(t, b)
			broker.Pause() // so that something is under way for certain
			p, err := b.Publish(Message{Topic: "a", QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
			broker.Kill()
			if err := p.Wait(within(t)); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotSent) {
				t.Errorf("got %v, want unknown, or not sent", err)
			}
			broker.StartAgain()
			b.ready(t)
		}
		b.suspects.mu.Lock()
		defer b.suspects.mu.Unlock()
		if len(b.suspects.guilty)+len(b.suspects.kinds) > 0 {
			t.Errorf("got guilty %v, suspects %v", b.suspects.guilty, b.suspects.kinds)
		}
	})
}

// What a suspicion turns out to be without ground for goes on as before.
func TestInnocentSuspectsAreCleared(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	b := launch(t, broker.URL(), Config{Pool: 1, Watch: []string{"#"}}).ready(t)
	var kinds []kind
	for i := range 10 {
		kinds = append(kinds, kindOf("s/"+strconv.Itoa(i), byte(i%3), false, 1))
	}
	b.suspects.suspect(kinds)
	for i := range 10 {
		for n := range 3 {
			if err := b.send("s/"+strconv.Itoa(i), strconv.Itoa(n), byte(i%3)); err != nil {
				t.Errorf("got %v", err)
			}
		}
	}
	b.suspects.mu.Lock()
	left := len(b.suspects.kinds) + len(b.suspects.topics)
	b.suspects.mu.Unlock()
	if left > 0 {
		t.Errorf("under suspicion: got %d", left)
	}
	broker.WaitLogCount("-trial0 ", 1)
}

// A filter that the broker answers by closing the connection is refused to who asks for it, and stops nobody else's.
func TestRefusedFilterHurtsOnlyWhoHoldsIt(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	bothVersions(t, func(t *testing.T, v mqtt.Version) {
		proxy := brokertest.StartProxy(t, broker.Addr())
		proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
			if dir == brokertest.Up && brokertest.PacketType(packet) == brokertest.SUBSCRIBE && bytes.Contains(packet, []byte("secret/")) {
				return nil, brokertest.CutNow
			}
			return nil, brokertest.Pass
		})
		b := launch(t, proxy.URL(), Config{Version: v, Pool: 1}).ready(t)
		waitControl(t, b)
		if err := b.Want(within(t), "open/1"); err != nil {
			t.Fatal(err)
		}
		// Alone, and in the middle of others.
		var all sync.WaitGroup
		for _, f := range []string{"secret/1", "open/2", "open/3", "secret/#", "open/4"} {
			all.Go(func() {
				err := b.Want(within(t), f)
				if f[0] == 'o' && err != nil || f[0] == 's' && err != nil && err != ErrRefused {
					t.Errorf("%s: got %v", f, err)
				}
			})
		}
		all.Wait()
		for _, f := range []string{"secret/1", "secret/#"} {
			eventually(t, f+" to be refused", func() bool { return b.Want(within(t), f) == ErrRefused })
		}
		eventually(t, "the others to be subscribed", func() bool { return b.Stats().UpstreamFilters == 4 && b.inbound.isUp() })
		got := b.Stats().Reconnects
		for i := range 4 {
			topic := "open/" + strconv.Itoa(i+1)
			eventually(t, topic, func() bool { return b.send(topic, "x", 1) == nil })
			b.rec.waitMessage(t, topic, "x")
		}
		wantErr(t, "again", b.Want(within(t), "secret/#"), ErrRefused)
		eventually(t, "retained copies to be refused", func() bool {
			_, err := b.Retained(within(t), "secret/1")
			return errors.Is(err, ErrRefused)
		})
		if after := b.Stats().Reconnects; after > got+resetsOfTheGuilty || got > 10 { // in company, and twice alone, for each
			t.Errorf("reconnects: got %d, then %d", got, after)
		}
	})
}

// A broker that closes on what the gateway asks for itself is used without it.
func TestBrokerThatClosesOnSYSIsUsedWithoutIt(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if dir == brokertest.Up && brokertest.PacketType(packet) == brokertest.SUBSCRIBE && bytes.Contains(packet, []byte("$")) {
			return nil, brokertest.CutNow
		}
		return nil, brokertest.Pass
	})
	b := launch(t, proxy.URL(), Config{Pool: 1, Watch: []string{"#"}}, func(b *Bridge) { b.timing.fenceFirst = 100 * 1e6 }).ready(t)
	if err := b.publish(t, Message{Topic: "kept", Payload: []byte("1"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	b.rec.waitMessage(t, "kept", "1")
	eventually(t, "retained copies", func() bool {
		got, err := b.Retained(within(t), "kept")
		return err == nil && len(got) == 1
	})
}

// A network resets connections too: one that does so on every acknowledgement proves nothing against the messages for
// quite a while, and none of them is called refused that may have arrived.
func TestResetOnceIsNoProof(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	for qos, packet := range map[byte]byte{1: brokertest.PUBACK, 2: brokertest.PUBREC} {
		proxy := brokertest.StartProxy(t, broker.Addr())
		b := launch(t, proxy.URL(), Config{Pool: 1, Watch: []string{"#"}}).ready(t)
		b.waitStatus(t, "tested", func(s Status) bool { return s.Tested })
		for n := range 2 {
			var armed atomic.Bool
			armed.Store(true)
			proxy.Hook(func(dir brokertest.Direction, p []byte) ([]byte, brokertest.Action) {
				if dir == brokertest.Down && brokertest.PacketType(p) == packet && armed.CompareAndSwap(true, false) {
					return nil, brokertest.CutNow
				}
				return nil, brokertest.Pass
			})
			before := b.Stats().Reconnects
			wantErr(t, "cut "+strconv.Itoa(n), b.send("a", strconv.Itoa(n), qos), ErrUnknown)
			eventually(t, "a new connection", func() bool { return b.Stats().Reconnects > before })
			b.ready(t)
		}
		if err := b.send("a", "3", qos); err != nil {
			t.Errorf("afterwards: got %v", err)
		}
	}
}

// That the broker goes on is shown by a link that it held before, not by one that was made to a broker that has restarted.
func TestRestartIsNoAnswerHoweverLateItIsAsked(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	dial := func(url string) *mqtt.Conn {
		k, err := mqtt.Dial(t.Context(), mqtt.Config{URL: mustParse(t, url), Version: mqtt.V311})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k
	}
	b := launch(t, broker.URL(), Config{Pool: 1}).ready(t)
	waitControl(t, b)

	k := dial(proxy.URL())
	proxy.Cut()
	<-k.Done()
	if !b.ending(k).answer {
		t.Error("a connection that ended alone: got no answer")
	}

	k = dial(broker.URL())
	broker.Kill()
	<-k.Done()
	broker.StartAgain()
	b.ready(t)
	waitControl(t, b)
	if b.ending(k).answer {
		t.Error("a broker that restarted: got an answer")
	}
}

// A kind that is refused and has come under suspicion again, because one was in flight meanwhile, is tried once its refusal
// is over, and goes on as before when it has proven good.
func TestSuspicionBehindAVerdictIsCleared(t *testing.T) {
	t.Parallel()
	s := newSuspects(slog.New(slog.DiscardHandler), 0)
	k := kindOf("lamp/1", 1, true, 2)
	s.convict(kindOf("lamp/2", 1, true, 2), 0)
	s.convict(k, 0)
	s.suspect([]kind{k})
	if refusal, trial := s.about(k); refusal != nil || !trial {
		t.Errorf("behind its refusal: got %v, %t, want a trial", refusal, trial)
	}
	s.clear(k)
	if refusal, trial := s.about(k); refusal != nil || trial {
		t.Errorf("proven good: got %v, %t, want neither", refusal, trial)
	}
}

// Two programs with one client id throw each other out, whatever they send: no filter and no message is refused for it.
func TestTakeoverIsNoAnswer(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, broker.URL(), Config{Pool: 1, ClientID: "twin"}, func(b *Bridge) { b.timing.flap = time.Hour }).ready(t)
	waitControl(t, b)
	brokertest.Dial(t, broker.Addr(), brokertest.ClientID("twin-pub0"))
	eventually(t, "the publisher is back", func() bool { return b.stats.reconnects.Load() > 0 })
	b.ready(t)
	k, err := mqtt.Dial(t.Context(), mqtt.Config{URL: mustParse(t, proxy.URL()), Version: mqtt.V311})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	proxy.Cut()
	<-k.Done()
	if b.ending(k).answer {
		t.Error("a connection that ended in a fight for the client id: got an answer")
	}
}
