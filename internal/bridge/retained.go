package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// fetcher fetches retained messages on the control link, in rounds: whatever has been asked for until a round starts
// goes into it, as one SUBSCRIBE. A broker sends the retained copies for that; a fence, a message published behind it
// on the same link, comes back after them. When the subscriber link has passed the same fence, it has passed
// everything that is older than the copies.
//
// The round is at QoS 1, like the fence, because at the broker a QoS 0 message overtakes QoS 1 messages that wait. But
// a broker keeps only so many QoS 1 messages waiting, and drops the rest of the copies and the fence behind them. So
// if the fence stays away, the round is repeated at QoS 0, where nothing waits.
type fetcher struct {
	b    *Bridge
	kick chan struct{}

	fences  atomic.Uint64
	handed  sync.WaitGroup // rounds that wait for the subscriber link
	noFence atomic.Bool    // on this control link fences do not come back
	fence0  atomic.Bool    // on this control link they are sent at QoS 0
	warned  atomic.Bool

	lately refusedLately // owned by the goroutine that serves the control link

	mu    sync.Mutex // guards the rest
	link  *mqtt.Conn
	ready chan struct{} // closed while there is a link
	queue []*request
	round *round
	big   map[string]bool // filters whose copies did not fit at QoS 1
	alone map[string]bool // filters that are asked for by themselves
}

func newFetcher(b *Bridge) *fetcher {
	return &fetcher{b: b, kick: make(chan struct{}, 1), ready: make(chan struct{}), big: make(map[string]bool), alone: make(map[string]bool)}
}

// bigFilters bounds fetcher.big.
const bigFilters = 1000

// A request is one call of Retained.
type request struct {
	filter string
	gone   atomic.Bool // the caller has
	found  map[string]Message
	done   chan error
}

// A round is the collection of one SUBSCRIBE. It is guarded by the fetcher's lock.
type round struct {
	requests []*request
	fence    string
	passed   chan struct{} // closed when the fence is back
	last     time.Time     // when a copy last arrived
	copies   int
}

// Retained returns the retained messages that match filter, sorted by topic, after the Receiver has been given every
// live message that was sent before they were read: a value among them is never older than what was received before.
// One caller's fetch serves only that caller; it is meant to be called once per new filter.
//
// The errors are [ErrNoConnection], when the control or the subscriber link is down or goes down meanwhile,
// [ErrRefused], [ErrBehind], [ErrInvalid] and that of ctx.
func (b *Bridge) Retained(ctx context.Context, filter string) ([]Message, error) {
	if err := topic.CheckSystemFilter(filter); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if b.suspects.guiltyFilter(filter) {
		return nil, ErrRefused
	}
	r := &request{filter: filter, done: make(chan error, 1)}
	if !b.inbound.isUp() || !b.fetch.awaitLink(ctx) || !b.fetch.enqueue(r) {
		return nil, cmp.Or(ctx.Err(), ErrNoConnection)
	}
	select {
	case err := <-r.done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		r.gone.Store(true)
		return nil, ctx.Err()
	}
	return slices.SortedFunc(maps.Values(r.found), func(a, b Message) int { return strings.Compare(a.Topic, b.Topic) }), nil
}

// awaitLink waits for a control link, which may come up a moment after the subscriber link.
func (f *fetcher) awaitLink(ctx context.Context) bool {
	f.mu.Lock()
	ready := f.ready
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, f.b.timing.control)
	defer cancel()
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *fetcher) enqueue(r *request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.link == nil {
		return false
	}
	f.queue = append(f.queue, r)
	f.wake()
	return true
}

func (f *fetcher) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// begin gives the handler of a control link.
func (f *fetcher) begin(mqtt.Version) mqtt.Handler { return copies{f} }

// copies is what the control links bring.
type copies struct{ f *fetcher }

func (c copies) Message(m mqtt.Message) bool {
	return c.f.got(Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Properties: m.Properties})
}

func (c copies) Skipped(m mqtt.Skipped) bool {
	return c.f.got(Message{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, TooLarge: max(m.Size, 1)})
}

func (copies) Rest() {}

