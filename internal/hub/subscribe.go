package hub

import (
	"context"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// Request is a subscribe: what is asked for, and how. It is not changed by
// those who serve it.
type Request struct {
	ID          ID
	Results     []wire.Result // the filters; those that are not OK are refused already
	Since       *Position     // resume behind it
	Snapshot    bool          // send the newest message of every topic first
	Overflow    outbox.Overflow
	MinInterval time.Duration // 0: every message
	Holder      any           // who asks, as one of those who share the places for filters; comparable
}

// joining is a subscribe on its way.
type joining struct {
	*Request
	client  *Client
	results []wire.Result // what the client is told of each filter
	filters []string      // those that come into force
}

// Subscribe puts the filters that are OK in force and answers with one ack;
// filters that cannot be are marked in the results, the others still count.
// Behind the ack come, where they apply, a gap, replayed or retained messages
// or a snapshot, and then live ones. It returns when all but the live ones are
// queued.
//
// A filter that the client holds already stays as it is.
func (c *Client) Subscribe(ctx context.Context, r *Request) {
	// Runs of copies do not count against the client's limit, so there is one
	// at a time: a client that does not take it is not given another.
	if !c.out.WaitRuns() {
		return
	}
	j := &joining{Request: r, client: c, results: slices.Clone(r.Results)}
	j.watch(ctx)
	if !j.subscribe(ctx) {
		c.hub.unwatch(j.filters)
	}
	c.hub.wakeOwed()
}

// subscribe is false when the client has gone meanwhile.
func (j *joining) subscribe(ctx context.Context) bool {
	if j.Since == nil || len(j.filters) == 0 { // nothing joins, so there is nothing to resume
		return j.join(ctx, nil)
	}
	at, m := j.look()
	if m.reason == "" || at.window { // from a time on there is what there is
		return j.resume(at, m)
	}
	return j.join(ctx, &missed{m, at.after})
}

// watch makes the filters' messages reach the hub and finds those that are new
// to the client.
func (j *joining) watch(ctx context.Context) {
	c := j.client
	ctx, cancel := context.WithTimeout(ctx, c.hub.opts.FetchTime)
	defer cancel()
	for i := range j.results {
		r := &j.results[i]
		if !r.OK || c.Has(r.Topic) || slices.Contains(j.filters, r.Topic) {
			continue
		}
		if err := c.hub.watch(ctx, r.Topic, j.Holder); err != nil {
			r.Refuse(c.hub.opts.Problem(explained(err)))
			continue
		}
		j.filters = append(j.filters, r.Topic)
	}
}

// Reach tells why a subscription of holder's to filter would be refused; nil
// means that it would not.
func (h *Hub) Reach(ctx context.Context, filter string, holder any) error {
	if err := h.hold(ctx, filter, holder); err != nil {
		return err
	}
	h.unwatch([]string{filter}) // it lingers until the subscription comes
	return nil
}

// hold is watch, with an error for the client; unwatch ends it.
func (h *Hub) hold(ctx context.Context, filter string, holder any) error {
	ctx, cancel := context.WithTimeout(ctx, h.opts.FetchTime)
	defer cancel()
	if err := h.watch(ctx, filter, holder); err != nil {
		return explained(err)
	}
	return nil
}

// add puts the subscriptions in force from the newest message on, with the
// throttle that they have in common, if any. Called under hub.mu.
func (j *joining) add(t *throttle) {
	c, h := j.client, j.client.hub
	if c.subs == nil {
		c.subs = map[string]*subscription{}
	}
	for _, f := range j.filters {
		s := &subscription{client: c, overflow: j.Overflow, joined: h.seq, throttle: t}
		if t != nil {
			t.users++
		}
		c.subs[f] = s
		s.begin(h.interested(f))
	}
	c.catchup = nil
}

// Unsubscribe ends filters and answers with one ack.
func (c *Client) Unsubscribe(id ID, asked []wire.Result) {
	h := c.hub
	results := slices.Clone(asked)
	var ended []string
	plain := false // one without min_interval has ended
	h.mu.Lock()
	c.releaseHeld()
	for i := range results {
		r := &results[i]
		if !r.OK {
			continue
		}
		s, held := c.subs[r.Topic]
		r.WasSubscribed = &held
		if held {
			delete(c.subs, r.Topic)
			s.end()
			plain = plain || s.throttle == nil
			ended = append(ended, r.Topic)
		}
	}
	c.catchup = nil
	h.forgetOwed(c, ended)
	c.sendAck(&wire.Ack{ID: id, Results: results}, h.seq, false)
	// What matches a filter with min_interval, too, was left to the history as
	// the other's, and is nobody's now.
	if behind := c.out.Behind(); behind != 0 && plain && len(c.throttles) > 0 {
		c.sendGap(h.cursor(behind-1), hole{reason: wire.GapSlowConsumer, end: h.seq}, h.seq, false)
	}
	h.mu.Unlock()
	c.out.Kick()
	h.unwatch(ended)
}
