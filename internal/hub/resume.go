package hub

import (
	"github.com/vulturepi/gateway/internal/hub/memory"
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

const (
	maxReaders  = 2        // who read the history or the topics, or make a snapshot, at the same moment
	replayLooks = 1024     // messages looked at under one lock
	replayBytes = 64 << 10 // messages queued at once
)

// look finds the place that the client wants to resume from, and what is
// missing behind it.
func (j *joining) look() (place, hole) {
	h := j.client.hub
	h.mu.Lock()
	at := h.locate(j.Since)
	h.mu.Unlock()
	search := memory.NewSearch(j.filters...)
	return at, h.hole(at, &search)
}

// resume replays what the client missed and joins it to the live messages
// without a gap or repeat. False: the client has gone.
func (j *joining) resume(at place, m hole) bool {
	c, h := j.client, j.client.hub
	resumed := m.reason == ""
	r := &replay{joining: j, pos: at.seq, told: max(at.seq, m.end), search: memory.NewSearch(j.filters...)}
	for _, f := range j.filters {
		r.match.Add(f, true)
	}
	h.mu.Lock()
	if c.gone {
		h.mu.Unlock()
		return false
	}
	c.releaseHeld()
	c.sendAck(&wire.Ack{ID: j.ID, Results: j.results, Resumed: &resumed}, at.seq, false)
	if !resumed {
		c.sendGap(at.after, m, at.seq, false)
	}
	c.replaying = at.seq + 1
	if r.throttle = j.throttle(); r.throttle != nil {
		r.throttle.load()
	}
	h.mu.Unlock()
	c.out.Kick()
	for {
		switch r.step() {
		case joinedLive:
			return true
		case hasGone:
			return false
		case queued:
			if !c.out.WaitDrained() {
				return false
			}
		}
	}
}

// replay is one client's way through the history.
type replay struct {
	*joining
	throttle *throttle // with min_interval: what is held back until the end
	match    topic.Trie[bool]
	scratch  [][]bool
	search   memory.Search
	pos      uint64 // everything up to there is queued
	told     uint64 // holes up to there are announced
}

// stepped is what came of a step of a replay.
type stepped uint8

const (
	goOn       stepped = iota // nothing was queued, so there is nothing to wait for
	queued                    // the next part is, and has to be written
	joinedLive                // that was all
	hasGone                   // the client
)

// step queues the next part; at the end of the history it joins the live
// messages.
func (r *replay) step() stepped {
	c, h := r.client, r.client.hub
	h.readers <- struct{}{}
	defer func() { <-h.readers }()
	run := h.queued.NewRun()
	defer run.Release()
	h.mu.Lock()
	defer c.out.Kick()
	defer h.mu.Unlock()
	if c.gone {
		return hasGone
	}
	// What was evicted while the client read on is missing.
	from := max(r.pos, r.told)
	if !h.memory.Search(&r.search, from, searchSteps) {
		return goOn
	}
	if m := h.missing(from, &r.search); m.reason != "" {
		r.told = m.end
		c.sendGap(h.cursor(r.pos), m, r.pos, false)
	}
	end := r.read(run)
	if r.throttle == nil {
		c.replaying = r.pos + 1 // before the run, whose own cursors count
		c.out.PushRun(run, c.runForm())
	}
	if !end {
		if run.Len() > 0 {
			return queued
		}
		return goOn
	}
	c.replaying = 0
	r.add(r.throttle)
	if r.throttle != nil {
		r.throttle.releaseLoaded()
	}
	if r.Snapshot { // all that is newest is there
		c.send(outbox.Frame{Kind: "snapshot_end", Body: wire.Encode(&wire.SnapshotEnd{Type: "snapshot_end", ID: r.ID})})
	}
	return joinedLive
}

// read puts the next messages that the client is to see into the run, or into
// the throttle, and tells whether they are the last.
func (r *replay) read(run *outbox.Run) (end bool) {
	h, bytes := r.client.hub, 0
	r.pos, end = h.memory.After(r.pos, replayLooks, func(m *message.Message) bool {
		switch {
		case bytes > replayBytes:
			return false
		case m.IsGap && r.throttle != nil:
			h.gapCounts[m.Topic].Add(1)
			r.client.sendAt(m.Seq, func(cursor string) outbox.Frame {
				return outbox.Frame{Kind: "gap", Cursor: cursor, Body: m.JSON}
			})
		case m.IsGap:
			run.Append(m)
			r.client.told = max(r.client.told, m.Seq)
		case !r.wanted(m):
			return true
		case r.throttle != nil:
			r.throttle.takeLoaded(m)
		default:
			run.Append(m)
		}
		bytes += len(m.JSON)
		return true
	})
	return end
}

func (r *replay) wanted(m *message.Message) bool {
	if r.scratch = r.match.Match(r.scratch[:0], m.Topic); len(r.scratch) == 0 || !r.client.class.may(m) {
		return false
	}
	for _, s := range r.client.matching(m.Topic) { // what another of its filters has delivered, and not only the newest
		if s.throttle == nil && m.Seq > s.joined {
			return false
		}
	}
	return true
}

// runForm is how c gets a run from the history: the cursors of its messages do
// not pass what the client does not have yet.
func (c *Client) runForm() message.Form {
	if place := c.floor(); place != never {
		return message.Form{Place: place}
	}
	return message.Form{}
}
