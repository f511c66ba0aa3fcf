package bridge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/bits"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// Some brokers answer what they do not take by closing the connection, and all others that were sending on it suffer.
// What was in flight then is under suspicion. Its like goes over a connection of its own, the trial link, one at a time,
// until it has been acknowledged, or has ended that link too; then its like is refused at once for a while.

// A kind is what messages are like, as far as a broker may dislike them.
type kind struct {
	topic  string
	qos    byte
	retain bool
	size   int // its payload has so many bits in its length
}

func kindOf(topic string, qos byte, retain bool, size int) kind {
	return kind{topic, qos, retain, bits.Len(uint(size))}
}

const (
	maxSuspects = 10_000      // kinds under suspicion, and as many that are guilty
	suspectFor  = time.Minute // one that is not seen again is forgotten
)

// A suspicion is how long something is under it, and how often it was alone on a link that was reset: a network does that
// as well as a broker, so once is not enough.
type suspicion struct {
	until  time.Time
	resets int
}

const resetsOfTheGuilty = 2

// A verdict is why and how long the like of something is refused.
type verdict struct {
	until  time.Time
	reason ReasonCode // 0: none was given
}

// suspects is the memory of what has ended connections.
type suspects struct {
	log    *slog.Logger
	refuse time.Duration // how long the guilty are refused

	mu      sync.Mutex // guards the rest
	kinds   map[kind]suspicion
	topics  map[string]int // how many of them each topic has
	guilty  map[kind]verdict
	filters map[string]verdict // guilty ones
	resets  map[string]suspicion
}

func newSuspects(log *slog.Logger, refuse time.Duration) *suspects {
	return &suspects{log: log, refuse: refuse, kinds: make(map[kind]suspicion), topics: make(map[string]int),
		guilty: make(map[kind]verdict), filters: make(map[string]verdict), resets: make(map[string]suspicion)}
}

// suspect puts kinds under suspicion.
func (s *suspects) suspect(kinds []kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kinds)+len(kinds) > maxSuspects {
		clear(s.kinds)
		clear(s.topics)
	}
	for _, k := range kinds {
		s.suspectLocked(k)
	}
}

func (s *suspects) suspectLocked(k kind) {
	held, ok := s.kinds[k]
	if !ok {
		s.topics[k.topic]++
	}
	s.kinds[k] = suspicion{time.Now().Add(suspectFor), held.resets}
}

// reset notes that a link was reset on a message that was alone on it, and reports whether that is once too often.
func (s *suspects) reset(k kind) (guilty bool) {
	s.suspect([]kind{k})
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.kinds[k]
	now.resets++
	s.kinds[k] = now
	return now.resets >= resetsOfTheGuilty
}

// clear lifts a suspicion.
func (s *suspects) clear(k kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clearLocked(k)
}

func (s *suspects) clearLocked(k kind) {
	if _, ok := s.kinds[k]; !ok {
		return
	}
	delete(s.kinds, k)
	if s.topics[k.topic]--; s.topics[k.topic] == 0 {
		delete(s.topics, k.topic)
	}
}

// convict refuses the like of a message from now on. It returns what its sender is told.
func (s *suspects) convict(k kind, reason ReasonCode) *Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clearLocked(k)
	if len(s.guilty) >= maxSuspects {
		clear(s.guilty)
	}
	s.guilty[k] = verdict{time.Now().Add(s.refuse), reason}
	s.log.Warn("the broker ends the connection on a message; its like is refused for a while", "topic", k.topic, "qos", k.qos,
		"retain", k.retain, "reason", closeReason(reason), "for", s.refuse)
	return &Refusal{Reason: reason, For: s.refuse}
}

// about says whether a message is to be refused, or has to go over the trial link.
func (s *suspects) about(k kind) (refusal *Refusal, trial bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kinds) == 0 && len(s.guilty) == 0 {
		return nil, false
	}
	now := time.Now()
	if v, ok := s.guilty[k]; ok {
		if now.Before(v.until) {
			return &Refusal{Reason: v.reason, For: v.until.Sub(now)}, false
		}
		delete(s.guilty, k)
		s.suspectLocked(k) // once more, alone
	}
	if s.topics[k.topic] == 0 {
		return nil, false
	}
	for other, held := range s.kinds { // few: these are of messages that were in flight at one moment
		if other.topic == k.topic && now.After(held.until) {
			s.clearLocked(other)
		}
	}
	return nil, s.topics[k.topic] > 0
}

// guiltyKind reports whether the like of a message is refused.
func (s *suspects) guiltyKind(k kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.guilty[k]
	return ok && time.Now().Before(v.until)
}

// closedOn notes that the broker has closed a link on filters, of which none can be left out, and refuses them if it was not
// a reset, or not the first.
func (s *suspects) closedOn(filters []string, e ending) (guilty bool) {
	if !e.clear && !s.resetOn(slices.Min(filters)) {
		return false
	}
	s.convictFilters(filters)
	return true
}

