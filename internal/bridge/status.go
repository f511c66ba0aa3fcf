package bridge

import (
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// Status says what works now.
type Status struct {
	Publish          bool      // every lane is up
	Subscribe        bool      // the subscriber link is up and every wanted filter granted
	Since            time.Time // the last change of either
	Err              string    // why not, in plain words without addresses and secrets; empty while both are up
	Refused          bool      // Err is an answer, of the network or of the broker: to ask again at once brings no other
	Tested           bool      // the gateway has tried to send a message to itself
	Warning          string    // what works, but not as it should, and what to do; empty: nothing is known
	SubscribeRefused []string  // wanted filters that the broker does not grant, sorted
}

// Status returns what works now.
func (b *Bridge) Status() Status { return b.status.get() }

// Changed returns a channel that is closed at the next change of Status.
func (b *Bridge) Changed() <-chan struct{} { return b.status.watch() }

// repeatLog: the same trouble is logged again after so long, not with every attempt.
const repeatLog = time.Minute

// status collects what the roles report, and logs the changes and nothing in between.
type status struct {
	log    *slog.Logger
	broker string
	words  words

	mu      sync.Mutex // guards the rest
	now     Status
	changed chan struct{}
	lanes   []bool
	sub     bool
	ready   bool
	logged  map[string]time.Time // when each trouble was last logged, since it last worked
}

func newStatus(lanes int, log *slog.Logger, u *url.URL, username string) *status {
	s := &status{log: log, words: newWords(u, username), changed: make(chan struct{}), lanes: make([]bool, lanes)}
	s.logged = make(map[string]time.Time)
	if u != nil {
		s.broker = u.Host
	}
	s.now.Since = time.Now()
	return s
}

func (s *status) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.now
	st.SubscribeRefused = slices.Clone(st.SubscribeRefused)
	return st
}

func (s *status) watch() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// A part is what a role does, as far as the status goes; from 0 on it is the number of a lane.
type part int

const (
	partSubscriber part = -1
	partControl    part = -2 // counts for nothing: what it does can wait
)

// set notes that a part works, or not.
func (s *status) set(p part, up bool) {
	switch {
	case p >= 0:
		s.lanes[p] = up
	case p == partSubscriber:
		s.sub = up
	}
}

func (s *status) up(p part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(p, true)
	s.update("")
}

// tested notes the outcome of a message to the gateway itself; warning is empty when it came back.
func (s *status) tested(warning string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Tested && s.now.Warning == warning {
		return
	}
	if warning != "" && s.now.Warning != warning {
		s.log.Warn("the gateway's message to itself does not come back", "why", warning)
	}
	s.now.Tested, s.now.Warning = true, warning
	s.notify()
}

// refused sets the wanted filters that the broker does not grant.
func (s *status) refused(filters []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(filters, s.now.SubscribeRefused) {
		return
	}
	if len(filters) > len(s.now.SubscribeRefused) {
		s.log.Warn("the broker refuses subscriptions", "filters", len(filters), "filter", filters[0])
	}
	s.now.SubscribeRefused = filters
	s.notify()
	s.update("")
}

// down: a part has no link (any more).
func (s *status) down(p part, role string, err error) {
	words := s.words.of(err)
	s.log.Debug("link down", "link", role, "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	worked := s.ready
	s.set(p, false)
	if err == mqtt.ErrClosed {
		s.update("")
		return
	}
	if p != partControl && isAnswer(err) && !s.now.Refused {
		s.now.Refused = true
		s.notify()
	}
	s.update(words)
	if time.Since(s.logged[words]) < repeatLog {
		return
	}
	maps.DeleteFunc(s.logged, func(_ string, at time.Time) bool { return time.Since(at) >= repeatLog })
	s.logged[words] = time.Now()
	if worked {
		s.log.Warn("connection to the broker lost", "broker", s.broker, "link", role, "err", words)
	} else {
		s.log.Warn("no connection to the broker, still trying", "broker", s.broker, "link", role, "err", words)
	}
}

// update derives the status from what is known. Words are the newest trouble; empty means none is new.
func (s *status) update(words string) {
	next := s.now
	next.Publish = !slices.Contains(s.lanes, false)
	next.Subscribe = s.sub && len(s.now.SubscribeRefused) == 0
	switch {
	case next.Publish && next.Subscribe:
		next.Err, next.Refused = "", false
	case words != "":
		next.Err = words
	case s.sub && !next.Subscribe && next.Publish:
		next.Err = "the broker refuses a subscription"
	}
	turned := next.Publish != s.now.Publish || next.Subscribe != s.now.Subscribe
	if turned {
		next.Since = time.Now()
	}
	if turned || next.Err != s.now.Err {
		s.now = next
		s.notify()
	}
	if ready := next.Publish && s.sub; ready != s.ready {
		if s.ready = ready; ready {
			clear(s.logged)
			s.log.Info("connected to the broker", "broker", s.broker)
		}
	}
}

func (s *status) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}
