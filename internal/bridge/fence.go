package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// run is one round. It returns when the control link is free for the next one; the requests are answered when the
// subscriber link has caught up.
func (f *fetcher) run(ctx context.Context, k *mqtt.Conn, requests []*request) {
	var filters []string
	seen := make(map[string]bool)
	for _, r := range requests {
		if !seen[r.filter] {
			seen[r.filter] = true
			filters = append(filters, r.filter)
		}
	}
	mark, refused, err := f.collect(ctx, k, requests, filters)
	f.lately.note(slices.Collect(maps.Keys(refused)))
	if err != nil {
		answer(requests, f.ended(k, err, filters))
		return
	}
	f.mu.Lock()
	for _, filter := range filters {
		delete(f.alone, filter)
	}
	f.mu.Unlock()
	granted := requests[:0:0]
	for _, r := range requests {
		if refused[r.filter] {
			r.done <- ErrRefused
		} else {
			granted = append(granted, r)
		}
	}
	f.handed.Go(func() { answer(granted, f.catchUp(ctx, k, mark)) })
	if kept, _ := f.leave(ctx, k, filters); len(kept) > 0 {
		k.Close() // the broker would go on sending
	}
}

// errUnanswered: the broker has not answered a SUBSCRIBE.
var errUnanswered = errors.New("no answer to the subscription")

// ended is the outcome of a round whose link has ended in it. If the broker closed it on the filters, and not later nor on
// those that it has refused just before, they come back one at a time; one that was alone is refused.
func (f *fetcher) ended(k *mqtt.Conn, err error, filters []string) error {
	if k.Err() == nil || !errors.Is(err, errUnanswered) || errors.Is(err, ErrNotSent) || f.lately.recent() {
		return ErrNoConnection
	}
	e := f.b.ending(k)
	if !e.answer {
		return ErrNoConnection
	}
	if len(filters) == 1 && f.b.suspects.closedOn(filters, e) {
		return ErrRefused
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.alone)+len(filters) > bigFilters {
		clear(f.alone)
	}
	for _, filter := range filters {
		f.alone[filter] = true
	}
	return ErrNoConnection
}

// A fence is a message published behind a SUBSCRIBE.
type fence struct {
	payload string
	live    chan struct{} // closed when the subscriber link has passed it
}

// collect brings in the copies, and returns the fence that came behind them; nil if there was none.
func (f *fetcher) collect(ctx context.Context, k *mqtt.Conn, requests []*request, filters []string) (
	mark *fence, refused map[string]bool, err error) {
	f.b.sys.hold()
	defer f.b.sys.release()
	qos := byte(1)
	if f.noFence.Load() || f.isBig(filters) {
		qos = 0
	}
	first, mark, refused, err := f.attempt(ctx, k, requests, filters, qos)
	if !errors.Is(err, errFenceLost) || f.noFence.Load() {
		return mark, refused, err
	}
	if qos == 1 {
		if _, err := f.leave(ctx, k, filters); err != nil {
			return nil, nil, err
		}
		second, mark, refused, err := f.attempt(ctx, k, requests, filters, 0)
		if err == nil {
			f.setBig(filters)
			f.b.sys.excuse(max(second-first, 0) + dropSlack)
		}
		if !errors.Is(err, errFenceLost) {
			return mark, refused, err
		}
	}
	// It does not come at either QoS, so it never does. What has come is what there is: it has been quiet for long.
	f.noFence.Store(true)
	if !f.warned.Swap(true) {
		f.b.log.Warn("the broker does not deliver the gateway's own messages; grant its user read and write on the topic",
			"topic", "$gateway/#", "effect", "a subscriber may see an old retained value after a newer one")
	}
	return nil, refused, nil
}

// dropSlack: of the drops that a fetch has caused, not all can be counted here. The fence is one, and live messages that
// matched the filter meanwhile are others.
const dropSlack = 16

