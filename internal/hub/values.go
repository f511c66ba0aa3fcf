package hub

import (
	"context"
	"slices"
	"time"
)

// Newest is the newest message on a topic: what the hub has received, or else
// what the broker keeps as retained; nil if there is neither. A code says why
// that cannot be told.
func (h *Hub) Newest(ctx context.Context, name string) (m *Message, code, detail string) {
	if m = h.known(name); m != nil {
		return m, "", ""
	}
	if code, detail = h.look(ctx, name); code != "" {
		return nil, code, detail
	}
	return h.known(name), "", ""
}

func (h *Hub) known(name string) *Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.archive.lines.Get(name)
	if !ok {
		return nil
	}
	return h.value(l)
}

// value is the newest message of a topic. Where it has left the table of
// values the history may still have it, unless the hub has looked away since.
// A retained copy of before the broker connection was lost proves nothing: it
// may have been deleted meanwhile. Called under hub.mu.
func (h *Hub) value(l *line) *Message {
	if m := l.newest; m != nil && m.Seq == 0 && m.at.Before(h.upAt) {
		return nil
	}
	if l.newest != nil || len(l.msgs) == 0 {
		return l.newest
	}
	last := l.msgs[len(l.msgs)-1]
	if last.empty() || h.covered(l.name) > last.Seq {
		return nil
	}
	return last
}

// look fetches what the broker keeps for filter into the table of values, and
// watches the filter for a moment: who asks again soon finds it there.
func (h *Hub) look(ctx context.Context, filter string) (code, detail string) {
	if code, detail = h.hold(ctx, filter); code != "" {
		return code, detail
	}
	defer h.unwatch([]string{filter})
	ctx, cancel := context.WithTimeout(ctx, h.opts.FetchTime)
	defer cancel()
	f := h.fetch(ctx, []string{filter})
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.leave(f)
	if f[0].err != nil && !h.broker.Connected {
		return "broker_unavailable", "There is no connection to the broker, and nothing was received that would answer this; try again."
	}
	if f[0].err != nil {
		return "broker_unavailable", "The broker did not say in time what it keeps as retained; try again."
	}
	for _, m := range f[0].copies {
		h.archive.addRetained(m, h.downAt)
	}
	return "", ""
}

// List is a page of the newest messages, as JSON, of the topics that match
// filter, in the order of their names: at most limit, behind the topic after.
// next is the topic to go on from, empty at the end. Topics whose newest
// message is empty are left out: that is how MQTT deletes.
func (h *Hub) List(ctx context.Context, filter, after string, limit int) (objects [][]byte, next, code, detail string) {
	if after == "" { // the first page brings what the broker keeps for all of them
		code, detail = h.look(ctx, filter)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// While there is no broker, what was received of a filter that is watched
	// for good is all that can be known.
	if code != "" && (code != "broker_unavailable" || h.broker.Connected || !h.opts.Upstream.Watched(filter)) {
		return nil, "", code, detail
	}
	more, bytes := false, 0
	h.archive.lines.WalkAfter(filter, after, func(name string, l *line) bool {
		m := h.value(l)
		if m == nil || m.empty() {
			return true
		}
		if more = len(objects) == limit || bytes > pageBytes; more {
			return false
		}
		objects, next = append(objects, m.JSON), name
		bytes += len(m.JSON)
		return true
	})
	if !more {
		next = ""
	}
	return objects, next, "", ""
}

// clearWait is how long the message that clears a topic may take to come back
// from the broker.
const clearWait = 10 * time.Second

// ExpectClear announces an empty message that deletes the retained one of a
// topic: when it comes, the topic has no value any more. Other empty messages
// are values like any, because nothing tells them apart. The caller says what
// became of the message with the function that it gets.
func (h *Hub) ExpectClear(name string) (settle func(sent bool)) {
	e := new(expected)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clears[name] = append(h.clears[name], e)
	return func(sent bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch {
		case !slices.Contains(h.clears[name], e): // it has come
		case sent:
			e.timer = time.AfterFunc(clearWait, func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.forgetClear(name, e)
			})
		default:
			h.forgetClear(name, e)
		}
	}
}

// expected is one message that clears and has not come yet.
type expected struct{ timer *time.Timer }

// forgetClear: it will not come. Called under hub.mu.
func (h *Hub) forgetClear(name string, e *expected) {
	all := h.clears[name]
	if i := slices.Index(all, e); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if h.clears[name] = all; len(all) == 0 {
		delete(h.clears, name)
	}
}

// takeClear reports whether a clear was expected, and ends it. Called under
// hub.mu.
func (h *Hub) takeClear(name string) bool {
	if len(h.clears[name]) == 0 {
		return false
	}
	e := h.clears[name][0]
	if e.timer != nil {
		e.timer.Stop()
	}
	h.forgetClear(name, e)
	return true
}
