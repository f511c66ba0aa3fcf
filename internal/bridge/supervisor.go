package bridge

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// A role is what connections are for, subscriber, control, one lane of publishers, for as long as the bridge runs: its links come and go, one at a time.
type role struct {
	b     *Bridge
	part  part
	name  string
	id    identity
	begin func(mqtt.Version) mqtt.Handler         // for what a new link receives
	serve func(ctx context.Context, k *mqtt.Conn) // returns when k is down or ctx is done
	judge func(k *mqtt.Conn)                      // gives what was under way its outcome; or nil
	wait  func()                                  // for goroutines that may outlive a link
	wake  chan struct{}                           // another role has got through: the broker is there

	closed int // times in a row that the broker has closed the connection on a CONNECT of MQTT 5, and had others
}

// closedOnConnect: so often in a row is no accident. What the role asks for is then asked for in 3.1.1.
const closedOnConnect = 3

// identity is how a link introduces itself.
type identity struct {
	clientID string
	keep     bool // the broker keeps the session
}

// plan makes the roles. The client ids stay the same over reconnects: the broker then drops what is left of the last
// connection, so that a message sent on it cannot arrive after one sent on the next.
func (b *Bridge) plan() []*role {
	id := func(name string) identity {
		return identity{clientID: b.prefix + "-" + name}
	}
	roles := []*role{
		{part: partSubscriber, name: "subscriber", id: id("sub0"), begin: b.inbound.begin, serve: b.subscriber},
		{part: partControl, name: "control", id: id("ctl0"), begin: b.fetch.begin, serve: b.control},
	}
	if b.cfg.ClientID != "" {
		roles[0].id.clientID, roles[0].id.keep = b.cfg.ClientID, true
	}
	for n, lane := range b.lanes {
		roles = append(roles, &role{
			part: part(n), name: "publisher" + strconv.Itoa(n), id: id("pub" + strconv.Itoa(n)), begin: nothing,
			serve: func(ctx context.Context, k *mqtt.Conn) {
				lane.serve(ctx, k, b.timing.drain, func() { b.status.up(part(n)) })
			},
			judge: func(k *mqtt.Conn) { b.judge(lane, k) },
			wait:  lane.senders.Wait,
		})
	}
	for _, r := range roles {
		r.b, r.wake = b, make(chan struct{}, 1)
	}
	return roles
}

// run keeps the role's link replaced until ctx is done.
func (r *role) run(ctx context.Context) {
	pause := backoff{timing: r.b.timing, stable: r.b.cfg.ClientID != ""}
	if r.id.keep && len(r.b.cfg.Watch) == 0 {
		r.forget(ctx, &pause)
	}
	for life := 0; ctx.Err() == nil; {
		k, err := r.dial(ctx, r.id, r.begin)
		if err == nil {
			if life++; life > 1 {
				r.b.stats.reconnects.Add(1)
			}
			err = r.live(ctx, k, life, &pause)
		} else {
			pause.failed(err)
		}
		if ctx.Err() != nil {
			r.b.status.down(r.part, r.name, mqtt.ErrClosed)
			break
		}
		r.b.status.down(r.part, r.name, err)
		r.sleep(ctx, pause.delay(), pause.flaps > 0)
	}
	if r.wait != nil {
		r.wait()
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
func (r *role) dial(ctx context.Context, id identity, begin func(mqtt.Version) mqtt.Handler) (*mqtt.Conn, error) {
	b, t := r.b, r.b.timing
	cfg := mqtt.Config{
		URL: b.cfg.URL, TLS: b.cfg.TLS, ClientID: id.clientID, Username: b.cfg.Username, Password: b.cfg.Password,
		KeepSession: id.keep, MaxPayload: b.cfg.MaxPayload, Window: laneMessages,
		ConnectTime: t.connect, KeepAlive: t.keepAlive, PingTime: t.ping, WriteTime: t.write, AnswerTime: t.answer,
	}
	if id.keep {
		cfg.SessionExpiry = keepForGood
	}
	if r.part == partSubscriber {
		cfg.ReceiveBuffer, cfg.ReadAhead = subscriberBuffer, subscriberAhead
	}
	for {
		cfg.Version = b.version.choose()
		aside := cfg.Version == mqtt.V5 && b.version.fixed == 0 && r.closed >= closedOnConnect
		if aside {
			cfg.Version = mqtt.V311
		}
		cfg.Handler = begin(cfg.Version)
		k, err := mqtt.Dial(ctx, cfg)
		switch {
		case err == nil && !aside:
			r.closed = 0
			b.version.worked(cfg.Version)
			return k, nil
		case err == nil:
			return k, nil
		case !aside && errors.Is(err, mqtt.ErrClosedOnConnect) && b.links.any():
			r.closed++
		default:
			r.closed = 0
		}
		if aside || !b.version.failed(cfg.Version, err) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// live is one link's life, the how manieth of the role. It returns what ended it.
func (r *role) live(ctx context.Context, k *mqtt.Conn, life int, pause *backoff) error {
	start := time.Now()
	r.b.log.Debug("link up", "link", r.name)
	r.b.wakeOthers(r)
	r.b.links.add(k, life)
	r.serve(ctx, k)
	r.b.links.remove(k)
	reason := k.Err()
	k.Close()
	if r.judge != nil {
		r.judge(k)
	}
	if pause.lived(time.Since(start)); pause.takenOver() && pause.flaps == takeoverFlaps+1 && ctx.Err() == nil {
		r.b.log.Warn("possible_takeover: connections end as soon as they are made; another client may use this id",
			"client_id", r.id.clientID)
	}
	return reason
}

// forget makes the broker drop a session left by an earlier process. Where nothing is watched for good, what it holds
// is for filters that nobody here has asked for, and it cannot be read off the broker which those are.
func (r *role) forget(ctx context.Context, pause *backoff) {
	clean := r.id
	clean.keep = false
	for ctx.Err() == nil {
		k, err := r.dial(ctx, clean, nothing)
		if err == nil {
			k.Close()
			return
		}
		pause.failed(err)
		r.b.status.down(r.part, r.name, err)
		r.sleep(ctx, pause.delay(), false)
	}
}

// sleep waits before the next attempt. That another role has got through is no news to one that gets through and is
// thrown out at once: such roles would keep waking each other.
func (r *role) sleep(ctx context.Context, d time.Duration, deaf bool) {
	wake := r.wake
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

// wakeOthers ends the pauses of the roles that wait for the same broker.
func (b *Bridge) wakeOthers(but *role) {
	for _, r := range b.roles {
		if r == but {
			continue
		}
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}
