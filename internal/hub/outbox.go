package hub

import (
	"sync"
	"sync/atomic"

	"github.com/vulturepi/gateway/wire"
)

// batchBytes is how much is framed ahead of one write: enough to make the
// system call cheap, little enough to stay in the cache. Twice as much may be
// under way before it counts as waiting.
const batchBytes = 32 << 10

// Overflow says what happens to a client that does not keep up.
type Overflow uint8

// Policies.
const (
	OverflowClose  Overflow = iota // cut off, with a gap as the last word
	OverflowDrop                   // drop the oldest, with a gap in their place
	OverflowLatest                 // keep only the newest of each topic
)

// outbox is what waits for one client.
//
// Fresh messages wait as references until a shard frames and writes them, in
// one go for all clients that are owed the same; frames of the client's own are
// put into buf. Neither write blocks. When the socket is full a goroutine of
// its own takes over (slow) until everything is written; meanwhile messages
// wait in backlog, so a thousand stalled clients share the same bytes.
type outbox struct {
	client    *Client
	transport Transport
	framing   string        // what the transport says
	delivered atomic.Uint64 // messages framed for the socket

	mu        sync.Mutex // guards all below
	buf       []byte     // framed, next to be written
	fresh     fresh      // next to be written; empty while buf is not
	backlog   backlog    // behind them
	framed    uint64     // the place to resume from behind the last message framed
	scheduled bool       // a shard or the slow goroutine will look again
	slow      bool
	writing   int    // bytes that the slow goroutine has in its hands
	final     []byte // last words; set once the outbox takes nothing more
	finishing bool
	dead      bool       // nothing will be written any more
	drained   *sync.Cond // the backlog is empty, or will never be; nil: nobody waits
}

func (o *outbox) init(c *Client, t Transport) {
	o.client, o.transport, o.framing = c, t, t.Framing()
}

// wait returns when the backlog may be empty. The caller holds the lock.
func (o *outbox) wait() {
	if o.drained == nil {
		o.drained = sync.NewCond(&o.mu)
	}
	o.drained.Wait()
}

func (o *outbox) tellDrained() {
	if o.drained != nil {
		o.drained.Broadcast()
	}
}

// pushMessage queues m in that form.
func (o *outbox) pushMessage(m *Message, f form, policy Overflow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.dead {
		return
	}
	if o.direct() {
		if f == (form{}) && len(o.buf) == 0 {
			o.fresh.push(m)
			o.framed = m.Seq
		} else {
			o.thaw()
			o.frame(m, f)
		}
		o.schedule()
		return
	}
	e := entry{m: m, policy: policy}
	if policy == OverflowLatest {
		if n, replaced := o.backlog.supersede(m.Topic); replaced {
			f.skipped += n
			o.client.hub.stats.conflated.Add(1)
		}
	}
	if f != (form{}) {
		e.x = &extra{form: f}
	}
	if !o.admit(e, m.Seq) {
		return
	}
	o.schedule()
}

// pushRaw queues framed bytes.
func (o *outbox) pushRaw(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.dead {
		return
	}
	if o.direct() {
		o.thaw()
		o.buf = growAppend(o.buf, p)
	} else if !o.admit(entry{x: &extra{raw: p}}, o.framed) {
		return
	}
	o.schedule()
}

// pushRun queues a run of messages that other clients may share. It does not
// count against the limit: it exists once, whoever waits for it.
func (o *outbox) pushRun(run []*Message, f form) {
	if len(run) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.dead {
		return
	}
	o.backlog.push(entry{x: &extra{run: run, form: f}})
	if !o.slow {
		o.refill()
	}
	o.schedule()
}

// admit puts e into the backlog if there is room, or makes room, or ends the
// client (false). seq is where the stream stands.
func (o *outbox) admit(e entry, seq uint64) bool {
	limit := o.client.hub.opts.QueueBytes
	before := o.backlog.bytes
	if over := before + e.size() - limit; over > 0 {
		dropped := o.backlog.dropOldest(over)
		o.client.hub.stats.droppedSlow.Add(uint64(dropped))
	}
	// Whoever gets here is slow. When all slow ones together hold far more
	// than they may, and shedding does not keep up, the next one goes.
	full := o.client.hub.queued.Load() > o.client.hub.opts.TotalQueue*3/2
	if o.backlog.bytes+e.size() > limit || full {
		o.overflow(seq, 1, e.m != nil)
		return false
	}
	o.backlog.push(e)
	o.client.hub.count(o.backlog.bytes - before)
	return true
}

// direct reports whether the next thing may be framed into buf at once.
func (o *outbox) direct() bool {
	return !o.slow && o.backlog.len() == 0 && len(o.buf)+o.fresh.bytes < 2*batchBytes
}

func (o *outbox) frame(m *Message, f form) {
	body := m.body(f, o.client.hub.opts.Epoch)
	if o.buf == nil {
		o.buf = getBuf(len(body) + frameOverhead)
	}
	if m.mark {
		o.buf = o.transport.AppendFrame(o.buf, Frame{Kind: "gap", Cursor: o.client.hub.cursor(m.Seq), Body: body})
		o.client.hub.stats.gaps[m.Topic].Add(1)
	} else {
		o.buf = o.transport.AppendMessage(o.buf, m, body)
		o.delivered.Add(1)
	}
	if m.Seq != 0 && !f.copy {
		o.framed = m.Seq
		if f.place != 0 {
			o.framed = f.place - 1
		}
	}
}

