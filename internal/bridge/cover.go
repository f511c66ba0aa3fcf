package bridge

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// expireStep lets wants that end one shortly after the other end together.
const expireStep = 50 * time.Millisecond

// ownIdentifier is the largest of a subscription, MQTT 3.8.2.1.2: of those of the gateway itself, which may overlap with
// what operators ask for.
const (
	ownIdentifier = 268_435_455
	maxIdentifier = ownIdentifier - 1
)

// serve makes the broker's subscriptions on k what they should be, and keeps them so until k is down or ctx done.
// Ready is called when everything that was wanted at the start has been answered.
func (s *subscriptions) serve(ctx context.Context, k *mqtt.Conn, qos byte, ready func()) {
	s.attach(k.Connack().SessionPresent)
	defer s.detach()
	var asked uint32 // how often; the first time needs no identifier
	var lately refusedLately
	for {
		add, remove, next := s.plan(time.Now())
		switch {
		case len(add) > 0:
			// Before removing, or messages would be missed in between. That a message comes for both, the identifiers
			// tell; without MQTT 5 it comes twice.
			refused, err := subscribeAs(ctx, k, asked, add, qos, liveOnly, nil)
			asked = min(asked+1, maxIdentifier)
			if err != nil {
				s.ended(k, err, add, &lately)
				return
			}
			lately.note(refused)
			s.suspects.took(add)
			s.answered(add, refused)
		case ready != nil:
			ready()
			ready = nil
		case len(remove) > 0:
			kept, err := unsubscribe(ctx, k, remove)
			if err != nil {
				s.ended(k, ErrNotSent, nil, &lately)
				return
			}
			s.removed(remove, kept)
		default:
			if !s.pause(ctx, k, next) {
				s.ended(k, ErrNotSent, nil, &lately)
				return
			}
		}
	}
}

// pause waits for something to do: a call, or the end of a linger after next. It is false when the link is done for.
func (s *subscriptions) pause(ctx context.Context, k *mqtt.Conn, next time.Duration) bool {
	var due <-chan time.Time
	if next > 0 {
		t := time.NewTimer(next)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-s.kick:
		return true
	case <-due:
		return true
	case <-k.Done():
	case <-ctx.Done():
	}
	return false
}

func (s *subscriptions) attach(session bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linked = true
	if !session {
		s.left = nil
	}
	for f := range s.wants {
		if s.suspects.guiltyFilter(f) {
			s.refused[f] = true
		}
	}
	if s.suspects.guiltyFilter(s.fence) {
		s.refused[s.fence] = true
	}
}

// ended notes the end of a link on which filters were being asked for, if err is not that nothing was sent. If the broker
// has closed it on them, they come back one at a time on the next, behind all others; one that was alone is refused. So
// are those that it has refused just before.
func (s *subscriptions) ended(k *mqtt.Conn, err error, asked []string, lately *refusedLately) {
	recent := lately.recent()
	if k.Err() == nil || !recent && errors.Is(err, ErrNotSent) {
		return
	}
	e := s.ending(k)
	if !e.answer {
		return
	}
	if recent {
		s.suspects.convictFilters(lately.filters)
		return
	}
	guilty := len(asked) == 1 && s.suspects.closedOn(asked, e)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range asked {
		s.alone[f] = !guilty
	}
}

// detach forgets the link. Who waits is told that it will be subscribed with the next one, or that the broker refuses it.
func (s *subscriptions) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linked = false
	if s.left == nil {
		s.left = make(map[string]bool)
	}
	for f := range s.actual {
		s.left[f] = true
	}
	s.reset()
	for f, waiting := range s.waiters {
		var outcome error
		if s.suspects.guiltyFilter(f) {
			outcome = ErrRefused
			s.drop(f, len(waiting))
		}
		for _, answer := range waiting {
			answer <- outcome
		}
	}
	clear(s.waiters)
	for f, alone := range s.alone {
		if !alone || s.wants[f] == 0 && f != s.fence && !s.left[f] {
			delete(s.alone, f)
		}
	}
	s.changed(nil)
}

// removed books an UNSUBACK. What the broker keeps is in force until the link ends, as if somebody wanted it.
func (s *subscriptions) removed(filters, kept []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(kept) > 0 && len(s.kept) == 0 {
		s.log.Warn("the broker does not end subscriptions; they last as long as the connection", "filters", len(kept), "filter", kept[0])
	}
	for _, f := range filters {
		delete(s.leaving, f)
		delete(s.left, f)
		if slices.Contains(kept, f) {
			s.kept[f], s.actual[f] = true, true
			if wildcards(f) {
				s.wide.Add(f, f)
			}
			s.target = nil
			continue
		}
		delete(s.actual, f)
		s.book(f)
	}
}

