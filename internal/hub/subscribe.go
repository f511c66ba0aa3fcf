package hub

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// subscription is one filter of one client, or (client nil) the recorder of a
// fetch, or a waiter's.
type subscription struct {
	client   *Client
	fetch    *fetch
	waiter   *Waiter
	overflow Overflow
	joined   uint64    // messages up to there are not delivered by it
	throttle *throttle // nil without min_interval
}

// Request is a subscribe: what is asked for, and how.
type Request struct {
	ID          ID
	Results     []wire.Result // the filters; those that are not OK are refused already
	Since       *Position     // resume behind it
	Snapshot    bool          // send the newest message of every topic first
	Overflow    Overflow
	MinInterval time.Duration // 0: every message
}

// take hands m to whom the subscription belongs. Called under hub.mu.
func (s *subscription) take(m *Message) {
	c := s.client
	switch {
	case s.waiter != nil:
		s.waiter.offer(m)
	case c == nil:
		s.fetch.record(m)
	case c.last == m.Seq: // another of its filters matched already
	case s.throttle != nil: // only if no other filter matches
		c.hub.throttled = append(c.hub.throttled, s)
	default:
		c.last = m.Seq
		c.out.pushMessage(m, c.form(m), s.overflow)
	}
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
	// at a time: whoever does not take it is not given another.
	if !c.out.waitRuns() {
		return
	}
	fresh := c.watch(ctx, r.Results)
	if len(fresh) == 0 {
		r.Since = nil // nothing joins, so there is nothing to resume
	}
	if r.Since != nil && c.resume(r, fresh) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.hub.opts.FetchTime)
	fetches := c.hub.fetch(ctx, fresh)
	cancel()
	if !c.join(r, fresh, fetches) {
		c.hub.unwatch(fresh)
	}
	c.hub.wakeOwed()
}

// watch makes the filters' messages reach the hub and gives those that are new
// to the client.
func (c *Client) watch(ctx context.Context, results []wire.Result) (fresh []string) {
	ctx, cancel := context.WithTimeout(ctx, c.hub.opts.FetchTime)
	defer cancel()
	for i := range results {
		r := &results[i]
		if !r.OK || c.Has(r.Topic) || slices.Contains(fresh, r.Topic) {
			continue
		}
		if err := c.hub.watch(ctx, r.Topic); err != nil {
			refuse(r, err)
			continue
		}
		fresh = append(fresh, r.Topic)
	}
	return fresh
}

// Reach tells why a subscription to filter would be refused; an empty code
// means that it would not.
func (h *Hub) Reach(ctx context.Context, filter string) (code, detail string) {
	if code, detail = h.hold(ctx, filter); code == "" {
		h.unwatch([]string{filter}) // it lingers until the subscription comes
	}
	return code, detail
}

// hold is watch for those who answer with a code.
func (h *Hub) hold(ctx context.Context, filter string) (code, detail string) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.FetchTime)
	defer cancel()
	var r wire.Result
	if err := h.watch(ctx, filter); err != nil {
		refuse(&r, err)
	}
	return string(r.Code), r.Detail
}

func refuse(r *wire.Result, err error) {
	r.OK = false
	switch {
	case errors.Is(err, ErrRefused):
		r.Code, r.Detail = "filter_refused", "The broker does not let the gateway read what this filter matches; its access list decides."
	case errors.Is(err, ErrNotCovered):
		r.Code, r.Detail = "filter_not_covered", "The gateway is set to watch other topics only (GATEWAY_WATCH); this filter would match more."
	default:
		r.Code, r.Detail = "broker_unavailable", "The broker did not confirm the subscription in time; try again."
	}
}

// join is the moment from which the client sees live messages: ack, gap,
// retained copies or snapshot, and everything behind them are queued at one
// place of the sequence. False: the client has gone.
func (c *Client) join(r *Request, filters []string, fetches []*fetch) bool {
	h := c.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.leave(fetches)
	if c.gone {
		return false
	}
	c.flushHeld()
	resumed := false
	ack := &wire.Ack{Type: "ack", ID: r.ID, Results: r.Results, Cursor: h.cursor(h.seq)}
	if r.Since != nil {
		ack.Resumed = &resumed
	}
	run, f := h.retainedRun(fetches, false), form{}
	if r.Snapshot {
		run, f = h.snapshotRun(filters, fetches), form{copy: true}
	}
	// The copies have no place to resume from. Until they have been sent, a
	// connection that breaks must not make its client resume behind them.
	place := ack.Cursor
	if len(run) > 0 || r.Snapshot {
		place = ""
	}
	c.send(Frame{Kind: "ack", Cursor: place, Body: encode(ack)})
	c.out.mark(h.seq)
	if r.Since != nil {
		c.sendGap(h.after(r.Since), h.seq, r.Since.lost, r.Since.certain, place)
	}
	for _, f := range fetches {
		if f.err != nil {
			h.owed[c] = append(h.owed[c], f.filter)
		}
	}
	c.out.pushRun(run, f)
	switch {
	case r.Snapshot:
		c.send(Frame{Kind: "snapshot_end", Cursor: ack.Cursor, Body: encode(&wire.SnapshotEnd{Type: "snapshot_end", ID: r.ID})})
	case len(run) > 0:
		c.send(Frame{Cursor: ack.Cursor})
	}
	c.add(r, filters)
	c.shard.kick()
	return true
}

// add puts the subscriptions in force from the newest message on. Called under
// hub.mu.
func (c *Client) add(r *Request, filters []string) {
	if c.subs == nil {
		c.subs = map[string]*subscription{}
	}
	for _, f := range filters {
		s := &subscription{client: c, overflow: r.Overflow, joined: c.hub.seq}
		if r.MinInterval > 0 {
			s.throttle = &throttle{interval: r.MinInterval, slots: map[string]*slot{}}
		}
		c.subs[f] = s
		c.hub.subs.Add(f, s)
	}
}

// sendGap tells this client alone of a hole up to the message before. Called
// under hub.mu.
func (c *Client) sendGap(after string, before uint64, reason string, certain bool, place string) {
	h := c.hub
	h.stats.gaps[reason].Add(1)
	c.send(Frame{Kind: "gap", Cursor: place, Body: encode(&wire.Gap{
		Type: "gap", After: after, Before: h.cursor(before), Reason: reason, Certain: certain,
	})})
}

// end takes the subscription out of force. Called under hub.mu.
func (s *subscription) end(filter string) {
	s.client.hub.subs.Remove(filter, s)
	if s.throttle != nil {
		s.throttle.stop()
	}
}

// Unsubscribe ends filters and answers with one ack.
func (c *Client) Unsubscribe(id ID, results []wire.Result) {
	h := c.hub
	var ended []string
	h.mu.Lock()
	c.flushHeld()
	for i := range results {
		r := &results[i]
		if !r.OK {
			continue
		}
		s, held := c.subs[r.Topic]
		r.WasSubscribed = &held
		if held {
			delete(c.subs, r.Topic)
			s.end(r.Topic)
			ended = append(ended, r.Topic)
		}
	}
	ack := &wire.Ack{Type: "ack", ID: id, Results: results, Cursor: h.cursor(h.seq)}
	c.send(Frame{Kind: "ack", Cursor: ack.Cursor, Body: encode(ack)})
	h.mu.Unlock()
	c.shard.kick()
	h.unwatch(ended)
}
