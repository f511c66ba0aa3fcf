package hub

import (
	"context"
	"errors"
	"slices"

	"github.com/vulturepi/gateway/wire"
)

// subscription is one filter of one client, or (client nil) the recorder of a
// fetch.
type subscription struct {
	client *Client
	fetch  *fetch
}

// take hands m to whom the subscription belongs. Called under hub.mu.
func (s *subscription) take(m *Message) {
	c := s.client
	if c == nil {
		s.fetch.record(m)
		return
	}
	if c.last == m.Seq {
		return // another of its filters matched already
	}
	c.last = m.Seq
	c.out.pushMessage(m)
}

// Subscribe puts the filters of results that are OK in force and answers with
// one ack; filters that cannot be are marked in results, the others still
// count. Behind the ack come the retained messages that match, then the live
// ones. It returns when the ack is queued.
//
// A filter that the client holds already stays as it is.
func (c *Client) Subscribe(ctx context.Context, id ID, results []wire.Result) {
	h := c.hub
	ctx, cancel := context.WithTimeout(ctx, h.opts.FetchTime)
	defer cancel()
	var fresh []string
	for i := range results {
		r := &results[i]
		if !r.OK || c.Has(r.Topic) || slices.Contains(fresh, r.Topic) {
			continue
		}
		if err := h.opts.Upstream.Want(ctx, r.Topic); err != nil {
			refuse(r, err)
			continue
		}
		fresh = append(fresh, r.Topic)
	}
	fetches := h.fetch(ctx, fresh)
	ack := &wire.Ack{Type: "ack", ID: id, Results: results}
	if !c.join(ack, fresh, fetches) {
		for _, f := range fresh {
			h.opts.Upstream.Release(f)
		}
	}
	h.wakeOwed()
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

// join is the moment from which the client sees live messages: ack, retained
// copies and everything behind them are queued at one place of the sequence.
// False: the client has gone.
func (c *Client) join(ack *wire.Ack, filters []string, fetches []*fetch) bool {
	h := c.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.leave(fetches)
	if c.gone {
		return false
	}
	ack.Cursor = h.cursor(h.seq)
	c.send("ack", encode(ack))
	if c.subs == nil {
		c.subs = map[string]*subscription{}
	}
	for _, f := range filters {
		s := &subscription{client: c}
		c.subs[f] = s
		h.subs.Add(f, s)
	}
	c.out.mark(h.seq)
	for _, f := range fetches {
		if f.err != nil {
			h.owed[c] = append(h.owed[c], f.filter)
		}
	}
	c.out.pushRun(h.retainedRun(fetches))
	c.shard.kick()
	return true
}

// Unsubscribe ends filters and answers with one ack.
func (c *Client) Unsubscribe(id ID, results []wire.Result) {
	h := c.hub
	var ended []string
	h.mu.Lock()
	for i := range results {
		r := &results[i]
		if !r.OK {
			continue
		}
		s, held := c.subs[r.Topic]
		r.WasSubscribed = &held
		if held {
			delete(c.subs, r.Topic)
			h.subs.Remove(r.Topic, s)
			ended = append(ended, r.Topic)
		}
	}
	c.send("ack", encode(&wire.Ack{Type: "ack", ID: id, Results: results, Cursor: h.cursor(h.seq)}))
	h.mu.Unlock()
	c.shard.kick()
	for _, f := range ended {
		h.opts.Upstream.Release(f)
	}
}
