package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// A SUBSCRIBE or UNSUBSCRIBE carries at most so many filters, and so many bytes of them.
const (
	batchFilters = 200
	batchBytes   = 32 << 10
)

// subscriptions owns the difference between what is wanted and what the broker has been asked for. Its callers only change
// the wishes; one goroutine, the one that serves the current link, talks to the broker, and starts over with each link.
//
// The broker is asked for the smallest set of filters that cover the wishes and do not overlap, because brokers differ
// in how often they send a message that several filters of one client match. So it may be asked for more than was
// wanted, and a broker may refuse such a joined filter though it would grant the single ones. Then those are tried; if
// they overlap, that broker decides how many copies arrive.
type subscriptions struct {
	log     *slog.Logger
	fence   string
	watch   []string
	linger  time.Duration
	changed func(refused []string)

	suspects *suspects
	ending   func(*mqtt.Conn) ending // what a link's end may mean
	kick     chan struct{}           // something is to be done

	mu      sync.Mutex           // guards the rest
	wants   map[string]int       // how many want each filter; 0 while it lingers
	idle    map[string]time.Time // since when nobody does
	waiters map[string][]chan error
	linked  bool
	actual  map[string]bool    // granted on the current link
	wide    topic.Trie[string] // of them, those with a wildcard that are not leaving: only they can cover others
	refused map[string]bool    // on the current link
	leaving map[string]bool    // of actual, what is being unsubscribed: nobody may rely on it any more
	kept    map[string]bool    // of actual, what the broker has refused to unsubscribe
	left    map[string]bool    // what a kept session may still hold
	target  map[string]bool    // what actual should be; nil: to be worked out
	targets topic.Trie[string] // the same as a tree, if there is a target

	// Of a target that is worked out: what is in it and not in actual, and what is
	// in actual or left and not in it.
	missing, surplus map[string]bool

	alone map[string]bool   // asked for on a link that the broker closed on it: each comes back by itself
	born  map[string]uint64 // when each was first wanted, in order
	count uint64
}

func newSubscriptions(cfg Config, fence string, suspects *suspects, end func(*mqtt.Conn) ending) *subscriptions {
	s := &subscriptions{log: cfg.Log, fence: fence, watch: cfg.Watch, linger: cfg.Linger, suspects: suspects, ending: end, kick: make(chan struct{}, 1)}
	s.alone, s.born = make(map[string]bool), make(map[string]uint64)
	s.wants = make(map[string]int)
	s.idle = make(map[string]time.Time)
	s.waiters = make(map[string][]chan error)
	for _, f := range cfg.Watch {
		s.wants[f] = 1 // for good
	}
	s.reset()
	return s
}

// reset forgets what was on a link.
func (s *subscriptions) reset() {
	s.actual, s.wide, s.refused = make(map[string]bool), topic.Trie[string]{}, make(map[string]bool)
	s.leaving, s.kept = make(map[string]bool), make(map[string]bool)
	s.target = nil
}

// Want asks for what filter matches to be received, and returns when the broker has granted it, or when there is no
// link: it will then be subscribed with the next one. Wants are counted; each that succeeds is undone by one
// [Bridge.Release]. The errors are [ErrRefused], [ErrNotCovered], [ErrInvalid] and that of ctx; nothing is held then.
func (b *Bridge) Want(ctx context.Context, filter string) error {
	if err := topic.CheckSystemFilter(filter); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch {
	case strings.HasPrefix(filter, "$"):
		return b.wantSystem(ctx, filter)
	case len(b.cfg.Watch) > 0:
		return b.subs.watched(filter)
	}
	return b.subs.want(ctx, filter)
}

// Release undoes one Want of the same filter.
func (b *Bridge) Release(filter string) {
	switch {
	case strings.HasPrefix(filter, "$"):
		b.releaseSystem(filter)
	case len(b.cfg.Watch) == 0:
		b.subs.release(filter)
	}
}

