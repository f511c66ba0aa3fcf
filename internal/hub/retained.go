package hub

import (
	"context"
	"time"
)

// fetch asks the broker once for the retained messages of a filter, for all
// clients that join while it runs.
//
// The broker answers on another connection than the live stream, so the two
// are put together: while the fetch runs, record keeps the newest live message
// of every topic that passes, and a topic that passed takes its value from
// there. A value therefore never runs backwards.
type fetch struct {
	filter string
	done   chan struct{} // closed when copies and err are set
	copies []*Message
	err    error

	// Guarded by hub.mu.
	recorder *subscription
	live     map[string]*Message
	joiners  int
}

// maxRecorded bounds the topics that one fetch follows.
const maxRecorded = 100_000

// record is called under hub.mu.
func (f *fetch) record(m *Message) {
	if _, known := f.live[m.Topic]; known || len(f.live) < maxRecorded {
		f.live[m.Topic] = m
	}
}

// fetch starts or shares a fetch for each filter and waits for all. Each
// result must be given back with leave.
func (h *Hub) fetch(ctx context.Context, filters []string) []*fetch {
	var all []*fetch
	for _, filter := range filters {
		h.mu.Lock()
		f := h.fetches[filter]
		if f == nil {
			f = &fetch{filter: filter, done: make(chan struct{}), live: map[string]*Message{}}
			f.recorder = &subscription{fetch: f}
			h.fetches[filter] = f
			h.subs.Add(filter, f.recorder)
			h.wg.Go(func() { h.runFetch(f) })
		}
		f.joiners++
		h.mu.Unlock()
		all = append(all, f)
	}
	for _, f := range all {
		<-f.done // bounded by FetchTime
	}
	return all
}

func (h *Hub) runFetch(f *fetch) {
	ctx, cancel := context.WithTimeout(context.Background(), h.opts.FetchTime)
	defer cancel()
	go func() {
		select {
		case <-h.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	got, err := h.opts.Upstream.Retained(ctx, f.filter)
	now := time.Now()
	f.copies, f.err = make([]*Message, 0, len(got)), err
	for _, in := range got {
		in.Retain = true
		f.copies = append(f.copies, newMessage(in, h.decode(in), "", 0, now))
	}
	h.mu.Lock()
	delete(h.fetches, f.filter) // who comes now starts a new one
	h.mu.Unlock()
	close(f.done)
}

// leave ends the recorder of each fetch that nobody waits for any more. Called
// under hub.mu.
func (h *Hub) leave(fetches []*fetch) {
	for _, f := range fetches {
		if f.joiners--; f.joiners == 0 {
			h.subs.Remove(f.filter, f.recorder)
		}
	}
}

// retainedRun is what a client that joins now is sent: each retained topic
// once, and, unless it has seen that live, what passed while the fetch ran.
// Called under hub.mu.
func (h *Hub) retainedRun(fetches []*fetch, joined bool) []*Message {
	if len(fetches) == 1 && len(fetches[0].live) == 0 {
		return fetches[0].copies // shared by all who join
	}
	var run []*Message
	sent := map[string]bool{}
	for _, f := range fetches {
		if f.err != nil {
			continue
		}
		for _, m := range f.copies {
			if sent[m.Topic] {
				continue
			}
			sent[m.Topic] = true
			if live := newestLive(fetches, m.Topic); live == nil {
				run = append(run, m)
			} else if !live.empty() {
				run = append(run, live.asRetained())
			}
		}
	}
	for _, f := range fetches {
		if f.err != nil || joined {
			continue
		}
		for name, m := range f.live {
			if !sent[name] && !m.empty() {
				sent[name] = true
				run = append(run, newestLive(fetches, name).withoutCursor())
			}
		}
	}
	return run
}

func newestLive(fetches []*fetch, name string) *Message {
	var newest *Message
	for _, f := range fetches {
		if m := f.live[name]; m != nil && (newest == nil || m.Seq > newest.Seq) {
			newest = m
		}
	}
	return newest
}

// wakeOwed lets the worker try again for clients that joined while the broker
// could not be asked.
func (h *Hub) wakeOwed() {
	select {
	case h.owing <- struct{}{}:
	default:
	}
}

// serveOwed sends retained messages to those who joined without.
func (h *Hub) serveOwed() {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-h.done:
			return
		case <-h.owing:
		case <-retry.C:
		}
		if h.payOwed() > 0 {
			retry.Reset(2 * time.Second)
		}
	}
}

// payOwed makes one round over all filters that are owed and tells how many
// clients still wait.
func (h *Hub) payOwed() int {
	h.mu.Lock()
	wanted := map[string][]*Client{}
	if h.broker.Connected {
		for c, filters := range h.owed {
			for _, f := range filters {
				wanted[f] = append(wanted[f], c)
			}
		}
	}
	h.mu.Unlock()
	for filter, clients := range wanted {
		fetches := h.fetch(context.Background(), []string{filter})
		h.mu.Lock()
		if fetches[0].err == nil {
			run := h.retainedRun(fetches, true)
			for _, c := range clients {
				h.pay(c, filter, run)
			}
		}
		h.leave(fetches)
		h.mu.Unlock()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.broker.Connected {
		return 0 // BrokerUp wakes the worker
	}
	return len(h.owed)
}

// pay sends run to c if it still waits for filter. Called under hub.mu.
func (h *Hub) pay(c *Client, filter string, run []*Message) {
	left := h.owed[c][:0:0]
	for _, f := range h.owed[c] {
		if f != filter {
			left = append(left, f)
		}
	}
	if len(left) == len(h.owed[c]) {
		return
	}
	if h.owed[c] = left; len(left) == 0 {
		delete(h.owed, c)
	}
	if c.subs[filter] != nil {
		c.out.pushRun(run, form{})
		c.shard.kick()
	}
}
