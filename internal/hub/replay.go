package hub

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
)

// Position is a place in the sequence of one life of a gateway.
type Position struct {
	Epoch string
	Seq   uint64

	lost    string // why it is of no use; empty: not known yet
	certain bool   // that messages are missing

	at      time.Time // see Since
	window  bool      // came from a time
	located bool      // and has its place
}

// LostPosition is what a malformed cursor leads to: the stream begins with a
// gap.
func LostPosition() *Position { return &Position{lost: wire.GapHistoryExpired} }

// String is the cursor.
func (p *Position) String() string {
	return string(wire.AppendCursor(nil, p.Epoch, p.Seq))
}

// ErrCursor: not a cursor that any gateway has given out.
var ErrCursor = errors.New("malformed cursor")

var cursorShape = regexp.MustCompile(`^[0-9a-z]{1,32}-(0|[1-9][0-9]{0,19})$`)

// ParseCursor reads `<epoch>-<sequence>`.
func ParseCursor(s string) (*Position, error) {
	if len(s) > 64 || !cursorShape.MatchString(s) {
		return nil, ErrCursor
	}
	epoch, number, _ := strings.Cut(s, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return nil, ErrCursor
	}
	return &Position{Epoch: epoch, Seq: seq}, nil
}

// after is the cursor from which p's gap starts.
func (h *Hub) after(p *Position) string {
	if p.Epoch == "" {
		return h.cursor(0)
	}
	return p.String()
}

// missing is what is known to be, or may be, missing behind a position.
type missing struct {
	reason  string // empty: nothing
	end     uint64 // up to where
	certain bool
}

// missing looks for holes behind p in what the filters match. Called under
// hub.mu.
func (h *Hub) missing(p *Position, filters []string) (m missing) {
	h.locate(p)
	switch {
	case p.lost != "":
		return missing{reason: p.lost, end: h.seq}
	case p.Epoch != h.opts.Epoch:
		return missing{reason: wire.GapGatewayRestarted, end: h.seq}
	case p.Seq > h.seq:
		return missing{reason: wire.GapHistoryExpired, end: h.seq}
	}
	for _, f := range filters {
		end, certain := h.archive.hole(f, p.Seq)
		if end > p.Seq {
			m.end, m.certain = max(m.end, end), m.certain || certain
		}
		if since := h.covered(f); since > p.Seq {
			m.end = max(m.end, min(since, h.seq))
		}
	}
	if m.end > p.Seq {
		m.reason = wire.GapHistoryExpired
	}
	return m
}

const (
	maxReplays  = 2        // clients that read the history at the same moment
	replayScan  = 4096     // messages looked at in one go
	replayBytes = 64 << 10 // messages queued in one go
)

// resume replays what the client missed and joins it to the live messages
// without a gap or repeat. When that cannot be, it sends nothing, notes why,
// and returns false; but a position that came from a time takes what there is.
func (c *Client) resume(r *Request, filters []string) bool {
	h := c.hub
	h.mu.Lock()
	m := h.missing(r.Since, filters)
	resumed := m.reason == ""
	if !resumed && !r.Since.window {
		r.Since.lost, r.Since.certain = m.reason, m.certain
		h.mu.Unlock()
		return false
	}
	c.flushHeld()
	ack := &wire.Ack{Type: "ack", ID: r.ID, Results: r.Results, Resumed: &resumed, Cursor: r.Since.String()}
	c.send(Frame{Kind: "ack", Cursor: ack.Cursor, Body: encode(ack)})
	if !resumed {
		c.sendGap(ack.Cursor, m.end, m.reason, m.certain, ack.Cursor)
	}
	c.out.rewind(r.Since.Seq)
	c.replaying = r.Since.Seq + 1
	c.shard.kick()
	h.mu.Unlock()

	at := replay{client: c, request: r, filters: filters, pos: r.Since.Seq, told: max(r.Since.Seq, m.end), newest: map[string]kept{}}
	for _, f := range filters {
		at.match.Add(f, true)
	}
	for !at.step() {
		if !c.out.waitDrained() {
			h.unwatch(filters)
			break
		}
	}
	return true
}

