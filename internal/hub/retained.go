package hub

import (
	"context"
	"time"

	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/internal/hub/outbox"
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
	for _, in := range got {
		in.Retain = true
		m := h.encode(in, now)
		m.StampCopy(h.opts.Epoch, asOf)
		f.copies = append(f.copies, m)
	}
	h.shareCopies(f)
	for _, m := range f.copies {
		f.run.Append(m)
	}
	h.mu.Lock()
	delete(h.fetches, f.filter) // who comes now starts a new one
	h.leave([]*fetch{f})
	h.mu.Unlock()
	close(f.done)
}

// shareSteps is how many copies are compared and remembered under one lock.
const shareSteps = 64

// shareCopies remembers the copies, unless their topics have passed live
// meanwhile, and takes the one that is remembered where it says the same, so
// that it is in memory once for all who fetch it.
func (h *Hub) shareCopies(f *fetch) {
	passed, read := map[string]bool{}, 0
	for from := 0; from < len(f.copies); from += shareSteps {
		part := f.copies[from:min(from+shareSteps, len(f.copies))]
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
		}
		for ; ; h.mu.Unlock() {
			h.mu.Lock()
			if f.recorder.lost {
				h.mu.Unlock()
				return
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