// attempt subscribes, and waits for the fence, or without one for quiet.
func (f *fetcher) attempt(ctx context.Context, k *mqtt.Conn, requests []*request, filters []string, qos byte) (
	copies int, mark *fence, refused map[string]bool, err error) {
	r := &round{requests: requests, fence: f.nextFence(), passed: make(chan struct{})}
	mark = &fence{payload: r.fence, live: make(chan struct{})}
	f.mu.Lock()
	for _, q := range requests {
		q.found = make(map[string]Message)
	}
	f.round = r
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.round, copies = nil, r.copies
		f.mu.Unlock()
	}()
	no, err := f.subscribe(ctx, k, mark, filters, qos)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	f.b.suspects.took(filters)
	refused = make(map[string]bool, len(no))
	for _, filter := range no {
		refused[filter] = true
	}
	if len(refused) == len(filters) {
		f.b.inbound.forget(mark.payload)
		return 0, nil, refused, nil
	}
	if f.noFence.Load() {
		return 0, nil, refused, f.still(ctx, k, r, f.b.timing.quiet, f.b.timing.quiet)
	}
	err = f.still(ctx, k, r, f.b.timing.fenceFirst, f.b.timing.fenceQuiet)
	select {
	case <-r.passed: // it may have come with the end of the wait
		return 0, mark, refused, nil
	default:
	}
	if err == nil {
		err = errFenceLost
	}
	f.b.inbound.forget(mark.payload)
	return 0, nil, refused, err
}

// subscribe sends the SUBSCRIBE and the fence in one piece. That makes the fence a proof: the broker queues it behind the
// copies before it can have read an acknowledgement of any of them, so where a copy did not fit, the fence does not.
func (f *fetcher) subscribe(ctx context.Context, k *mqtt.Conn, mark *fence, filters []string, qos byte) (refused []string, err error) {
	if f.noFence.Load() {
		return subscribe(ctx, k, filters, qos, withCopies, nil)
	}
	f.b.inbound.await(mark.payload, mark.live)
	return subscribe(ctx, k, filters, qos, withCopies, f.message(mark.payload))
}

// leave unsubscribes from what a round has asked for, but for what the control link reads for good, and returns what the
// broker does not let go.
func (f *fetcher) leave(ctx context.Context, k *mqtt.Conn, filters []string) (kept []string, err error) {
	filters = slices.DeleteFunc(slices.Clone(filters), func(f string) bool { _, own := sysNames[f]; return own })
	if len(filters) == 0 {
		return nil, nil
	}
	return unsubscribe(ctx, k, filters)
}

// still waits until the fence is back, or until it is quiet: nothing has come for first, or nothing more for quiet.
func (f *fetcher) still(ctx context.Context, k *mqtt.Conn, r *round, first, quiet time.Duration) error {
	start := time.Now()
	for {
		f.mu.Lock()
		end := start.Add(first)
		if !r.last.IsZero() {
			end = r.last.Add(quiet)
		}
		f.mu.Unlock()
		wait := time.Until(end)
		if wait <= 0 {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-r.passed:
			t.Stop()
			return nil
		case <-t.C:
		case <-k.Done():
			t.Stop()
			return ErrNoConnection
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// behindFences is how many fences the subscriber link may be behind before a fetch is given up.
const behindFences = 10

// catchUp waits until the subscriber link has passed a fence. A broker that drops messages on their way there may have
// dropped the fence too; another one is then sent.
func (f *fetcher) catchUp(ctx context.Context, k *mqtt.Conn, mark *fence) error {
	if mark == nil {
		return nil
	}
	sent := []string{mark.payload}
	defer func() {
		for _, payload := range sent {
			f.b.inbound.forget(payload)
		}
	}()
	again := time.NewTicker(f.b.timing.fenceAgain)
	defer again.Stop()
	for {
		select {
		case <-mark.live:
			return nil
		case <-again.C:
		case <-k.Done():
			return ErrNoConnection
		case <-ctx.Done():
			return ErrNoConnection
		}
		if !f.b.inbound.isUp() {
			return ErrNoConnection
		}
		if len(sent) == behindFences {
			return ErrBehind
		}
		payload := f.nextFence()
		sent = append(sent, payload)
		f.b.inbound.await(payload, mark.live)
		k.Publish(f.message(payload))
	}
}

// message is a fence to be published. Its outcome is that it comes back, or not.
func (f *fetcher) message(payload string) *mqtt.Publication {
	return mqtt.NewPublication(mqtt.Message{Topic: f.b.fence, Payload: []byte(payload), QoS: f.fenceQoS()})
}

func (f *fetcher) isBig(filters []string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, filter := range filters {
		if f.big[filter] {
			return true
		}
	}
	return false
}

func (f *fetcher) setBig(filters []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.big)+len(filters) > bigFilters {
		clear(f.big)
	}
	for _, filter := range filters {
		f.big[filter] = true
	}
}