// replay is one client's way through the history.
type replay struct {
	client  *Client
	request *Request
	filters []string
	match   topic.Trie[bool]
	scratch [][]bool
	pos     uint64          // everything up to there is queued
	told    uint64          // holes up to there are announced
	newest  map[string]kept // with min_interval: what is delivered at the end
	gaps    []kept          // and what in between
}

// kept is the newest message of a topic and how many it stands for besides
// itself.
type kept struct {
	m       *Message
	skipped int
}

// step queues the next part; at the end of the history it joins the live
// messages and returns true.
func (r *replay) step() (done bool) {
	c, h := r.client, r.client.hub
	h.replays <- struct{}{}
	defer func() { <-h.replays }()
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.gone {
		h.wg.Go(func() { h.unwatch(r.filters) })
		return true
	}
	// What was evicted while the client read on is missing.
	if m := h.missing(&Position{Epoch: h.opts.Epoch, Seq: max(r.pos, r.told)}, r.filters); m.reason != "" {
		r.told = m.end
		c.sendGap(h.cursor(r.pos), m.end, m.reason, m.certain, h.cursor(r.pos))
	}
	run, end := r.collect()
	if r.request.MinInterval > 0 {
		r.conflate(run)
	} else {
		c.out.pushRun(run, form{})
		c.replaying = r.pos + 1
	}
	if end {
		c.replaying = 0
		c.add(r.request, r.filters)
		r.deliverNewest()
		if r.request.Snapshot { // all that is newest is there
			c.send(Frame{Kind: "snapshot_end", Body: encode(&wire.SnapshotEnd{Type: "snapshot_end", ID: r.request.ID})})
		}
	}
	c.shard.kick()
	return end
}

// collect gives the next messages that the client is to see, and whether they
// are the last.
func (r *replay) collect() (run []*Message, end bool) {
	h := r.client.hub
	bytes, seen := 0, 0
	end = true
	h.archive.log.after(r.pos, func(m *Message) bool {
		if seen == replayScan || bytes > replayBytes {
			end = false
			return false
		}
		seen++
		r.pos = m.Seq
		if r.wanted(m) {
			run = append(run, m)
			bytes += len(m.JSON)
		}
		return true
	})
	return run, end
}

func (r *replay) wanted(m *Message) bool {
	if m.mark {
		return true
	}
	if r.scratch = r.match.Match(r.scratch[:0], m.Topic); len(r.scratch) == 0 {
		return false
	}
	for f, s := range r.client.subs { // what another of its filters has delivered
		if m.Seq > s.joined && topic.Match(f, m.Topic) {
			return false
		}
	}
	return true
}

// conflate keeps the newest message of each topic for the end, and the gaps
// with them: min_interval holds for what is replayed, too.
func (r *replay) conflate(run []*Message) {
	for _, m := range run {
		if m.mark {
			r.gaps = append(r.gaps, kept{m: m})
			continue
		}
		k, seen := r.newest[m.Topic]
		if seen {
			k.skipped++
		}
		k.m = m
		r.newest[m.Topic] = k
	}
}

func (r *replay) deliverNewest() {
	all := r.gaps
	for _, k := range r.newest {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Compare(a.m.Seq, b.m.Seq) })
	now := time.Now()
	for _, k := range all {
		if k.m.mark {
			r.client.out.pushRun([]*Message{k.m}, form{})
			continue
		}
		for _, f := range r.filters {
			if topic.Match(f, k.m.Topic) {
				r.client.subs[f].throttle.slots[k.m.Topic] = &slot{last: now}
			}
		}
		r.client.out.pushMessage(k.m, form{skipped: k.skipped}, r.request.Overflow)
	}
}

// snapshotRun is the newest known message of every topic that matches, each
// once. Called under hub.mu.
func (h *Hub) snapshotRun(filters []string, fetches []*fetch) []*Message {
	var run []*Message
	sent := map[string]bool{}
	for _, f := range filters {
		h.archive.lines.Walk(f, func(name string, l *line) bool {
			if m := h.value(l); m != nil && !m.empty() && !sent[name] {
				sent[name] = true
				run = append(run, m)
			}
			return true
		})
	}
	for _, m := range h.retainedRun(fetches, false) {
		if !sent[m.Topic] {
			sent[m.Topic] = true
			run = append(run, m)
		}
	}
	return run
}