// got handles one message of a control link.
func (f *fetcher) got(m Message) (taken bool) {
	switch {
	case m.Topic == f.b.fence:
		f.mu.Lock()
		defer f.mu.Unlock()
		if r := f.round; r != nil && r.fence == string(m.Payload) {
			r.fence = ""
			close(r.passed)
		}
	case len(m.Topic) > 0 && m.Topic[0] == '$':
		f.b.sys.got(m)
		if m.Retain { // for an operator, it may be
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.round != nil {
				f.round.collect(m)
			}
		}
	case m.Retain: // without it, a live copy: the subscriber link has it too
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.round != nil {
			f.round.collect(m)
		}
	}
	return true
}

// collect gives a copy to those who asked for it. Requests that overlap may have it sent twice.
func (r *round) collect(m Message) {
	r.last = time.Now()
	r.copies++
	for _, q := range r.requests {
		if topic.Match(q.filter, m.Topic) {
			q.found[m.Topic] = m
		}
	}
}

// control serves a link of the control role.
func (b *Bridge) control(ctx context.Context, k *mqtt.Conn) {
	f := b.fetch
	if !b.own(ctx, k, []string{b.fence}, 1) || !b.own(ctx, k, slices.Collect(maps.Keys(sysNames)), 0) {
		return
	}
	f.chooseFence(k)
	f.mu.Lock()
	f.link = k
	close(f.ready)
	f.mu.Unlock()
	b.status.up(partControl)
	f.lately = refusedLately{}
	f.serve(ctx, k)
	if f.lately.recent() && k.Err() != nil && b.ending(k).answer {
		b.suspects.convictFilters(f.lately.filters)
	}
	f.mu.Lock()
	left := f.queue
	f.link, f.queue, f.round, f.ready = nil, nil, nil, make(chan struct{})
	f.mu.Unlock()
	answer(left, ErrNoConnection)
	f.handed.Wait()
}

// own subscribes what the gateway needs for itself. It is false when the link is done for. A broker that closes it on that
// is not asked again for a while.
func (b *Bridge) own(ctx context.Context, k *mqtt.Conn, filters []string, qos byte) bool {
	if slices.ContainsFunc(filters, b.suspects.guiltyFilter) {
		return true
	}
	_, err := subscribeAs(ctx, k, ownIdentifier, filters, qos, withCopies, nil)
	if err == nil {
		b.suspects.took(filters)
		return true
	}
	if e := b.ending(k); e.answer {
		b.suspects.closedOn(filters, e)
	}
	return false
}

func (f *fetcher) serve(ctx context.Context, k *mqtt.Conn) {
	beat := time.NewTicker(f.b.timing.beat)
	defer beat.Stop()
	tested := false
	for k.Err() == nil && ctx.Err() == nil {
		if !tested && f.b.inbound.isUp() {
			warning, known := f.selfTest(ctx, k)
			if !known {
				continue
			}
			tested = true
			f.b.status.tested(warning)
		}
		if requests := f.take(); len(requests) > 0 {
			if tested {
				f.run(ctx, k, requests)
			} else {
				answer(requests, ErrNoConnection) // the subscriber link has just gone
			}
			continue
		}
		select {
		case <-f.kick:
		case <-beat.C:
			k.Ping() // mosquitto 2.1 publishes its figures only when something wakes it
		case <-k.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// take removes the next round's requests from the queue: what fits into one SUBSCRIBE, oldest first. A filter that was
// asked for when the broker closed the link is asked for by itself, when there is nothing else.
func (f *fetcher) take() (requests []*request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := 0
	var left []*request
	for i, r := range f.queue {
		if len(requests) == batchFilters || size >= batchBytes {
			left = append(left, f.queue[i:]...)
			break
		}
		switch {
		case r.gone.Load():
		case f.alone[r.filter]:
			left = append(left, r)
		default:
			requests = append(requests, r)
			size += len(r.filter)
		}
	}
	if len(requests) == 0 && len(left) > 0 {
		requests, left = left[:1:1], left[1:]
	}
	f.queue = left
	return requests
}

func answer(requests []*request, err error) {
	for _, r := range requests {
		r.done <- err
	}
}

// nextFence is a payload that no other fence has.
func (f *fetcher) nextFence() string {
	return f.b.fence + strconv.FormatUint(f.fences.Add(1), 36) + "-" + randomID(4)
}

var errFenceLost = errors.New("the fence did not come back")
