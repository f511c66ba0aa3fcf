package hub

import (
	"context"
	"time"
)

// watch is a filter that reaches the hub because clients hold it, or held it a
// moment ago: who comes back soon finds that nothing was missed meanwhile.
type watch struct {
	refs  int           // who hold it
	ready chan struct{} // closed when since or err is set
	err   error
	since uint64      // in force from behind there
	timer *time.Timer // runs while refs is 0
}

// watch holds filter until unwatch, and returns when it is in force. For holder:
// see Request.
func (h *Hub) watch(ctx context.Context, filter string, holder any) error {
	if err := h.reserve(filter, holder); err != nil {
		return err
	}
	err := h.watchUpstream(ctx, filter)
	if err != nil {
		h.mu.Lock()
		h.unreserve(filter)
		h.mu.Unlock()
	}
	return err
}

// reserve makes room for filter where messages are looked up, so that no number
// of filters makes that take long.
func (h *Hub) reserve(filter string, holder any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.interests.Width()
	in := h.interested(filter)
	if in.held == 0 {
		h.charge(in, holder)
		if h.tooWide(before, holder) {
			h.dropped(in)
			return ErrTooWide
		}
	}
	in.held++
	return nil
}

// unreserve gives the room back. Called under hub.mu.
func (h *Hub) unreserve(filter string) {
	in := h.byFilter[filter]
	in.held--
	h.dropped(in)
}

func (h *Hub) watchUpstream(ctx context.Context, filter string) error {
	if h.opts.Upstream.Watched(filter) { // as long as the gateway runs: nothing to hold, but it may be refused
		return h.opts.Upstream.Want(ctx, filter)
	}
	h.mu.Lock()
	w := h.watches[filter]
	if w == nil {
		if h.closing {
			h.mu.Unlock()
			return context.Canceled
		}
		w = &watch{ready: make(chan struct{})}
		h.watches[filter] = w
		h.wg.Go(func() { h.begin(filter, w) })
	}
	if w.refs++; w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	h.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
		h.mu.Lock()
		defer h.mu.Unlock()
		select {
		case <-w.ready:
		default:
			w.refs--
			return ctx.Err()
		}
	}
	return w.err // after an error nothing is held
}

// begin puts a watch in force for all who hold it by then. Who asked first may
// have gone meanwhile.
func (h *Hub) begin(filter string, w *watch) {
	ctx, cancel := context.WithTimeout(h.ctx, h.opts.FetchTime)
	defer cancel()
	err := h.opts.Upstream.Want(ctx, filter)
	if err == nil && !h.inForce(filter, w) {
		h.opts.Upstream.Release(filter)
		err = ErrTooWide
	}
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watches, filter)
		w.err = err
		close(w.ready)
	}
}

// inForce puts a watch in force; false: there is no room for it, because of
// others that linger.
func (h *Hub) inForce(filter string, w *watch) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched.Add(filter, w)
	if h.watched.Width() > maxWidth {
		h.watched.Remove(filter, w)
		return false
	}
	// A place of its own: what passed before it, while nobody watched, must not
	// look like what came last.
	h.seq++
	w.since = h.seq
	close(w.ready)
	if w.refs == 0 {
		h.lingers(filter, w)
	}
	return true
}

// lingers keeps a watch that nobody holds for a moment, as long as those that
// linger leave room for what is held.
func (h *Hub) lingers(filter string, w *watch) {
	linger := h.opts.Linger
	if h.watched.Width() > maxWidth/4 {
		linger = 0
	}
	w.timer = time.AfterFunc(linger, func() { h.endWatch(filter, w) })
}

// unwatch gives filters back. Each stays in force upstream a little longer.
func (h *Hub) unwatch(filters []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range filters {
		h.unreserve(f)
		if w := h.watches[f]; w != nil {
			if w.refs--; w.refs == 0 {
				h.lingers(f, w)
			}
		}
	}
}

// endWatch releases a filter that nobody came back to. What was known of its
// topics is out of date from now on: see value.
func (h *Hub) endWatch(filter string, w *watch) {
	h.mu.Lock()
	if h.watches[filter] != w || w.refs > 0 {
		h.mu.Unlock()
		return
	}
	delete(h.watches, filter)
	h.watched.Remove(filter, w)
	h.mu.Unlock()
	h.opts.Upstream.Release(filter)
}

// covered tells from where on every message that matches filter has reached
// the hub without a break. Its cost does not depend on how many filters are
// watched, but on the levels of this one. Called under hub.mu.
func (h *Hub) covered(filter string) uint64 {
	if h.opts.Upstream.Watched(filter) {
		return 0
	}
	since := never
	h.covering = h.watched.Covering(h.covering[:0], filter)
	for _, values := range h.covering {
		for _, w := range values {
			since = min(since, w.since)
		}
	}
	clear(h.covering)
	return since
}
