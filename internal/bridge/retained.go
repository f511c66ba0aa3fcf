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
	warned  atomic.Bool

	mu    sync.Mutex // guards the rest
	link  *link
	ready chan struct{} // closed while there is a link
	queue []*request
	round *round
	big   map[string]bool // filters whose copies did not fit at QoS 1
}

func newFetcher(b *Bridge) *fetcher {
	return &fetcher{b: b, kick: make(chan struct{}, 1), ready: make(chan struct{}), big: make(map[string]bool)}
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
	if err := topic.CheckFilter(filter); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r := &request{filter: filter, done: make(chan error, 1)}
	if !b.live.isUp() || !b.fetch.awaitLink(ctx) || !b.fetch.enqueue(r) {
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
	select {
	case f.kick <- struct{}{}:
	default:
	}
	return true
}

// begin gives the inlet of a control link.
func (f *fetcher) begin() inlet { return inlet{got: f.got, rest: func() {}} }

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
	case m.Topic == unreadableTopic:
	case m.Topic == oversizeTopic:
		f.b.stats.oversize.Add(1)
	case len(m.Topic) > 0 && m.Topic[0] == '$':
		f.b.sys.got(m)
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

// control serves a link of the control slot.
func (b *Bridge) control(ctx context.Context, k *link) {
	f := b.fetch
	if _, err := k.subscribe(ctx, []string{b.fence}, 1); err != nil {
		return
	}
	if _, err := k.subscribe(ctx, slices.Collect(maps.Keys(sysNames)), 0); err != nil {
		return
	}
	f.noFence.Store(false)
	f.mu.Lock()
	f.link = k
	close(f.ready)
	f.mu.Unlock()
	b.status.up(partControl)
	f.serve(ctx, k)
	f.mu.Lock()
	left := f.queue
	f.link, f.queue, f.round, f.ready = nil, nil, nil, make(chan struct{})
	f.mu.Unlock()
	answer(left, ErrNoConnection)
	f.handed.Wait()
}

func (f *fetcher) serve(ctx context.Context, k *link) {
	for {
		if requests := f.take(); len(requests) > 0 {
			f.run(ctx, k, requests)
			continue
		}
		select {
		case <-f.kick:
		case <-k.down():
			return
		case <-ctx.Done():
			return
		}
	}
}

// take removes the next round's requests from the queue: what fits into one SUBSCRIBE, oldest first.
func (f *fetcher) take() (requests []*request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := 0
	for len(f.queue) > 0 && len(requests) < batchFilters && size < batchBytes {
		r := f.queue[0]
		f.queue = f.queue[1:]
		if !r.gone.Load() {
			requests = append(requests, r)
			size += len(r.filter)
		}
	}
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
