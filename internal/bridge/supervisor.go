package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"
)

// A slot is one role of the bridge, for as long as the bridge runs: its links come and go, one at a time.
type slot struct {
	b     *Bridge
	part  part
	name  string
	id    identity
	begin func() inlet                       // for what a new link receives
	serve func(ctx context.Context, k *link) // returns when k is down or ctx is done
	wait  func()                             // for goroutines that may outlive a link
	wake  chan struct{}                      // another slot has got through: the broker is there
}

// plan makes the slots. The client ids stay the same over reconnects: the broker then drops what is left of the last
// connection, so that a message sent on it cannot arrive after one sent on the next.
func (b *Bridge) plan() []*slot {
	id := func(role string) identity {
		return identity{clientID: b.prefix + "-" + role, username: b.cfg.Username, password: b.cfg.Password}
	}
	slots := []*slot{
		{part: partSubscriber, name: "subscriber", id: id("sub0"), begin: b.live.begin, serve: b.subscriber},
		{part: partControl, name: "control", id: id("ctl0"), begin: b.fetch.begin, serve: b.control},
	}
	if b.cfg.ClientID != "" {
		slots[0].id.clientID, slots[0].id.keep = b.cfg.ClientID, true
	}
	for n, lane := range b.lanes {
		slots = append(slots, &slot{
			part: part(n), name: "publisher" + strconv.Itoa(n), id: id("pub" + strconv.Itoa(n)), begin: func() inlet { return nowhere },
			serve: func(ctx context.Context, k *link) {
				lane.serve(ctx, k, func() { b.status.up(part(n)) })
			},
			wait: lane.senders.Wait,
		})
	}
	for _, s := range slots {
		s.b, s.wake = b, make(chan struct{}, 1)
	}
	return slots
}

// run keeps the slot's link replaced until ctx is done.
func (s *slot) run(ctx context.Context) {
	d := dialer{url: s.b.cfg.URL, tls: s.b.cfg.TLS, timing: s.b.timing}
	pause := backoff{timing: s.b.timing, stable: s.b.cfg.ClientID != ""}
	if s.id.keep && len(s.b.cfg.Watch) == 0 {
		s.forget(ctx, d, &pause)
	}
	for life := 0; ctx.Err() == nil; {
		k, err := openLink(ctx, d, s.id, s.b.cfg.MaxPayload, s.begin())
		if err == nil {
			if life++; life > 1 {
				s.b.stats.reconnects.Add(1)
			}
			err = s.live(ctx, k, &pause)
		} else {
			pause.failed(err)
		}
		if ctx.Err() != nil {
			s.b.status.down(s.part, s.name, errLeft)
			break
		}
		s.b.status.down(s.part, s.name, err)
		s.sleep(ctx, pause.delay(), pause.flaps > 0)
	}
	if s.wait != nil {
		s.wait()
	}
}

// live is one link's life. It returns what ended it.
func (s *slot) live(ctx context.Context, k *link, pause *backoff) error {
	start := time.Now()
	s.b.log.Debug("link up", "link", s.name)
	s.b.wakeOthers(s)
	s.serve(ctx, k)
	reason := k.why()
	k.close()
	if pause.lived(time.Since(start)); pause.takenOver() && pause.flaps == takeoverFlaps+1 && ctx.Err() == nil {
		s.b.log.Warn("possible_takeover: connections end as soon as they are made; another client may use this id",
			"client_id", s.id.clientID)
	}
	return reason
}

// forget makes the broker drop a session left by an earlier process. Where nothing is watched for good, what it holds
// is for filters that nobody here has asked for, and it cannot be read off the broker which those are.
func (s *slot) forget(ctx context.Context, d dialer, pause *backoff) {
	clean := s.id
	clean.keep = false
	for ctx.Err() == nil {
		k, err := openLink(ctx, d, clean, s.b.cfg.MaxPayload, nowhere)
		if err == nil {
			k.close()
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

// takeoverFlaps: so many links in a row that hardly lived are an accident. One more, and somebody else uses our id.
const takeoverFlaps = 3

// backoff decides how long to wait before the next attempt: with full jitter, so that the slots of many gateways do
// not come back together.
type backoff struct {
	timing  timing
	stable  bool // our client ids are known to others
	attempt int
	flaps   int
	limit   time.Duration
}

// failed notes an attempt that led to no link. One that found nobody there costs the broker nothing and is repeated
// sooner than one that the broker has answered.
func (p *backoff) failed(err error) {
	p.limit = p.timing.backoffMax
	if _, ok := errors.AsType[dialError](err); ok {
		p.limit = p.timing.backoffDial
		p.flaps = 0 // it was the broker that went away
	}
}

// lived notes a link that has ended.
func (p *backoff) lived(d time.Duration) {
	p.limit = p.timing.backoffMax
	if d >= p.timing.settled {
		p.attempt = 0
	}
	if d >= p.timing.flap {
		p.flaps = 0
	} else {
		p.flaps++
	}
	if p.takenOver() {
		p.limit = p.timing.backoffTakeover
	}
}

func (p *backoff) takenOver() bool { return p.stable && p.flaps > takeoverFlaps }

// delay is the next pause.
func (p *backoff) delay() time.Duration {
	d := min(p.timing.backoffFirst<<min(p.attempt, 20), p.limit)
	p.attempt++
	if p.takenOver() {
		return d/2 + rand.N(d/2+1) // a short pause would only take the connection back
	}
	return rand.N(d + 1)
}
