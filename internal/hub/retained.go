package hub

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/topic"
)

// fetch asks the broker once for the retained messages of a filter, for all
// clients that join while it runs.
//
// The broker answers on another connection than the live stream, so the two
// are put together: while the fetch runs, and until those who wait for it have
// joined, a recorder keeps the live messages that pass, and a topic that passed
// takes its value from there. A value therefore never runs backwards.
type fetch struct {
	filter string
	done   chan struct{} // closed when what follows is set
	copies []*message.Message
	run    *outbox.Run // of them
	err    error

	// Guarded by hub.mu.
	recorder *recorder
	joiners  int
}

// fetch starts or shares a fetch for each filter and waits for all, which takes
// FetchTime at the most, or until ctx ends. Each result must be given back with
// leave.
func (h *Hub) fetch(ctx context.Context, filters []string) (all []*fetch, err error) {
	for _, filter := range filters {
		h.mu.Lock()
		f := h.fetches[filter]
		if f == nil && h.closing {
			h.leave(all)
			h.mu.Unlock()
			return nil, context.Canceled
		}
		if f == nil {
			f = &fetch{filter: filter, done: make(chan struct{}), joiners: 1} // its own
			f.recorder = h.record(filter)
			h.fetches[filter] = f
			h.wg.Go(func() { h.runFetch(f) })
		}
		f.joiners++
		h.mu.Unlock()
		all = append(all, f)
	}
	for _, f := range all {
		select {
		case <-f.done:
		case <-ctx.Done():
			h.mu.Lock()
			h.leave(all)
			h.mu.Unlock()
			return nil, ctx.Err()
		}
	}
	return all, nil
}

func (h *Hub) runFetch(f *fetch) {
	ctx, cancel := context.WithTimeout(h.ctx, h.opts.FetchTime)
	defer cancel()
	got, err := h.opts.Upstream.Retained(ctx, f.filter)
	now := time.Now()
	h.mu.Lock()
	asOf := h.seq
	h.mu.Unlock()
	f.run, f.err = h.queued.NewRun(), err
	f.copies = make([]*message.Message, 0, len(got))
	h.preparing.Lock()
	if !h.prepare(f, got, asOf, now) {
		f.run.Release()
		f.run, f.copies, f.err = h.queued.NewRun(), nil, errNoRoom
	}
	h.preparing.Unlock()
	h.mu.Lock()
	delete(h.fetches, f.filter) // who comes now starts a new one
	h.leave([]*fetch{f})
	h.mu.Unlock()
	close(f.done)
}

// shareSteps is how many copies are compared and remembered under one lock.
const shareSteps = 64

// errNoRoom: what others are owed leaves no room for the copies now.
var errNoRoom = errors.New("no room for retained copies")

// prepare encodes the copies and remembers them, unless their topics have
// passed live meanwhile, and takes the one that is remembered where it says the
// same, so that it is in memory once for all who fetch it. It is done for one
// fetch at a time, so that others find what this one has remembered. False:
// there is no room.
func (h *Hub) prepare(f *fetch, got []Inbound, asOf uint64, now time.Time) bool {
	passed, read := map[string]bool{}, 0
	for len(got) > 0 {
		if h.queued.Bytes()-f.run.Bytes() > h.queued.Limit()/4*3 {
			return false
		}
		part := make([]*message.Message, min(len(got), shareSteps))
		for i := range part {
			in := got[i]
			in.Retain = true
			part[i] = h.encode(in, now)
			part[i].StampCopy(h.opts.Epoch, asOf)
			got[i] = Inbound{} // not twice in memory
		}
		got = got[len(part):]
		known := make([]*message.Message, len(part))
		h.mu.Lock()
		for i, m := range part {
			if t := h.memory.Topic(m.Topic); t != nil {
				if newest, _ := t.Newest(); newest != nil && newest.Seq == 0 {
					known[i] = newest
				}
			}
		}
		h.mu.Unlock()
		for i, m := range part {
			if known[i] != nil && known[i].SaysTheSame(m) {
				part[i] = known[i]
			}
			f.copies = append(f.copies, part[i])
			f.run.Append(part[i])
		}
		for ; ; h.mu.Unlock() {
			h.mu.Lock()
			if f.recorder.lost {
				h.mu.Unlock()
				return true // nobody is given them
			}
			tail := f.recorder.messages[read:]
			if len(tail) == 0 {
				break
			}
			tail = tail[:min(len(tail), shareSteps)]
			read += len(tail)
			for _, m := range tail {
				passed[m.Topic] = true
			}
		}
		for _, m := range part {
			switch {
			case passed[m.Topic] || m.Empty():
			case rememberable(m.Topic):
				h.memory.AddRetained(m, h.downAt, h.seq)
			default:
				h.keepsSuch = true
			}
		}
		h.unlockTrimmed()
	}
	return true
}

// widest are those of the filters that together match what all match: one that
// another covers would bring the same copies again.
func widest(filters []string) (some []string) {
	for i, f := range filters {
		if !slices.ContainsFunc(filters[:i], func(g string) bool { return topic.Covers(g, f) }) &&
			!slices.ContainsFunc(filters[i+1:], func(g string) bool { return topic.Covers(g, f) && !topic.Covers(f, g) }) {
			some = append(some, f)
		}
	}
	return some
}

// leave ends the recorder of each fetch that nobody waits for any more. Called
// under hub.mu.
func (h *Hub) leave(fetches []*fetch) {
	for _, f := range fetches {
		if f.joiners--; f.joiners == 0 {
			f.recorder.stop()
			f.run.Release()
		}
	}
}
