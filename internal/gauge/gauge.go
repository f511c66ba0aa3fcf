// Package gauge keeps the newest numbers of topics that a file of rules names,
// as series of metrics: a name, labels out of the topic and the payload, a
// value. It is told of messages, and asked for what it keeps. It counts;
// internal/api publishes.
//
// Topics and payloads are what strangers send, so everything has a bound: the
// series of a metric, all series together, the labels of a series, and what is
// looked at of a payload. What is left out is counted by its reason.
package gauge

import (
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vulturepi/gateway/internal/list"
	"github.com/vulturepi/gateway/internal/topic"
)

// Bounds of what is kept.
const (
	// Limit is how many bytes all series take at most.
	Limit = 8 << 20

	maxPayload    = 64 << 10 // longer ones are not looked at
	maxLabelBytes = 512      // of the label values of one series, together
	seriesBytes   = 256      // what a series takes besides them, roughly
	labelBytes    = 16       // and each label
)

// Reason is why a message gave no value.
type Reason string

// Reasons, a closed set.
const (
	NoNumber    Reason = "no_number"    // it has none where the rule looks
	NoLabel     Reason = "no_label"     // a label is missing, no plain value, or too long
	TooLarge    Reason = "too_large"    // the payload has more bytes than are looked at
	SeriesLimit Reason = "series_limit" // it is of a new series, and there are as many as may be
)

// Reasons lists them.
var Reasons = [...]Reason{NoNumber, NoLabel, TooLarge, SeriesLimit}

// Options of a Set.
type Options struct {
	// Decode is asked first for what a payload means; value is one JSON text, and
	// empty, like problem, where it knows nothing of the topic. nil: nothing is known.
	Decode func(topic string, payload []byte) (value []byte, problem string)
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// Set is the series of all rules. A nil Set has none.
type Set struct {
	opts    Options
	rules   []*rule
	filters topic.Trie[int] // numbers of rules; does not change

	found [][]int // what Message has found; of Message alone

	mu      sync.Mutex // guards what follows, and what the rules keep
	bytes   int64
	dropped map[Reason]uint64
}

// series is one label set of a metric. Guarded by Set.mu.
type series struct {
	key    string   // the label values, with sep between them
	labels []string // the parts of key
	value  float64
	heard  time.Time
	place  list.Place[series]
}

// sep stands between label values. It is in no UTF-8.
const sep = "\xff"

func (e *series) bytes() int64 { return int64(seriesBytes + len(e.key) + labelBytes*len(e.labels)) }

// New makes the set of a file of rules. An error is one line that says where
// and what to do.
func New(file []byte, o Options) (*Set, error) {
	rules, err := parse(file)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Set{opts: o, rules: rules, dropped: map[Reason]uint64{}}
	for i, r := range rules {
		s.filters.Add(r.filter, i)
	}
	return s, nil
}

// Filters are the topics that the rules are about.
func (s *Set) Filters() (all []string) {
	if s != nil {
		for _, r := range s.rules {
			all = append(all, r.filter)
		}
	}
	return all
}

// Message takes the value out of a message that came live. One goroutine at a
// time may call it.
func (s *Set) Message(name string, payload []byte) {
	if s == nil {
		return
	}
	s.found = s.filters.Match(s.found[:0], name)
	if len(s.found) == 0 {
		return
	}
	var doc document
	known := len(payload) <= maxPayload
	if known {
		doc = s.read(name, payload)
	}
	now := s.opts.Now()
	for _, numbers := range s.found {
		for _, n := range numbers {
			if !known {
				s.drop(TooLarge)
			} else if reason := s.take(s.rules[n], name, doc, now); reason != "" {
				s.drop(reason)
			}
		}
	}
}

// take gives a rule the message; reason is why that came to nothing.
func (s *Set) take(r *rule, name string, doc document, now time.Time) (reason Reason) {
	value, ok := doc.number(r.field)
	if !ok {
		return NoNumber
	}
	labels, ok := r.labelsOf(name, doc)
	if !ok {
		return NoLabel
	}
	key := strings.Join(labels, sep)
	if len(key) > maxLabelBytes {
		return NoLabel
	}
	full := s.set(r, key, value, now)
	if !full {
		return ""
	}
	if now.Sub(r.said) > time.Hour {
		r.said = now
		s.opts.Log.Warn("a value metric has as many series as there may be, and new ones are left out", "metric", r.name, "max_series", r.max)
	}
	return SeriesLimit
}

// set sets the value of a series; full says that it is a new one and there is no
// room.
func (s *Set) set(r *rule, key string, value float64, now time.Time) (full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := r.byKey[key]
	if e == nil {
		s.expire(r, now)
		e = &series{key: key}
		if len(r.labels) > 0 {
			e.labels = strings.Split(key, sep)
		}
		if len(r.byKey) >= r.max || s.bytes+e.bytes() > Limit {
			return true
		}
		r.byKey[key] = e
		s.bytes += e.bytes()
	} else {
		r.heard.Remove(&e.place)
	}
	e.value, e.heard = value, now
	r.heard.Push(&e.place, e)
	return false
}

// expire forgets the series of a rule that were quiet for too long. They stand
// first. Called under mu.
func (s *Set) expire(r *rule, now time.Time) {
	for e := r.heard.First(); e != nil && now.Sub(e.heard) >= r.expires; e = r.heard.First() {
		r.heard.Remove(&e.place)
		delete(r.byKey, e.key)
		s.bytes -= e.bytes()
	}
}

func (s *Set) drop(reason Reason) {
	s.mu.Lock()
	s.dropped[reason]++
	s.mu.Unlock()
}

// labelsOf are the values of a rule's labels.
func (r *rule) labelsOf(name string, doc document) (values []string, ok bool) {
	if len(r.labels) == 0 {
		return nil, true
	}
	levels := strings.Split(name, "/")
	values = make([]string, len(r.labels))
	for i, l := range r.labels {
		if l.field != nil {
			values[i], ok = doc.text(l.field)
		} else {
			values[i], ok = levels[l.level], utf8.ValidString(levels[l.level])
		}
		if !ok {
			return nil, false
		}
	}
	return values, true
}
