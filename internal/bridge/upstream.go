package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
)

// A SUBSCRIBE or UNSUBSCRIBE carries at most so many filters, and so many bytes of them.
const (
	batchFilters = 200
	batchBytes   = 32 << 10
)

// upstream owns the difference between what is wanted and what the broker has been asked for. Its callers only change
// the wishes; one goroutine, the one that serves the current link, talks to the broker, and starts over with each link.
//
// The broker is asked for the smallest set of filters that cover the wishes and do not overlap, because brokers differ
// in how often they send a message that several filters of one client match. So it may be asked for more than was
// wanted, and a broker may refuse such a joined filter though it would grant the single ones. Then those are tried; if
// they overlap, that broker decides how many copies arrive.
type upstream struct {
	fence   string
	watch   []string
	linger  time.Duration
	log     *slog.Logger
	changed func(refused []string)
	kick    chan struct{} // something is to be done

	mu      sync.Mutex           // guards the rest
	wants   map[string]int       // how many want each filter; 0 while it lingers
	idle    map[string]time.Time // since when nobody does
	waiters map[string][]chan error
	linked  bool
	actual  map[string]bool // granted on the current link
	wide    map[string]bool // of them, those with a wildcard: only they can cover others
	refused map[string]bool // on the current link
	leaving map[string]bool // of actual, what is being unsubscribed: nobody may rely on it any more
	left    map[string]bool // what a kept session may still hold
	target  map[string]bool // what actual should be; nil: to be worked out
}

func newUpstream(cfg Config, fence string) *upstream {
	u := &upstream{fence: fence, watch: cfg.Watch, linger: cfg.Linger, log: cfg.Log, kick: make(chan struct{}, 1)}
	u.wants = make(map[string]int)
	u.idle = make(map[string]time.Time)
	u.waiters = make(map[string][]chan error)
	for _, f := range cfg.Watch {
		u.wants[f] = 1 // for good
	}
	u.reset()
	return u
}

// reset forgets what was on a link.
func (u *upstream) reset() {
	u.actual, u.wide, u.refused = make(map[string]bool), make(map[string]bool), make(map[string]bool)
	u.leaving = make(map[string]bool)
	u.target = nil
}

// Want asks for what filter matches to be received, and returns when the broker has granted it, or when there is no
// link: it will then be subscribed with the next one. Wants are counted; each that succeeds is undone by one
// [Bridge.Release]. The errors are [ErrRefused], [ErrNotCovered], [ErrInvalid] and that of ctx; nothing is held then.
func (b *Bridge) Want(ctx context.Context, filter string) error {
	if err := topic.CheckFilter(filter); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(b.cfg.Watch) > 0 {
		return b.up.watched(filter)
	}
	return b.up.want(ctx, filter)
}

// Release undoes one Want of the same filter.
func (b *Bridge) Release(filter string) {
	if len(b.cfg.Watch) == 0 {
		b.up.release(filter)
	}
}

// watched answers for a fixed set of filters.
func (u *upstream) watched(filter string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	covered, refused := false, true
	for _, f := range u.watch {
		if topic.Covers(f, filter) {
			covered = true
			refused = refused && u.isRefused(f)
		}
	}
	switch {
	case !covered:
		return ErrNotCovered
	case refused:
		return ErrRefused
	}
	return nil
}

func (u *upstream) want(ctx context.Context, filter string) error {
	u.mu.Lock()
	u.add(filter)
	if !u.linked || u.covered(filter) {
		u.mu.Unlock()
		return nil
	}
	if u.refused[filter] {
		delete(u.refused, filter) // the broker may have changed its mind
		u.target = nil
	}
	answer := make(chan error, 1)
	u.waiters[filter] = append(u.waiters[filter], answer)
	u.mu.Unlock()
	u.wake()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		u.giveUp(filter, answer)
		return ctx.Err()
	}
}

// add counts a want, and extends the target by it where that is easily done.
func (u *upstream) add(filter string) {
	if _, ok := u.wants[filter]; !ok && u.target != nil {
		for f := range u.target {
			if topic.Overlaps(f, filter) {
				u.target = nil
				break
			}
		}
		if u.target != nil {
			u.target[filter] = true
		}
	}
	u.wants[filter]++
	delete(u.idle, filter)
}

// giveUp undoes a want whose caller has gone.
func (u *upstream) giveUp(filter string, answer chan error) {
	u.mu.Lock()
	if i := slices.Index(u.waiters[filter], answer); i >= 0 {
		u.waiters[filter] = slices.Delete(u.waiters[filter], i, i+1)
		if len(u.waiters[filter]) == 0 {
			delete(u.waiters, filter)
		}
	} else if err := <-answer; err != nil {
		u.mu.Unlock()
		return // refused, and no longer counted
	}
	u.mu.Unlock()
	u.release(filter)
}

func (u *upstream) release(filter string) {
	u.mu.Lock()
	idle := false
	if u.wants[filter] > 0 {
		if u.wants[filter]--; u.wants[filter] == 0 {
			u.idle[filter], idle = time.Now(), true
		}
	}
	u.mu.Unlock()
	if idle {
		u.wake()
	}
}

func (u *upstream) wake() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

// size is the number of filters that are subscribed for somebody.
func (u *upstream) size() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.actual[u.fence] {
		return len(u.actual) - 1
	}
	return len(u.actual)
}

// covered reports whether what filter matches is being received.
func (u *upstream) covered(filter string) bool {
	if u.actual[filter] && !u.leaving[filter] {
		return true
	}
	for f := range u.wide {
		if !u.leaving[f] && topic.Covers(f, filter) {
			return true
		}
	}
	return false
}

// isRefused reports whether the broker has said no, and not yes to something broader.
func (u *upstream) isRefused(filter string) bool { return u.refused[filter] && !u.covered(filter) }
