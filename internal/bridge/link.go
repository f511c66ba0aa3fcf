package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// identity is how a link introduces itself.
type identity struct {
	clientID           string
	username, password string
	keep               bool // the broker keeps the session
}

// refusedError is a CONNACK with a code other than 0.
type refusedError byte

func (e refusedError) Error() string {
	switch e {
	case 1:
		return "the broker does not speak MQTT 3.1.1"
	case 2:
		return "the broker refused the client id"
	case 3:
		return "the broker is not available"
	case 4:
		return "the broker refused the user name or password"
	case 5:
		return "the broker refused the connection: not authorised"
	}
	return fmt.Sprintf("the broker refused the connection with code %d", byte(e))
}

// speaker is an MQTT client that lives as long as one connection.
type speaker interface {
	connect() error
	subscribe(filters map[string]byte) (wait func(context.Context) (refused []string, err error))
	unsubscribe(ctx context.Context, filters []string) error
	disconnect(wait time.Duration)
}

// A link is one connection to the broker, from CONNACK to its end. It never comes back; a supervisor makes another.
type link struct {
	wire    *wire
	speaker speaker
	lost    <-chan error // why the MQTT library gave up, if it did
	session bool         // the broker had kept the session
	order   sync.Mutex   // held until what follows a SUBSCRIBE is pending
	timing  timing

	asked  sync.Once
	reason error
}

// openLink connects. The inlet is given everything received, from one goroutine, possibly before openLink returns.
func openLink(ctx context.Context, d dialer, id identity, maxPayload int, in inlet) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timing.connect)
	defer cancel()
	var current atomic.Pointer[wire]
	var dialErr error
	open := func() (net.Conn, error) {
		s, err := d.open(ctx)
		if err != nil {
			dialErr = err
			return nil, err
		}
		w := newWire(s, maxPayload)
		w.in.inlet = in
		current.Store(w)
		context.AfterFunc(ctx, func() {
			if !w.in.greeted.Load() {
				w.fail(context.Cause(ctx))
			}
		})
		return w, nil
	}
	p := newPaho(id, d.timing, open)
	err := p.connect()
	w := current.Load()
	if w == nil {
		return nil, dialError{dialErr}
	}
	if w.in.code != 0 || err != nil || !w.in.greeted.Load() {
		if err = w.why(); err == nil || err == errLibrary {
			err = errors.New("the broker does not answer as an MQTT broker")
		}
		if w.in.code != 0 {
			err = refusedError(w.in.code)
		}
		w.fail(err)
		p.disconnect(0)
		<-w.ended
		return nil, err
	}
	return &link{wire: w, speaker: p, lost: p.lost, session: w.in.session, timing: d.timing}, nil
}

// dialError is a failure before the broker has said anything.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// down is closed as soon as the link is known to be dead.
func (l *link) down() <-chan struct{} { return l.wire.down }

// why tells the reason, once it is down; nil before.
func (l *link) why() error {
	err := l.wire.why()
	if err != errLibrary {
		return err
	}
	// The library closes the connection first and says why later.
	l.asked.Do(func() {
		l.reason = err
		select {
		case l.reason = <-l.lost:
		case <-time.After(300 * time.Millisecond):
		}
	})
	return l.reason
}

// publish hands p over, after those before it; the wire tells p what has become of it.
func (l *link) publish(p *Publication) { l.wire.publish(p) }

// subscribe asks for filters at one QoS. A broker that does not answer is as good as gone.
func (l *link) subscribe(ctx context.Context, filters []string, qos byte) (refused []string, err error) {
	l.order.Lock()
	answer := l.speaker.subscribe(atQoS(filters, qos))
	l.order.Unlock()
	return l.granted(ctx, answer)
}

// subscribeAndPublish is subscribe with a message right behind it: both leave in one write, so that the broker reads
// the message before anything that we may answer to what the filters bring.
func (l *link) subscribeAndPublish(ctx context.Context, filters []string, qos byte, m Message) (refused []string, err error) {
	l.order.Lock()
	l.wire.follow(&Publication{msg: m, done: make(chan struct{})})
	answer := l.speaker.subscribe(atQoS(filters, qos))
	l.wire.waitFollowed()
	l.order.Unlock()
	return l.granted(ctx, answer)
}

func (l *link) granted(ctx context.Context, answer func(context.Context) ([]string, error)) (refused []string, err error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	if refused, err = answer(ctx); err != nil {
		l.wire.fail(err)
	}
	return refused, err
}

func atQoS(filters []string, qos byte) map[string]byte {
	m := make(map[string]byte, len(filters))
	for _, f := range filters {
		m[f] = qos
	}
	return m
}

func (l *link) unsubscribe(ctx context.Context, filters []string) error {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	err := l.speaker.unsubscribe(ctx, filters)
	if err != nil {
		l.wire.fail(err)
	}
	return err
}

// bounded is ctx with the time a broker has to answer, ended with the link too.
func (l *link) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, l.timing.answer)
	go func() {
		select {
		case <-l.down():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// close ends the link, cleanly if it is still alive, and returns when its goroutines have ended, or soon.
func (l *link) close() {
	l.speaker.disconnect(l.timing.quiesce)
	l.wire.fail(errLeft)
	<-l.wire.ended
}
