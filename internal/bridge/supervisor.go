package bridge

import (
	"context"
	"strconv"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// A slot is one role of the bridge, for as long as the bridge runs: its links come and go, one at a time.
type slot struct {
	b     *Bridge
	part  part
	name  string
	id    identity
	begin func(mqtt.Version) mqtt.Handler         // for what a new link receives
	serve func(ctx context.Context, k *mqtt.Conn) // returns when k is down or ctx is done
	judge func(k *mqtt.Conn)                      // gives what was under way its outcome; or nil
	wait  func()                                  // for goroutines that may outlive a link
	wake  chan struct{}                           // another slot has got through: the broker is there
}

// identity is how a link introduces itself.
type identity struct {
	clientID string
	keep     bool // the broker keeps the session
}

// plan makes the slots. The client ids stay the same over reconnects: the broker then drops what is left of the last
// connection, so that a message sent on it cannot arrive after one sent on the next.
func (b *Bridge) plan() []*slot {
	id := func(role string) identity {
		return identity{clientID: b.prefix + "-" + role}
	}
	slots := []*slot{
		{part: partSubscriber, name: "subscriber", id: id("sub0"), begin: b.inbound.begin, serve: b.subscriber},
		{part: partControl, name: "control", id: id("ctl0"), begin: b.fetch.begin, serve: b.control},
	}
	if b.cfg.ClientID != "" {
		slots[0].id.clientID, slots[0].id.keep = b.cfg.ClientID, true
	}
	for n, lane := range b.lanes {
		slots = append(slots, &slot{
			part: part(n), name: "publisher" + strconv.Itoa(n), id: id("pub" + strconv.Itoa(n)), begin: nothing,
			serve: func(ctx context.Context, k *mqtt.Conn) {
				lane.serve(ctx, k, b.timing.drain, func() { b.status.up(part(n)) })
			},
			judge: func(k *mqtt.Conn) { b.judge(lane, k) },
			wait:  lane.senders.Wait,
		})
	}
	for _, s := range slots {
		s.b, s.wake = b, make(chan struct{}, 1)
	}
	return slots
}

// run keeps the slot's link replaced until ctx is done.
func (s *slot) run(ctx context.Context) {
	pause := backoff{timing: s.b.timing, stable: s.b.cfg.ClientID != ""}
	if s.id.keep && len(s.b.cfg.Watch) == 0 {
		s.forget(ctx, &pause)
	}
	for life := 0; ctx.Err() == nil; {
		k, err := s.dial(ctx, s.id, s.begin)
		if err == nil {
			if life++; life > 1 {
				s.b.stats.reconnects.Add(1)
			}
			err = s.live(ctx, k, life, &pause)
		} else {
			pause.failed(err)
		}
		if ctx.Err() != nil {
			s.b.status.down(s.part, s.name, mqtt.ErrClosed)
			break
		}
		s.b.status.down(s.part, s.name, err)
		s.sleep(ctx, pause.delay(), pause.flaps > 0)
	}
	if s.wait != nil {
		s.wait()
	}
}

// nothing is for links that subscribe to nothing.
func nothing(mqtt.Version) mqtt.Handler { return nil }

// What a burst can fill while the gateway is busy: in the kernel, and here.
const (
	subscriberBuffer = 32 << 20
	subscriberAhead  = 64 << 20
)

// keepForGood is the session expiry of a kept session, MQTT 5, 3.1.2.11.2: what clean session 0 means in 3.1.1.
const keepForGood = 1<<32 - 1

// dial makes a link, in the version that the broker speaks.
func (s *slot) dial(ctx context.Context, id identity, begin func(mqtt.Version) mqtt.Handler) (*mqtt.Conn, error) {
	b, t := s.b, s.b.timing
	cfg := mqtt.Config{
		URL: b.cfg.URL, TLS: b.cfg.TLS, ClientID: id.clientID, Username: b.cfg.Username, Password: b.cfg.Password,
		KeepSession: id.keep, MaxPayload: b.cfg.MaxPayload, Window: laneMessages,
		ConnectTime: t.connect, KeepAlive: t.keepAlive, PingTime: t.ping, WriteTime: t.write, AnswerTime: t.answer,
	}
	if id.keep {
		cfg.SessionExpiry = keepForGood
	}
	if s.part == partSubscriber {
		cfg.ReceiveBuffer, cfg.ReadAhead = subscriberBuffer, subscriberAhead
	}
	for {
		cfg.Version = b.version.choose()
		cfg.Handler = begin(cfg.Version)
		k, err := mqtt.Dial(ctx, cfg)
		if err == nil {
			b.version.worked(cfg.Version)
			return k, nil
		}
		if !b.version.failed(cfg.Version, err) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// live is one link's life, the how manieth of the slot. It returns what ended it.
func (s *slot) live(ctx context.Context, k *mqtt.Conn, life int, pause *backoff) error {
	start := time.Now()
	s.b.log.Debug("link up", "link", s.name)
	s.b.wakeOthers(s)
	s.b.links.add(k, life)
	s.serve(ctx, k)
	s.b.links.remove(k)
	reason := k.Err()
	k.Close()
	if s.judge != nil {
		s.judge(k)
	}
	if pause.lived(time.Since(start)); pause.takenOver() && pause.flaps == takeoverFlaps+1 && ctx.Err() == nil {
		s.b.log.Warn("possible_takeover: connections end as soon as they are made; another client may use this id",
			"client_id", s.id.clientID)
	}
	return reason
}

// forget makes the broker drop a session left by an earlier process. Where nothing is watched for good, what it holds
// is for filters that nobody here has asked for, and it cannot be read off the broker which those are.
func (s *slot) forget(ctx context.Context, pause *backoff) {
	clean := s.id
	clean.keep = false
	for ctx.Err() == nil {
		k, err := s.dial(ctx, clean, nothing)
		if err == nil {
			k.Close()
			return
		}
		pause.failed(err)
		s.b.status.down(s.part, s.name, err)
		s.sleep(ctx, pause.delay(), false)
	}
}

// sleep waits before the next attempt. That another slot has got through is no news to one that gets through and is
// thrown out at once: such slots would keep waking each other.
func (s *slot) sleep(ctx context.Context, d time.Duration, deaf bool) {
	wake := s.wake
	if deaf {
		wake = nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// wakeOthers ends the pauses of the slots that wait for the same broker.
func (b *Bridge) wakeOthers(but *slot) {
	for _, s := range b.slots {
		if s == but {
			continue
		}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
