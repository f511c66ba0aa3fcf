package bridge

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// holdBytes is what may arrive between a connection's start and the last SUBACK before it is dropped, and said so.
const (
	holdBytes = 64 << 20
	holdEach  = 64 // what a message costs beside its topic and payload
)

// inbound turns what the subscriber links bring into one stream of events to the Receiver. All of them pass its lock, so
// they never overlap, wherever they come from.
type inbound struct {
	receiver Receiver
	system   func(Message)           // nil: nothing below $SYS is for the gateway itself
	operator func(topic string) bool // what below $SYS is the Receiver's, because an operator wants it; nil: nothing
	fence    string
	only     []string // what is received beyond these filters is left out; nil: nothing is
	keep     bool     // the broker keeps the session, so what has been held back is not sent again
	broker   *software
	stats    *counters
	log      *slog.Logger

	mu       sync.Mutex // guards the rest and the calls of receiver
	life     int        // counts the links; what a dead one still brings is left out
	up       bool
	everUp   bool
	held     []Message // arrived while not up
	heldSize int
	heldLost bool                     // more arrived than can be held
	owed     bool                     // the broker counted drops while not up
	fences   map[string]chan struct{} // by payload: closed when the stream has passed it

	skipLogged, panicLogged time.Time
}

func newInbound(cfg Config, fence string, broker *software, stats *counters) *inbound {
	l := &inbound{receiver: cfg.Receiver, system: cfg.OnSystem, fence: fence, broker: broker, keep: cfg.ClientID != "", stats: stats, log: cfg.Log}
	l.fences = make(map[string]chan struct{})
	// The broker may be asked for more than Watch says, to keep filters apart that overlap, and a kept session may
	// still hold filters of an earlier configuration.
	if !slices.Contains(cfg.Watch, "#") {
		l.only = cfg.Watch
	}
	return l
}

// begin gives the handler of a new subscriber link. What has arrived and is not handed over when a link dies comes too
// late: the hole behind the last message before Down begins there, and nothing of it is acknowledged.
func (l *inbound) begin(v mqtt.Version) mqtt.Handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life++
	return &stream{l, l.life, v == mqtt.V5}
}

// A stream is what one subscriber link brings.
type stream struct {
	in        *inbound
	life      int
	published bool // the retain flag is what it was published with: see subscribe
}

func (s *stream) Message(m mqtt.Message) bool {
	return s.got(Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Properties: m.Properties})
}

func (s *stream) Skipped(m mqtt.Skipped) bool {
	return s.got(Message{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, TooLarge: max(m.Size, 1)})
}

func (s *stream) got(m Message) bool {
	if s.published {
		m.Retain, m.Retained = false, m.Retain
	}
	return s.in.got(s.life, m)
}

func (s *stream) Rest() { s.in.rest() }

// got handles one message of a subscriber link.
func (l *inbound) got(life int, m Message) (taken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if life != l.life {
		return false
	}
	if m.Topic == versionTopic { // needed before Up
		l.broker.is(string(m.Payload))
	}
	if l.up {
		l.deliver(m)
		return true
	}
	// The Receiver must hear of a gap before it hears of what came after, so everything waits for Up.
	if l.heldSize += len(m.Topic) + len(m.Payload) + m.Properties.Size() + holdEach; l.heldSize > holdBytes {
		l.heldLost = true
		return true
	}
	l.held = append(l.held, m)
	return true
}

// rest says that nothing more has arrived for now.
func (l *inbound) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.survive()
	if l.up {
		l.receiver.Rest()
	}
}

// deliver passes on what is the Receiver's.
func (l *inbound) deliver(m Message) {
	defer l.survive()
	if m.Topic != "" && m.Topic[0] == '$' {
		l.reserved(m)
		if l.operator == nil || !l.operator(m.Topic) {
			return
		}
	} else if len(l.only) > 0 && !slices.ContainsFunc(l.only, func(f string) bool { return topic.Match(f, m.Topic) }) {
		return
	}
	if m.TooLarge > 0 {
		l.stats.oversize.Add(1)
		if time.Since(l.skipLogged) > repeatLog {
			l.skipLogged = time.Now()
			l.log.Warn("a payload larger than the limit was left out", "topic", m.Topic, "bytes", m.TooLarge)
		}
	}
	l.stats.received.Add(1)
	l.receiver.Message(m)
}

// reserved handles the topics that are not the Receiver's.
func (l *inbound) reserved(m Message) {
	switch m.Topic {
	case l.fence:
		if passed, ok := l.fences[string(m.Payload)]; ok {
			delete(l.fences, string(m.Payload))
			select {
			case <-passed:
			default:
				close(passed)
			}
		}
	default:
		if l.system != nil {
			l.system(m)
		}
	}
}

// survive keeps a panic of the Receiver from ending the process: most calls are made by the goroutine that reads.
func (l *inbound) survive() {
	if r := recover(); r != nil && time.Since(l.panicLogged) > repeatLog {
		l.panicLogged = time.Now()
		l.log.Error("handling a message panicked", "panic", r, "stack", string(debug.Stack()))
	}
}

// rise says Up and lets go of what was held back.
func (l *inbound) rise(lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.survive()
	l.up = true
	l.receiver.Up(lost && l.everUp)
	l.everUp = true
	for _, m := range l.held {
		l.deliver(m)
	}
	l.receiver.Rest()
	if l.heldLost {
		l.receiver.Dropped(true, time.Now())
	}
	if l.owed {
		l.receiver.Dropped(false, time.Now())
	}
	l.held, l.heldSize, l.heldLost, l.owed = nil, 0, false, false
}

// fall says Down, if Up was said.
func (l *inbound) fall(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.survive()
	if !l.keep {
		l.held, l.heldSize, l.heldLost = nil, 0, false // the next Up says that it is lost
	}
	l.life++
	if l.up {
		l.up = false
		l.receiver.Down(reason)
	}
}

// dropped says that the broker's counter of dropped messages has risen.
func (l *inbound) dropped(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.survive()
	if l.up {
		l.receiver.Dropped(false, since)
	} else {
		l.owed = true
	}
}

func (l *inbound) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// await announces a fence, before it is published: passed is closed when everything before it was handed over. Several
// fences may share one channel.
func (l *inbound) await(payload string, passed chan struct{}) {
	l.mu.Lock()
	l.fences[payload] = passed
	l.mu.Unlock()
}

func (l *inbound) forget(payload string) {
	l.mu.Lock()
	delete(l.fences, payload)
	l.mu.Unlock()
}

// subscriber serves a link of the subscriber role.
func (b *Bridge) subscriber(ctx context.Context, k *mqtt.Conn) {
	if b.cfg.SubscribeQoS == QoSAuto && b.cfg.ClientID == "" && !b.suspects.guiltyFilter(versionTopic) {
		if b.broker.ask(ctx, k, b.timing.who); k.Err() != nil {
			if e := b.ending(k); e.answer {
				b.suspects.closedOn([]string{versionTopic}, e)
			}
		}
	}
	qos := b.broker.decide()
	if k.Err() == nil && len(b.cfg.System) > 0 {
		b.own(ctx, k, b.cfg.System, qos) // if that ends the link, serve ends at once
	}
	b.subs.serve(ctx, k, qos, func() {
		b.inbound.rise(!k.Connack().SessionPresent)
		b.status.up(partSubscriber)
		b.fetch.wake()
	})
	reason := k.Err()
	if reason == nil {
		reason = mqtt.ErrClosed
	}
	b.inbound.fall(reason)
}