// refresh lets messages that wait as they are for everybody become fresh
// again, so that clients that were behind alike share the bytes once more.
func (o *outbox) refresh() {
	if o.slow || len(o.buf) > 0 {
		return
	}
	for o.fresh.bytes < batchBytes && o.backlog.len() > 0 {
		e := o.backlog.first()
		if e.m == nil || e.m.mark || e.x != nil {
			return
		}
		o.fresh.push(e.m)
		o.framed = e.m.Seq
		o.backlog.pop()
	}
}

// refill takes from the backlog until there is a batch to be written.
func (o *outbox) refill() {
	before := o.backlog.bytes
	o.refresh()
	if o.fresh.bytes < batchBytes && o.backlog.len() > 0 {
		o.thaw()
	}
	for len(o.buf)+o.fresh.bytes < batchBytes && o.backlog.len() > 0 {
		e := o.backlog.first()
		switch {
		case e.m != nil:
			o.frame(e.m, e.form())
		case e.x == nil: // superseded or dropped
		case len(e.x.run) > 0:
			o.frame(e.x.run[0], e.x.form)
			if e.x.run = e.x.run[1:]; len(e.x.run) > 0 {
				continue
			}
		case e.x.hole != nil:
			o.frameHole(e.x.hole)
		default:
			o.buf = growAppend(o.buf, e.x.raw)
		}
		o.backlog.pop()
	}
	if o.backlog.len() == 0 || o.backlog.runs == 0 {
		o.tellDrained()
	}
	o.client.hub.count(o.backlog.bytes - before)
}

func (o *outbox) frameHole(h *hole) {
	hub := o.client.hub
	hub.stats.gaps[wire.GapSlowConsumer].Add(1)
	before := hub.cursor(h.last)
	o.buf = o.transport.AppendFrame(growAppend(o.buf, nil), Frame{Kind: "gap", Cursor: before, Body: encode(&wire.Gap{
		Type: "gap", After: hub.cursor(h.first - 1), Before: before, Reason: wire.GapSlowConsumer, Certain: true,
	})})
}

// mark notes that everything up to seq is behind the client, delivered or
// older than its subscription.
func (o *outbox) mark(seq uint64) {
	o.mu.Lock()
	o.framed = max(o.framed, seq)
	o.mu.Unlock()
}

// rewind notes that the client resumes from seq: nothing behind it may count
// as delivered until the replay has got there.
func (o *outbox) rewind(seq uint64) {
	o.mu.Lock()
	o.framed = seq
	o.mu.Unlock()
}

// waitDrained returns when the backlog is empty; false when it never will be.
func (o *outbox) waitDrained() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.backlog.len() > 0 && !o.dead && !o.finishing {
		o.wait()
	}
	return !o.dead && !o.finishing
}

// waitRuns returns when no shared run waits; false when none ever will go out.
func (o *outbox) waitRuns() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.backlog.runs > 0 && !o.dead && !o.finishing {
		o.wait()
	}
	return !o.dead && !o.finishing
}

// schedule makes sure that a shard looks at the outbox. The caller kicks.
func (o *outbox) schedule() {
	if !o.scheduled {
		o.scheduled = true
		o.client.shard.add(o.client)
	}
}

// overflow: the client does not keep up. It gets a final gap behind what is
// framed already, and a close. lost is how many were not queued.
func (o *outbox) overflow(seq uint64, lost int, certain bool) {
	h := o.client.hub
	n := o.backlog.messages()
	if certain {
		n += lost
	}
	h.stats.gaps[wire.GapSlowConsumer].Add(1)
	h.stats.droppedSlow.Add(uint64(n))
	after := h.cursor(o.framed)
	// What is missing is in the history, most likely: resume before it.
	last := o.transport.AppendFrame(nil, Frame{Kind: "gap", Cursor: after, Body: encode(&wire.Gap{
		Type: "gap", After: after, Before: h.cursor(max(seq, o.framed)), Reason: wire.GapSlowConsumer, Certain: n > 0,
	})})
	o.end(o.transport.AppendClose(last, CloseSlow))
}

// shed ends the client because all clients together hold too much; it tells
// whether there was anything to gain.
func (o *outbox) shed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.dead {
		return false
	}
	o.overflow(o.framed, 0, false)
	return true
}

// finish lets buf go out, then last, then ends the connection.
func (o *outbox) finish(last []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.finishing && !o.dead {
		o.client.hub.stats.droppedClosed.Add(uint64(o.backlog.messages()))
		o.end(last)
	}
}

func (o *outbox) end(last []byte) {
	o.finishing = true
	o.final = last
	o.client.hub.count(-o.writing) // it goes, or the connection does, very soon
	o.writing = 0
	o.transport.Hurry()
	o.clear()
	o.schedule()
}

func (o *outbox) clear() {
	o.client.hub.count(-o.backlog.bytes)
	o.backlog = backlog{}
	o.tellDrained()
}

// abort drops everything and ends the connection at once.
func (o *outbox) abort() {
	o.mu.Lock()
	if !o.dead {
		o.dead = true
		o.client.hub.stats.droppedClosed.Add(uint64(len(o.fresh.run) + o.backlog.messages()))
		putBuf(o.buf)
		o.buf, o.final, o.fresh = nil, nil, fresh{}
		o.clear()
	}
	o.mu.Unlock()
	o.transport.Abort()
}

// held is what waits for the client, in bytes.
func (o *outbox) held() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing {
		return 0
	}
	return o.backlog.bytes + o.writing
}

// fail: the socket is gone or takes nothing within the write deadline.
func (o *outbox) fail() {
	o.abort()
}
