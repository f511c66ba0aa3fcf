package device

import (
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/list"
	"github.com/vulturepi/gateway/internal/topic"
)

// quietTopic is a topic that may not go quiet. Guarded by Registry.mu.
type quietTopic struct {
	name   string
	quiet  int // which of Options.Quiet
	heard  time.Time
	silent bool
	back   time.Time
	change uint64
	place  list.Place[quietTopic]
}

// topics are all topics that may not go quiet. Guarded by Registry.mu.
type topics struct {
	byName  map[string]*quietTopic
	silent  sorted[string, *quietTopic]
	quiet   []quietList // one for each of Options.Quiet: those that are not silent
	gone    quietList   // those that are, by when they became so
	bytes   int64
	evicted uint64
	up      time.Time // since when messages arrive; zero: they do not
	sooner  chan struct{}
}

// quietList has the topics of one filter, the longest unheard first. So only
// the first can be the next to be silent.
type quietList struct {
	list.List[quietTopic]
	newest time.Time
	silent int
}

func (t *topics) init(o Options) {
	t.byName = map[string]*quietTopic{}
	t.quiet = make([]quietList, len(o.Quiet))
	t.sooner = make(chan struct{}, 1)
}

// quietBytes is what a topic takes in memory besides its name, roughly.
const quietBytes = 340

func (t *quietTopic) bytes() int64 { return int64(quietBytes + len(t.name)) }

// heard is a message on a topic.
func (r *Registry) heard(name string, now time.Time) {
	at := -1
	for i := range r.opts.Quiet {
		if topic.Match(r.opts.Quiet[i].Filter, name) {
			at = i
			break
		}
	}
	if at < 0 || len(name) > maxID {
		return
	}
	r.mu.Lock()
	defer r.unlock()
	s, l := &r.topics, &r.topics.quiet[at]
	l.newest = now
	t := s.byName[name]
	if t == nil {
		t = &quietTopic{name: strings.Clone(name), quiet: at}
		s.byName[t.name] = t
		s.bytes += t.bytes()
		for len(s.byName) > r.opts.Topics || s.bytes > r.opts.Bytes && len(s.byName) > 1 {
			r.forgetTopic()
		}
		l.Push(&t.place, t)
		r.hurry()
	} else if !t.silent {
		l.Remove(&t.place)
		l.Push(&t.place, t)
	}
	t.heard = now
	if t.silent {
		t.silent, t.back = false, now
		l.silent--
		s.gone.Remove(&t.place)
		s.silent.remove(t.name)
		l.Push(&t.place, t)
		r.noteTopic(t)
		r.hurry()
	}
}

// forgetTopic takes out the topic that was unheard for longest. Called under mu.
func (r *Registry) forgetTopic() {
	s := &r.topics
	oldest := s.gone.First()
	for i := range s.quiet {
		if t := s.quiet[i].First(); t != nil && (oldest == nil || t.heard.Before(oldest.heard)) {
			oldest = t
		}
	}
	switch {
	case oldest == nil:
		return
	case oldest.silent:
		s.gone.Remove(&oldest.place)
		s.silent.remove(oldest.name)
		s.quiet[oldest.quiet].silent--
	default:
		s.quiet[oldest.quiet].Remove(&oldest.place)
	}
	delete(s.byName, oldest.name)
	s.bytes -= oldest.bytes()
	r.changes.remove(oldest.change)
	s.evicted++
	r.readers.wake(r.readers.all)
}

// noteTopic puts the topic last among the changes. Called under mu.
func (r *Registry) noteTopic(t *quietTopic) {
	r.changes.remove(t.change)
	r.change++
	t.change = r.change
	r.changes.set(t.change, change{topic: t})
	r.readers.tell(r.readers.whole, t.change)
	r.readers.tellThose(t.name, t.change)
}

// hurry has the watch look again. Called under mu.
func (r *Registry) hurry() {
	select {
	case r.topics.sooner <- struct{}{}:
	default:
	}
}

// flowing says whether messages arrive: while they do not, nothing is silent
// that was not before.
func (r *Registry) flowing(now time.Time, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topics.up = now; !yes {
		r.topics.up = time.Time{}
	}
	r.hurry()
}

// silenceSteps is how many topics become silent under one lock.
const silenceSteps = 256

// fallSilent finds the topics that are quiet for too long, a part of them if
// more is true, and says when the next one may be; 0: there is none.
func (r *Registry) fallSilent(now time.Time) (next time.Duration, more bool) {
	r.mu.Lock()
	defer r.unlock()
	s := &r.topics
	if s.up.IsZero() {
		return 0, false
	}
	steps := 0
	for i := range s.quiet {
		l := &s.quiet[i]
		for l.First() != nil {
			t := l.First()
			heard := t.heard
			if heard.Before(s.up) {
				heard = s.up // what came before, nobody would have heard
			}
			if left := r.opts.Quiet[i].After - now.Sub(heard); left > 0 {
				if next == 0 || left < next {
					next = left
				}
				break
			}
			if steps++; steps > silenceSteps {
				return 0, true
			}
			l.Remove(&t.place)
			t.silent = true
			l.silent++
			s.gone.Push(&t.place, t)
			s.silent.set(t.name, t)
			r.noteTopic(t)
		}
	}
	return next, false
}

func (t *quietTopic) view() Silence {
	if t.silent {
		return Silence{Topic: t.name, Silent: true, Since: t.heard}
	}
	return Silence{Topic: t.name, Since: t.back}
}
