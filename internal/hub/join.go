package hub

import (
	"context"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// missed is a gap that a client is told of when it joins.
type missed struct {
	hole
	after string
}

// join is the moment from which the client sees live messages: ack, gap,
// retained copies or snapshot, and everything behind them are queued at one
// place of the sequence. False: nothing came into force.
func (j *joining) join(ctx context.Context, gap *missed) bool {
	c, h := j.client, j.client.hub
	fetches, err := h.fetch(ctx, widest(j.filters))
	if err != nil {
		return false // the caller has gone
	}
	if j.Snapshot { // few at a time, because each makes a run of its own
		h.collectors <- struct{}{}
		defer func() { <-h.collectors }()
	}
	cp, lost := j.copies(fetches)
	defer cp.release()
	defer c.out.Kick()
	defer h.mu.Unlock()
	defer h.leave(fetches)
	if c.gone {
		return false
	}
	c.releaseHeld()
	if lost && j.Snapshot {
		j.refuse(ErrTooFast)
	}
	ack := &wire.Ack{ID: j.ID, Results: j.results}
	if gap != nil {
		ack.Resumed = new(bool)
	}
	copies := !lost && (j.Snapshot || cp.run.Len() > 0)
	// The copies have no place to resume from. Until they have been sent, a
	// connection that breaks must not make its client resume behind them.
	c.sendAck(ack, h.seq, copies)
	if lost && j.Snapshot {
		return false
	}
	if gap != nil {
		gap.end = h.seq
		c.sendGap(gap.after, gap.hole, h.seq, copies)
	}
	for _, f := range fetches {
		if f.err != nil || lost {
			h.owe(c, f.filter)
		}
	}
	if copies {
		c.out.PushRun(cp.run, cp.form(h.seq))
	}
	if copies {
		c.sendAt(h.seq, j.snapshotEnd)
	}
	j.add(j.throttle())
	return true
}

// copies collects what the client is sent before the live messages, and takes
// hub.mu at a moment at which that is complete, and what its rights grant.
func (j *joining) copies(fetches []*fetch) (cp *copies, lost bool) {
	c, h := j.client, j.client.hub
	for {
		h.mu.Lock()
		rights := c.class.own()
		h.mu.Unlock()
		cp = h.collect(fetches, j.filters, rights, j.Snapshot, false)
		if lost = cp.lock(); c.gone || c.class.own() == rights {
			return cp, lost
		}
		h.mu.Unlock()
		cp.release()
	}
}

// snapshotEnd is the frame behind the copies; without a snapshot it is only a
// cursor.
func (j *joining) snapshotEnd(cursor string) outbox.Frame {
	if !j.Snapshot {
		return outbox.Frame{Cursor: cursor}
	}
	return outbox.Frame{Kind: "snapshot_end", Cursor: cursor, Body: wire.Encode(&wire.SnapshotEnd{Type: "snapshot_end", ID: j.ID})}
}

// refuse marks the filters that would have come into force.
func (j *joining) refuse(why *Error) {
	for i := range j.results {
		if r := &j.results[i]; r.OK {
			r.Refuse(j.client.hub.opts.Problem(why))
		}
	}
}

// throttle is that of the request, nil without min_interval.
func (j *joining) throttle() *throttle {
	if j.MinInterval == 0 || len(j.filters) == 0 {
		return nil
	}
	return newThrottle(j.client, j.Request)
}