// watched answers for a fixed set of filters.
func (s *subscriptions) watched(filter string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	covered, refused := false, true
	for _, f := range s.watch {
		if topic.Covers(f, filter) {
			covered = true
			refused = refused && s.isRefused(f)
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

func (s *subscriptions) want(ctx context.Context, filter string) error {
	if s.suspects.guiltyFilter(filter) {
		return ErrRefused
	}
	s.mu.Lock()
	s.add(filter)
	if !s.linked || s.covered(filter) {
		s.mu.Unlock()
		return nil
	}
	if s.refused[filter] {
		delete(s.refused, filter) // the broker may have changed its mind
		s.target = nil
	}
	answer := make(chan error, 1)
	s.waiters[filter] = append(s.waiters[filter], answer)
	s.mu.Unlock()
	s.wake()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		s.giveUp(filter, answer)
		return ctx.Err()
	}
}

// add counts a want, and extends the target by it where that is easily done.
func (s *subscriptions) add(filter string) {
	if _, ok := s.wants[filter]; !ok && s.target != nil {
		if s.targets.Overlaps(filter) {
			s.target = nil
		} else {
			s.target[filter] = true
			s.targets.Add(filter, filter)
			s.book(filter)
		}
	}
	if _, ok := s.born[filter]; !ok {
		s.count++
		s.born[filter] = s.count
	}
	s.wants[filter]++
	delete(s.idle, filter)
}

// giveUp undoes a want whose caller has gone.
func (s *subscriptions) giveUp(filter string, answer chan error) {
	s.mu.Lock()
	if i := slices.Index(s.waiters[filter], answer); i >= 0 {
		s.waiters[filter] = slices.Delete(s.waiters[filter], i, i+1)
		if len(s.waiters[filter]) == 0 {
			delete(s.waiters, filter)
		}
	} else if err := <-answer; err != nil {
		s.mu.Unlock()
		return // refused, and no longer counted
	}
	s.mu.Unlock()
	s.release(filter)
}

func (s *subscriptions) release(filter string) {
	s.mu.Lock()
	idle := false
	if s.wants[filter] > 0 {
		if s.wants[filter]--; s.wants[filter] == 0 {
			s.idle[filter], idle = time.Now(), true
		}
	}
	s.mu.Unlock()
	if idle {
		s.wake()
	}
}

func (s *subscriptions) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// size is the number of filters that are subscribed for somebody.
func (s *subscriptions) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.actual[s.fence] {
		return len(s.actual) - 1
	}
	return len(s.actual)
}

// covered reports whether what filter matches is being received.
func (s *subscriptions) covered(filter string) bool {
	return s.actual[filter] && !s.leaving[filter] || len(s.wide.Covering(nil, filter)) > 0
}

// isRefused reports whether the broker has said no, and not yes to something broader.
func (s *subscriptions) isRefused(filter string) bool { return s.refused[filter] && !s.covered(filter) }

// remove forgets a want for good.
func (s *subscriptions) remove(filter string) {
	delete(s.wants, filter)
	delete(s.idle, filter)
	delete(s.born, filter)
	if s.target[filter] && !wildcards(filter) { // it stands for itself alone
		delete(s.target, filter)
		s.targets.Remove(filter, filter)
		s.book(filter)
	} else {
		s.target = nil
	}
}

// book notes whether a filter is missing or too much, after it has changed in
// target, actual or left. Without a target that waits for the next one.
func (s *subscriptions) book(filter string) {
	if s.target == nil {
		return
	}
	put := func(set map[string]bool, in bool) {
		if delete(set, filter); in {
			set[filter] = true
		}
	}
	put(s.missing, s.target[filter] && !s.actual[filter])
	put(s.surplus, !s.target[filter] && (s.actual[filter] || s.left[filter]))
}

func wildcards(filter string) bool { return strings.ContainsAny(filter, "+#") }