func (s *suspects) resetOn(filter string) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.resets) >= maxSuspects {
		clear(s.resets)
	}
	now := s.resets[filter]
	if time.Now().After(now.until) {
		now.resets = 0
	}
	s.resets[filter] = suspicion{time.Now().Add(suspectFor), now.resets + 1}
	return now.resets+1 >= resetsOfTheGuilty
}

// took notes that the broker has answered a subscription.
func (s *suspects) took(filters []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.resets) == 0 {
		return
	}
	for _, f := range filters {
		delete(s.resets, f)
	}
}

// convictFilters refuses filters from now on.
func (s *suspects) convictFilters(filters []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.filters)+len(filters) > maxSuspects {
		clear(s.filters)
	}
	for _, f := range filters {
		s.filters[f] = verdict{until: time.Now().Add(s.refuse)}
		s.log.Warn("the broker ends the connection on a subscription; it is refused for a while", "filter", f, "for", s.refuse)
	}
}

// guiltyFilter reports whether a filter is refused.
func (s *suspects) guiltyFilter(filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.filters[filter]
	if ok && time.Now().After(v.until) {
		delete(s.filters, filter)
		ok = false
	}
	return ok
}

// closedBehind: a connection that ends so soon after the broker has refused filters is closed on them.
const closedBehind = time.Second

// A refusedLately is the filters that a broker has refused last on a link.
type refusedLately struct {
	filters []string
	at      time.Time
}

func (r *refusedLately) note(filters []string) {
	if len(filters) > 0 {
		r.filters, r.at = filters, time.Now()
	}
}

// recent reports whether a link that has just ended may have been closed on them.
func (r *refusedLately) recent() bool { return len(r.filters) > 0 && time.Since(r.at) < closedBehind }

// closeReason is what a broker gave as the reason for closing a connection, in words.
func closeReason(code ReasonCode) string {
	if code == 0 {
		return "connection closed"
	}
	return code.String()
}

// An ending is what a broker may have meant by the end of a connection.
type ending struct {
	answer bool       // it closed this connection, and goes on with others: that may be its answer to what was on it
	clear  bool       // it closed it in order, or gave a reason: it was not the network
	reason ReasonCode // 0: none was given
}

// endingOf reads off the end of a connection whether it can have been an answer.
func endingOf(err error) ending {
	if gone, is := errors.AsType[*mqtt.DisconnectError](err); is {
		switch gone.Code {
		case mqtt.MalformedPacket, mqtt.ProtocolViolation, mqtt.NotAuthorized, mqtt.FilterInvalid, mqtt.TopicInvalid, mqtt.PacketTooLarge,
			mqtt.RateTooHigh, mqtt.QuotaExceeded, mqtt.PayloadInvalid, mqtt.RetainNotSupported, mqtt.QoSNotSupported,
			mqtt.UnspecifiedError, 0x83, 0x9E, 0xA1, 0xA2:
			return ending{true, true, gone.Code}
		}
		return ending{} // it has reasons of its own
	}
	inOrder := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || websocket.CloseStatus(err) >= 0
	return ending{answer: inOrder || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), clear: inOrder}
}

// ending finds out what the end of a link may mean. It is asked right after it.
func (b *Bridge) ending(k *mqtt.Conn) ending {
	e := endingOf(k.Err())
	if !e.answer || e.reason != 0 {
		return e
	}
	if until := b.fought.Load(); until != nil && time.Now().Before(*until) {
		return ending{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.timing.alive)
	defer cancel()
	for _, other := range b.links.witnesses(k) {
		if other.RoundTrip(ctx) == nil {
			return e
		}
	}
	return ending{}
}

// endedIdle notes the end of a link on which nothing was under way. If it has hardly lived, and others know our client
// ids, somebody else uses them: for a while no end is an answer to what was sent.
func (b *Bridge) endedIdle(k *mqtt.Conn) {
	if b.cfg.ClientID != "" && endingOf(k.Err()).answer && time.Since(k.Since()) < b.timing.flap {
		b.fought.Store(new(time.Now().Add(2 * b.timing.backoffTakeover)))
	}
}

// links are those that are up, and which life each is of its role's.
type links struct {
	mu  sync.Mutex
	all map[*mqtt.Conn]int
}

func (l *links) add(k *mqtt.Conn, life int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*mqtt.Conn]int)
	}
	l.all[k] = life
}

func (l *links) remove(k *mqtt.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, k)
}

// any reports whether one is up.
func (l *links) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all) > 0
}

// witnesses are the links that show, if they serve, that a broker which has ended k goes on. One that has replaced
// another since the broker was last heard on k does not: it may be to a broker that has restarted.
func (l *links) witnesses(k *mqtt.Conn) (others []*mqtt.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, life := range l.all {
		if other != k && (life == 1 || other.Since().Before(k.Heard())) {
			others = append(others, other)
		}
	}
	return others
}
