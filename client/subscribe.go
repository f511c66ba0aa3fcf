package client

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// SubscribeOption changes a Subscribe.
type SubscribeOption func(*subscribing)

type subscribing struct {
	fields   map[string]any // of the op, beside the filters
	since    string
	atCursor bool // since is a cursor
}

// Since begins behind the place that a cursor names, which may be that of an
// earlier program: see [Subscription.Cursor].
func Since(cursor string) SubscribeOption {
	return func(s *subscribing) { s.since, s.atCursor = cursor, true }
}

// SinceTime begins with what was received from a time on, as far as the gateway
// remembers it.
func SinceTime(t time.Time) SubscribeOption {
	return func(s *subscribing) { s.since, s.atCursor = t.UTC().Format(time.RFC3339Nano), false }
}

// SinceAgo is SinceTime by how long ago.
func SinceAgo(d time.Duration) SubscribeOption {
	return func(s *subscribing) { s.since, s.atCursor = d.String(), false }
}

func subscribeField(name string, value any) SubscribeOption {
	return func(s *subscribing) { s.fields[name] = value }
}

// Snapshot brings the newest message of every topic first, and then a
// SnapshotEnd. Without it only what the broker keeps as retained comes first.
func Snapshot() SubscribeOption { return subscribeField(wire.FieldSnapshot, true) }

// MinInterval: of each topic at most one message in this time, the newest.
func MinInterval(d time.Duration) SubscribeOption {
	return subscribeField(wire.FieldMinInterval, d.String())
}

// Overflow says what happens when we do not keep up: catchup (the default: the
// rest comes from the gateway's history), close, drop or latest.
func Overflow(policy string) SubscribeOption { return subscribeField(wire.FieldOverflow, policy) }

// Subscription is a stream of messages that comes back by itself. It has a
// connection of its own and no goroutine: whoever loops over Events reads from
// the socket. What is not read waits there and at the gateway, which serves a
// reader that falls behind from its history.
type Subscription struct {
	client *Client
	opts   subscribing
	life   context.Context // of the caller
	ctx    context.Context // ends with life, with Close and with the client
	cancel context.CancelFunc

	reading sync.Mutex // held by the loop over Events; guards the next part

	filters  []string // without those that were refused
	join     joining
	attempts int       // without success
	joined   time.Time // when this connection's subscription came into force
	pending  []outcome // what came while Subscribe waited
	failed   *Error    // the end
	told     bool      // of the snapshot's end

	mu     sync.Mutex
	socket *socket     // guarded by mu
	closed bool        // guarded by mu
	cursor string      // guarded by mu
	forget func() bool // guarded by mu; ends what waits for life's end
}

// outcome is what a loop is given, or nothing.
type outcome struct {
	event Event
	err   error
}

func (o outcome) is() bool { return o.event != nil || o.err != nil }

// Subscribe subscribes to all messages that match one of the filters, until ctx
// or the client ends or the Subscription is closed. It returns when the
// subscription is in force, or when the first attempt has failed: then Events
// goes on trying, and says what cannot be mended.
func (c *Client) Subscribe(ctx context.Context, filters []string, options ...SubscribeOption) *Subscription {
	s := &Subscription{client: c, life: ctx, filters: slices.Clone(filters), opts: subscribing{fields: map[string]any{}}}
	for _, o := range options {
		o(&s.opts)
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.reading.Lock()
	defer s.reading.Unlock()
	c.mu.Lock()
	if c.closed {
		s.failed = closedError()
	} else {
		c.subs[s] = true
	}
	c.mu.Unlock()
	s.mu.Lock()
	s.forget = context.AfterFunc(ctx, s.Close)
	s.mu.Unlock()
	if s.failed == nil && s.open() {
		s.wait()
	}
	return s
}

// wait reads until the subscription is in force, for Options.Timeout at most.
func (s *Subscription) wait() {
	if k := s.current(); k != nil {
		defer k.answersWithin(s.client.opts.Timeout)()
	}
	for len(s.pending) < 16 && s.joined.IsZero() {
		o, ok := s.step()
		if o.is() {
			s.pending = append(s.pending, o)
		}
		if !ok {
			return
		}
	}
}

// Events are what comes, in order, for one loop at a time. A loop that is left
// can be followed by another, which goes on where it was.
//
// An error comes without an event. One with a Filter says that this filter was
// refused; the loop may go on with the others. Behind one that ends everything,
// or the end of the subscription's context, the loop ends. A connection that is
// lost is no error: the stream goes on behind the last message.
func (s *Subscription) Events() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if !s.reading.TryLock() {
			yield(nil, errors.New("client: another loop reads this subscription"))
			return
		}
		defer s.reading.Unlock()
		for {
			o, ok := s.next()
			if o.is() && !yield(o.event, o.err) || !ok {
				return
			}
		}
	}
}

// Cursor is the place behind which the stream goes on: keep it, and a later
// program begins there with Since. It is empty before the subscription is in
// force.
func (s *Subscription) Cursor() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor
}

func (s *Subscription) setCursor(cursor string) {
	s.mu.Lock()
	s.cursor = cursor
	s.mu.Unlock()
}

// Close ends the subscription; a loop over Events ends without an error.
func (s *Subscription) Close() {
	s.mu.Lock()
	s.closed = true
	if s.forget != nil {
		s.forget()
	}
	s.mu.Unlock()
	s.cancel()
	s.hangUp()
	s.client.mu.Lock()
	delete(s.client.subs, s)
	s.client.mu.Unlock()
}

func (s *Subscription) hangUp() {
	s.mu.Lock()
	k := s.socket
	s.socket = nil
	s.mu.Unlock()
	if k != nil {
		k.close()
	}
}

func (s *Subscription) current() *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.socket
}

// next waits for the next event. Not ok: it is the last.
func (s *Subscription) next() (o outcome, ok bool) {
	for {
		if len(s.pending) > 0 {
			o, s.pending = s.pending[0], s.pending[1:]
			return o, true
		}
		switch {
		case s.life.Err() != nil:
			return outcome{err: s.life.Err()}, false
		case s.ctx.Err() != nil:
			return outcome{}, false
		case s.failed != nil:
			return outcome{err: s.failed}, false
		}
		if s.current() == nil && !s.open() {
			continue
		}
		if o, _ = s.step(); o.is() {
			return o, true
		}
	}
}

// fail takes the end of a connection, or of an attempt to get one: it waits
// before the next one, or that was all.
func (s *Subscription) fail(e *Error) {
	s.hangUp()
	if s.ctx.Err() != nil {
		return
	}
	if !e.Retryable {
		s.failed = e
		return
	}
	if !s.joined.IsZero() && time.Since(s.joined) > 5*time.Second {
		s.attempts = 0
	}
	s.joined = time.Time{}
	s.join.pause = max(s.client.pause(s.attempts), e.RetryAfter)
	s.attempts++
	s.client.waiting(e, s.join.pause)
}