// plan says what to add and what to remove next, at most one packet of each, and when to look again. What is to be
// removed counts as gone from here on, so that a new want for it waits for a new SUBSCRIBE.
func (s *subscriptions) plan(now time.Time) (add, remove []string, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = s.expire(now)
	if s.target == nil {
		s.aim(s.cover())
	}
	size := 0
	for f := range s.missing {
		if size += len(f) + 3; !s.alone[f] && (len(add) == 0 || size <= batchBytes) && len(add) < batchFilters {
			add = append(add, f)
		}
	}
	if len(add) == 0 {
		add = s.oldestAlone()
	}
	if len(add) > 0 {
		return add, nil, next
	}
	size = 0
	for f := range s.surplus {
		if s.kept[f] {
			continue
		}
		if size += len(f) + 2; (len(remove) == 0 || size <= batchBytes) && len(remove) < batchFilters {
			remove = append(remove, f)
		}
	}
	for _, f := range remove {
		s.leaving[f] = true
		s.wide.Remove(f, f)
	}
	slices.Sort(remove)
	return nil, remove, next
}

// aim sets the target anew.
func (s *subscriptions) aim(target map[string]bool) {
	s.target, s.targets = target, topic.Trie[string]{}
	s.missing, s.surplus = make(map[string]bool), make(map[string]bool)
	for f := range target {
		s.targets.Add(f, f)
		s.book(f)
	}
	for _, there := range []map[string]bool{s.actual, s.left} {
		for f := range there {
			s.book(f)
		}
	}
}

// oldestAlone is the filter that is to be asked for by itself next; none if there is none.
func (s *subscriptions) oldestAlone() []string {
	var oldest []string
	for f := range s.missing {
		if s.alone[f] && (oldest == nil || s.born[f] < s.born[oldest[0]]) {
			oldest = []string{f}
		}
	}
	return oldest
}

// expire drops the wants that have been idle for long, and returns the time until the next one is due, or 0.
func (s *subscriptions) expire(now time.Time) (next time.Duration) {
	for f, since := range s.idle {
		left := s.linger - now.Sub(since)
		if left <= 0 {
			s.remove(f)
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
func (s *subscriptions) cover() map[string]bool {
	wanted := make([]string, 0, len(s.wants))
	for f := range s.wants {
		wanted = append(wanted, f)
	}
	for f := range s.kept {
		if _, ok := s.wants[f]; !ok {
			wanted = append(wanted, f)
		}
	}
	target := make(map[string]bool)
	if !s.refused[s.fence] {
		target[s.fence] = true
	}
	broken := make(map[string]bool) // refused, and still what the cover would need
	for _, c := range topic.SmallestCover(wanted) {
		if !s.refused[c] && !s.suspects.guiltyFilter(c) {
			target[c] = true
			continue
		}
		broken[c] = true
		s.singles(c, wanted, target)
	}
	// What is neither wanted nor needed may be tried again when it is.
	for f := range s.refused {
		if _, ok := s.wants[f]; !ok && !broken[f] && f != s.fence {
			delete(s.refused, f)
		}
	}
	return target
}

// singles adds to target what is wanted below a refused cover, without what another of them covers.
func (s *subscriptions) singles(cover string, wanted []string, target map[string]bool) {
	var below []string
	for _, f := range wanted {
		if f != cover && !s.refused[f] && !s.suspects.guiltyFilter(f) && topic.Covers(cover, f) {
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
func (s *subscriptions) answered(asked, refused []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range asked {
		if slices.Contains(refused, f) {
			s.refused[f] = true
			s.target = nil
			continue
		}
		s.actual[f] = true
		delete(s.left, f)
		delete(s.alone, f)
		s.book(f)
		if wildcards(f) {
			s.wide.Add(f, f)
		}
	}
	for f, waiting := range s.waiters {
		switch {
		case s.covered(f):
			for _, answer := range waiting {
				answer <- nil
			}
			delete(s.waiters, f)
		case s.refused[f]:
			for _, answer := range waiting {
				answer <- ErrRefused
			}
			delete(s.waiters, f)
			s.drop(f, len(waiting))
		}
	}
	s.tell()
}

// drop takes back n wants that were refused. They do not linger: there is nothing to keep.
func (s *subscriptions) drop(filter string, n int) {
	if s.wants[filter] -= n; s.wants[filter] <= 0 {
		s.remove(filter)
	}
}

// tell reports what is wanted and refused.
func (s *subscriptions) tell() {
	var refused []string
	for f := range s.refused {
		if s.wants[f] > 0 && !s.covered(f) {
			refused = append(refused, f)
		}
	}
	slices.Sort(refused)
	s.changed(refused)
}
