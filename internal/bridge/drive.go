package bridge

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
)

// expireStep lets wants that end one shortly after the other end together.
const expireStep = 50 * time.Millisecond

// serve makes the broker's subscriptions on k what they should be, and keeps them so until k is down or ctx done.
// Ready is called when everything that was wanted at the start has been answered.
func (u *upstream) serve(ctx context.Context, k *link, ready func()) {
	u.attach(k.session)
	defer u.detach()
	for {
		add, remove, next := u.plan(time.Now())
		switch {
		case len(add) > 0: // before removing: rather a message twice than not at all
			refused, err := k.subscribe(ctx, add, 1)
			if err != nil {
				return
			}
			u.answered(add, refused)
		case ready != nil:
			ready()
			ready = nil
		case len(remove) > 0:
			if k.unsubscribe(ctx, remove) != nil {
				return
			}
			u.removed(remove)
		default:
			if !u.pause(ctx, k, next) {
				return
			}
		}
	}
}

// pause waits for something to do: a call, or the end of a linger after next. It is false when the link is done for.
func (u *upstream) pause(ctx context.Context, k *link, next time.Duration) bool {
	var due <-chan time.Time
	if next > 0 {
		t := time.NewTimer(next)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-u.kick:
		return true
	case <-due:
		return true
	case <-k.down():
	case <-ctx.Done():
	}
	return false
}

func (u *upstream) attach(session bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.linked = true
	if !session {
		u.left = nil
	}
}

// detach forgets the link. Who waits is told that it will be subscribed with the next one.
func (u *upstream) detach() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.linked = false
	if u.left == nil {
		u.left = make(map[string]bool)
	}
	for f := range u.actual {
		u.left[f] = true
	}
	u.reset()
	for _, waiting := range u.waiters {
		for _, answer := range waiting {
			answer <- nil
		}
	}
	clear(u.waiters)
	u.changed(nil)
}

// removed books an UNSUBACK.
func (u *upstream) removed(filters []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range filters {
		delete(u.actual, f)
		delete(u.wide, f)
		delete(u.left, f)
		delete(u.leaving, f)
	}
}

// plan says what to add and what to remove next, at most one packet of each, and when to look again. What is to be
// removed counts as gone from here on, so that a new want for it waits for a new SUBSCRIBE.
func (u *upstream) plan(now time.Time) (add, remove []string, next time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	next = u.expire(now)
	if u.target == nil {
		u.target = u.cover()
	}
	size := 0
	for f := range u.target {
		if size += len(f) + 3; !u.actual[f] && (len(add) == 0 || size <= batchBytes) && len(add) < batchFilters {
			add = append(add, f)
		}
	}
	if len(add) > 0 {
		return add, nil, next
	}
	size = 0
	for _, set := range []map[string]bool{u.actual, u.left} {
		for f := range set {
			if size += len(f) + 2; !u.target[f] && (len(remove) == 0 || size <= batchBytes) && len(remove) < batchFilters {
				remove = append(remove, f)
			}
		}
	}
	for _, f := range remove {
		u.leaving[f] = true
	}
	return nil, slices.Compact(slices.Sorted(slices.Values(remove))), next
}

// expire drops the wants that have been idle for long, and returns the time until the next one is due, or 0.
func (u *upstream) expire(now time.Time) (next time.Duration) {
	for f, since := range u.idle {
		left := u.linger - now.Sub(since)
		if left <= 0 {
			delete(u.idle, f)
			delete(u.wants, f)
			u.target = nil
		} else if next == 0 || left < next {
			next = left
		}
	}
	if next > 0 {
		next = max(next, expireStep)
	}
	return next
}

// cover works out what should be subscribed.
func (u *upstream) cover() map[string]bool {
	wanted := make([]string, 0, len(u.wants))
	for f := range u.wants {
		wanted = append(wanted, f)
	}
	target := make(map[string]bool)
	if !u.refused[u.fence] {
		target[u.fence] = true
	}
	broken := make(map[string]bool) // refused, and still what the cover would need
	for _, c := range topic.SmallestCover(wanted) {
		if !u.refused[c] {
			target[c] = true
			continue
		}
		broken[c] = true
		u.singles(c, wanted, target)
	}
	// What is neither wanted nor needed may be tried again when it is.
	for f := range u.refused {
		if _, ok := u.wants[f]; !ok && !broken[f] && f != u.fence {
			delete(u.refused, f)
		}
	}
	return target
}

// singles adds to target what is wanted below a refused cover, without what another of them covers.
func (u *upstream) singles(cover string, wanted []string, target map[string]bool) {
	var below []string
	for _, f := range wanted {
		if f != cover && !u.refused[f] && topic.Covers(cover, f) {
			below = append(below, f)
		}
	}
	for _, f := range below {
		if !slices.ContainsFunc(below, func(g string) bool {
			return g != f && topic.Covers(g, f) && (!topic.Covers(f, g) || g < f)
		}) {
			target[f] = true
		}
	}
}

// answered books a SUBACK and tells those who wait for it.
func (u *upstream) answered(asked, refused []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range asked {
		if slices.Contains(refused, f) {
			u.refused[f] = true
			u.target = nil
			continue
		}
		u.actual[f] = true
		delete(u.left, f)
		if strings.ContainsAny(f, "+#") {
			u.wide[f] = true
		}
	}
	for f, waiting := range u.waiters {
		switch {
		case u.covered(f):
			for _, answer := range waiting {
				answer <- nil
			}
			delete(u.waiters, f)
		case u.refused[f]:
			for _, answer := range waiting {
				answer <- ErrRefused
			}
			delete(u.waiters, f)
			u.drop(f, len(waiting))
		}
	}
	u.tell()
}

// drop takes back n wants that were refused. They do not linger: there is nothing to keep.
func (u *upstream) drop(filter string, n int) {
	if u.wants[filter] -= n; u.wants[filter] <= 0 {
		delete(u.wants, filter)
		delete(u.idle, filter)
		u.target = nil
	}
}

// tell reports what is wanted and refused.
func (u *upstream) tell() {
	var refused []string
	for f := range u.refused {
		if u.wants[f] > 0 && !u.covered(f) {
			refused = append(refused, f)
		}
	}
	slices.Sort(refused)
	u.changed(refused)
}
