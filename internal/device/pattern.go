package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
)

// MaxPatterns is how many topics of devices there may be, and how many that may
// not go quiet.
const MaxPatterns = 64

// placeholder stands for a device's id in the topic of a pattern.
const placeholder = "{id}"

// Pattern is where a device is seen, and may say its state.
type Pattern struct {
	Filter          string // what it matches
	before, after   string // the placeholder: "fleet/" and "/LWT"
	level           int    // of the id
	online, offline string // payloads; both are empty where it is seen only
}

// States reports whether the payloads say the state.
func (p *Pattern) States() bool { return p.online != "" }

// Of is the filter of what a pattern matches of one device.
func (p *Pattern) Of(id string) string { return p.before + id + p.after }

// ParsePatterns reads "{id}/LWT=Online|Offline, fleet/{id}/#". Commas between
// braces or quotes belong to a payload.
func ParsePatterns(s string) ([]Pattern, error) {
	var all []Pattern
	items, ok := split(s)
	if !ok {
		return nil, fmt.Errorf("%q: a brace, bracket or quote has no other one", s)
	}
	for _, item := range items {
		p, err := parsePattern(item)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", item, err)
		}
		all = append(all, p)
	}
	if len(all) > MaxPatterns {
		return nil, fmt.Errorf("there are %d patterns; write %d at most", len(all), MaxPatterns)
	}
	return all, nil
}

func parsePattern(s string) (p Pattern, err error) {
	name, payloads, states := strings.Cut(s, "=")
	levels := strings.Split(name, "/")
	p.level = -1
	for i, level := range levels {
		switch {
		case level == placeholder && p.level < 0:
			p.level, levels[i] = i, "+"
		case strings.ContainsAny(level, "{}"):
			return p, errors.New("write {id} for one level, once, as in fleet/{id}/status")
		}
	}
	if p.level < 0 {
		return p, errors.New("one level must be {id}, as in fleet/{id}/status")
	}
	p.Filter = strings.Join(levels, "/")
	if err := topic.CheckFilter(p.Filter); err != nil {
		return p, detail(err)
	}
	p.before, p.after, _ = strings.Cut(name, placeholder)
	if !states {
		return p, nil
	}
	if strings.Contains(p.Filter, "#") {
		return p, errors.New("payloads need one topic of each device, without #")
	}
	online, offline, both := strings.Cut(payloads, "|")
	p.online, p.offline = normal([]byte(online)), normal([]byte(offline))
	if !both || p.online == "" || p.offline == "" || p.online == p.offline {
		return p, errors.New("write the payload of an online and of an offline device, as in =Online|Offline")
	}
	return p, nil
}

// id is the device that a topic belongs to.
func (p *Pattern) id(name string) (id string, ok bool) {
	if !topic.Match(p.Filter, name) {
		return "", false
	}
	for range p.level {
		_, name, _ = strings.Cut(name, "/")
	}
	id, _, _ = strings.Cut(name, "/")
	return id, id != ""
}

// state is what a payload says.
func (p *Pattern) state(payload []byte) State {
	if !p.States() || len(payload) > maxStatePayload {
		return Unknown
	}
	switch normal(payload) {
	case p.online:
		return Online
	case p.offline:
		return Offline
	}
	return Unknown
}

// maxStatePayload is what a payload that says a state may have.
const maxStatePayload = 1024

// normal is a payload without white space around it; of JSON, without any.
func normal(payload []byte) string {
	payload = bytes.TrimSpace(payload)
	if len(payload) > 0 && strings.IndexByte("{[\"", payload[0]) >= 0 {
		var b bytes.Buffer
		if json.Compact(&b, payload) == nil {
			return b.String()
		}
	}
	return string(payload)
}

// Quiet is a filter of topics, and how long each of them may be quiet.
type Quiet struct {
	Filter string
	After  time.Duration
}

// Bounds of Quiet.After.
const (
	minQuiet = time.Second
	maxQuiet = 30 * 24 * time.Hour
)

// ParseQuiet reads "fleet/+/heartbeat=30s, doors/#=24h".
func ParseQuiet(s string) ([]Quiet, error) {
	var all []Quiet
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		at := strings.LastIndexByte(item, '=')
		if at < 0 {
			return nil, fmt.Errorf("%q: write a filter and a duration, as in fleet/+/heartbeat=30s", item)
		}
		q := Quiet{Filter: strings.TrimSpace(item[:at])}
		if err := topic.CheckFilter(q.Filter); err != nil {
			return nil, fmt.Errorf("%q: %w", item, detail(err))
		}
		var err error
		if q.After, err = time.ParseDuration(strings.TrimSpace(item[at+1:])); err != nil || q.After < minQuiet || q.After > maxQuiet {
			return nil, fmt.Errorf("%q: write a duration from 1s to 720h behind the =", item)
		}
		for _, other := range all {
			if other.Filter == q.Filter {
				return nil, fmt.Errorf("%q: the filter stands there twice", item)
			}
		}
		all = append(all, q)
	}
	if len(all) > MaxPatterns {
		return nil, fmt.Errorf("there are %d filters; write %d at most", len(all), MaxPatterns)
	}
	return all, nil
}

// detail is the sentence of an error about a filter.
func detail(err error) error {
	var flaw *topic.Error
	if errors.As(err, &flaw) {
		return errors.New(flaw.Detail)
	}
	return err
}

// split cuts at commas that stand outside of braces and quotes. Not ok: one is
// not closed, so that nobody knows which commas do.
func split(s string) (items []string, ok bool) {
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth < 0 {
				return nil, false
			}
		case c == ',' && depth == 0:
			items = append(items, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(items, strings.TrimSpace(s[start:])), depth == 0 && !quoted
}
