package device

import (
	"strconv"
	"strings"
	"time"
)

// style is how the broker words its log.
type style int

const (
	styleUnknown style = iota
	style20            // mosquitto up to 2.0
	style21            // mosquitto from 2.1 on, and the built-in broker
)

// Version is what the broker calls itself: its lines are read in that way.
func (r *Registry) Version(name string) {
	s := styleUnknown
	if rest, ok := strings.CutPrefix(name, "mosquitto version "); ok {
		major, rest, _ := strings.Cut(rest, ".")
		minor, _, _ := strings.Cut(rest, ".")
		x, err1 := strconv.Atoi(major)
		y, err2 := strconv.Atoi(minor)
		switch {
		case err1 != nil || err2 != nil:
		case x > 2 || x == 2 && y >= 1:
			s = style21
		default:
			s = style20
		}
	} else if strings.HasPrefix(name, "vulture gateway ") {
		s = style21
	}
	r.mu.Lock()
	r.style = s
	r.mu.Unlock()
}

// Line is a line of the broker's log, in the order of the broker.
func (r *Registry) Line(line string) {
	if !r.opts.Log {
		return
	}
	events := read(line)
	if len(events) == 0 {
		return
	}
	if events[0].kind == accepted { // it is about no client yet
		r.accept(events[0].address)
		return
	}
	now := r.opts.Now()
	r.mu.Lock()
	r.lines++
	e, ok := r.choose(events)
	if !ok {
		r.unread++
	}
	unread := r.unread
	r.mu.Unlock()
	switch {
	case !ok:
		if unread == 1 {
			r.opts.Logger.Warn("a line of the broker's log can be read in two ways, and is left out; a client id looks like a part of one")
		}
	case e.kind == dropping:
		if r.opts.Own(e.id) {
			r.Lost(ReasonMessagesLost)
		}
	case e.id == "" || e.id == "<unknown>" || r.opts.Own(e.id):
	default:
		r.told(e, now)
	}
}

// choose is the event that a line tells. Of several ways to read it the one with
// the longest id counts that is known to be online: who chose that id is the one
// who can make lines look like that.
func (r *Registry) choose(events []event) (event, bool) {
	var left []event
	for _, e := range events {
		if e.kind == disconnected && (r.style == style20 && e.address != "" || r.style == style21 && e.address == "") {
			continue
		}
		left = append(left, e)
	}
	if len(left) == 1 {
		return left[0], true
	}
	for _, e := range left {
		if d := r.byID[e.id]; e.kind == disconnected && d != nil && d.log.is(Online, r.life) {
			return e, true
		}
	}
	return event{}, false
}

// lateEnd is how long after a takeover mosquitto 2.0 may still tell of the end of the old connection. It does of one over
// WebSocket, behind the beginning of the new one, and does not say which of the two it was.
const lateEnd = time.Minute

// acceptedMost is how many TCP connections are remembered whose clients have not said who they are.
const acceptedMost = 1024

// accept notes a TCP connection: of those the log has a line of their own, and of those over WebSocket it has none.
func (r *Registry) accept(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.accepted == nil || len(r.accepted) >= acceptedMost {
		r.accepted = make(map[string]struct{}) // whoever stood there counts as one that is not known to be TCP
	}
	r.accepted[strings.Clone(address[:min(len(address), 256)])] = struct{}{}
}

// told is what the log says of a device.
func (r *Registry) told(e event, now time.Time) {
	r.mu.Lock()
	defer r.unlock()
	d := r.byID[e.id]
	if e.kind == connected {
		if d = r.device(e.id); d == nil {
			return
		}
		reason := e.reason
		if d.log.is(Offline, r.life) && d.log.reason == ReasonTakenOver {
			reason = ReasonTakenOver
		}
		r.touch(d, &d.log, now)
		r.set(d, &d.log, Online, reason, now)
		r.move(d, e.address)
		_, d.tcp = r.accepted[e.address]
		delete(r.accepted, e.address)
		return
	}
	online := d != nil && d.log.is(Online, r.life)
	if e.address != "" && online && d.address != "" && d.address != e.address {
		return // of a connection that is not the device's: it has failed to log in, or was taken over
	}
	if e.reason == ReasonNotAuthorised && (e.address == "" || !online || d.address == "") {
		// Who fails to log in as a device is called by its name, too.
		if online {
			r.set(d, &d.log, Unknown, ReasonNotAuthorised, now)
		}
		return
	}
	if online && e.reason == ReasonClosed && e.address == "" && now.UnixNano() < d.late {
		d.late = 0 // it tells of one end
		r.set(d, &d.log, Unknown, ReasonTakenOver, now)
		return
	}
	if d == nil {
		if host, _, ok := strings.Cut(e.address, ":"); ok && host == e.id {
			return // a connection that has not said who it is
		}
		if d = r.device(e.id); d == nil {
			return
		}
	}
	if e.reason == ReasonTakenOver && e.address == "" && !(online && d.tcp) {
		d.late = now.Add(lateEnd).UnixNano()
	}
	r.touch(d, &d.log, now)
	r.set(d, &d.log, Offline, e.reason, now)
}

// ConnectionState is a message on $SYS/broker/connection/client/ID/state, which
// some brokers have.
func (r *Registry) ConnectionState(id string, payload []byte) {
	if !r.opts.Log || r.opts.Own(id) {
		return
	}
	now := r.opts.Now()
	r.mu.Lock()
	defer r.unlock()
	state, reason := Online, ReasonConnected
	switch string(payload) {
	case "1":
	case "0":
		state, reason = Offline, ReasonClosed
	default:
		return
	}
	if d := r.device(id); d != nil && !d.log.is(state, r.life) {
		r.set(d, &d.log, state, reason, now)
	}
}
