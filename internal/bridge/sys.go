package bridge

import (
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sysNames are the broker's own figures that are read, and what they are called here. They are subscribed one by one:
// everything below $SYS/broker would include the broker's log, where it is switched on.
var sysNames = map[string]string{
	"$SYS/broker/clients/connected":         "broker_clients_connected",
	"$SYS/broker/clients/total":             "broker_clients",
	"$SYS/broker/messages/received":         "broker_messages_received_total",
	"$SYS/broker/messages/sent":             "broker_messages_sent_total",
	"$SYS/broker/publish/messages/received": "broker_publish_messages_received_total",
	"$SYS/broker/publish/messages/sent":     "broker_publish_messages_sent_total",
	sysDropped:                              "broker_messages_dropped_total",
	sysDroppedToo:                           "broker_messages_dropped_total",
	"$SYS/broker/bytes/received":            "broker_bytes_received_total",
	"$SYS/broker/bytes/sent":                "broker_bytes_sent_total",
	"$SYS/broker/store/messages/count":      "broker_store_messages",
	"$SYS/broker/store/messages/bytes":      "broker_store_bytes",
	"$SYS/broker/retained messages/count":   "broker_retained_messages",
	"$SYS/broker/subscriptions/count":       "broker_subscriptions",
	"$SYS/broker/heap/current":              "broker_heap_bytes",
	"$SYS/broker/uptime":                    "broker_uptime_seconds",
}

// Where brokers count what they drop: mosquitto, and the built-in one.
const (
	sysDropped    = "$SYS/broker/publish/messages/dropped"
	sysDroppedToo = "$SYS/broker/messages/dropped"
)

// roundGap separates the figures of one of the broker's intervals from those of the next.
const roundGap = 300 * time.Millisecond

// sys keeps the newest figures, and tells the live stream when the broker has dropped messages.
type sys struct {
	in  *inbound
	log *slog.Logger

	mu      sync.Mutex // guards the rest
	values  map[string]float64
	known   bool    // dropped is a reading
	dropped float64 // the last one
	rising  bool    // it rose with the last reading: the episode has been logged
	excused float64 // drops to be counted soon that are our own doing,
	until   time.Time
	holds   int       // who may be about to excuse some
	waiting *reading  // of the dropped counter, until nobody is
	round   time.Time // when the broker's latest figures began to come
	before  time.Time // and those before them
}

// reading is one of the dropped counter.
type reading struct {
	v     float64
	kept  bool
	since time.Time // when the counter had last been right
}

// excuseFor is how long the broker may take to count: some of its intervals, which are ten seconds unless set.
const excuseFor = 30 * time.Second

func newSys(l *inbound, log *slog.Logger) *sys {
	now := time.Now()
	return &sys{in: l, log: log, values: map[string]float64{sysNames[sysDropped]: 0}, before: now, round: now}
}

// got handles a message below $SYS.
func (s *sys) got(m Message) {
	name, ok := sysNames[m.Topic]
	if !ok {
		return
	}
	text, _, _ := strings.Cut(string(m.Payload), " ") // "86400 seconds"
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.values[name] = v
	if now := time.Now(); now.Sub(s.round) > roundGap {
		s.before, s.round = s.round, now
	}
	since := s.before.Add(-roundGap)
	tell := false
	switch dropped := m.Topic == sysDropped || m.Topic == sysDroppedToo; {
	case dropped && s.holds > 0:
		if s.waiting != nil {
			since = s.waiting.since
		}
		s.waiting = &reading{v, m.Retain, since}
	case dropped:
		tell = s.rose(v, m.Retain)
	}
	s.mu.Unlock()
	if tell {
		s.in.dropped(since)
	}
}

// hold keeps readings of the dropped counter back until release: a fetch is under way, and may have to excuse some.
func (s *sys) hold() {
	s.mu.Lock()
	s.holds++
	s.mu.Unlock()
}

func (s *sys) release() {
	s.mu.Lock()
	s.holds--
	r := s.waiting
	tell := false
	if s.holds == 0 && r != nil {
		s.waiting = nil
		tell = s.rose(r.v, r.kept)
	}
	s.mu.Unlock()
	if tell {
		s.in.dropped(r.since)
	}
}

// rose compares a reading of the dropped counter with the last one. The first may be a copy that the broker kept: that is
// where it stood before us. One that comes live is there because it has changed. A lower one is of a new life of the
// broker, which counts from 0.
func (s *sys) rose(v float64, kept bool) bool {
	rise, first := v-s.dropped, !s.known
	if rise < 0 {
		rise = v
	}
	s.known, s.dropped = true, v
	if first && kept || rise <= 0 {
		s.rising = false
		return false
	}
	own := min(rise, s.excused)
	if time.Now().After(s.until) {
		own = 0
	}
	s.excused -= own
	if rise -= own; rise <= 0 {
		return false
	}
	if !s.rising {
		s.log.Warn("the broker has dropped messages; its queue limits may be too small for the load",
			"dropped", rise, "total", v)
	}
	s.rising = true
	return true
}

// excuse lets so many drops pass without an alarm: copies of retained messages that were dropped on their way to the
// control link, and have been fetched in another way.
func (s *sys) excuse(n int) {
	s.mu.Lock()
	s.excused, s.until = s.excused+float64(n), time.Now().Add(excuseFor)
	s.mu.Unlock()
}

func (s *sys) figures() map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.values)
}
