package hub

import (
	"sync"
	"sync/atomic"

	"github.com/vulturepi/gateway/wire"
)

// batchBytes is how much is framed ahead of one write: enough to make the
// system call cheap, little enough to stay in the cache.
const batchBytes = 64 << 10

// outbox is what waits for one client.
//
// Fresh messages are framed straight into buf, which a shard writes without
// blocking. When the socket is full a goroutine of its own takes over (slow)
// until everything is written; meanwhile messages wait as references in
// backlog, so a thousand stalled clients share the same bytes.
type outbox struct {
	client    *Client
	transport Transport
	delivered atomic.Uint64 // messages framed for the socket

	mu        sync.Mutex // guards all below
	buf       []byte     // framed, next to be written
	backlog   fifo       // behind buf
	waiting   int        // bytes in backlog that count against the limit
	framed    uint64     // sequence number of the last message framed
	scheduled bool       // a shard or the slow goroutine will look again
	slow      bool
	final     []byte // last words; set once the outbox takes nothing more
	finishing bool
	dead      bool // nothing will be written any more
}

// entry is one thing in the backlog: a message, framed bytes, or a shared run
// of messages that is framed as the socket takes it.
type entry struct {
	m *Message
	x *extra
}

type extra struct {
	raw []byte
	run []*Message
}

func (o *outbox) init(c *Client, t Transport) { o.client, o.transport = c, t }

// pushMessage queues m.
func (o *outbox) pushMessage(m *Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.dead {
		return
	}
	if o.direct() {
		o.frame(m)
		o.schedule()
		return
	}
	size := len(m.JSON) + frameOverhead
	if o.waiting+size > o.client.hub.opts.QueueBytes {
		o.overflow(m)
		return
	}
	o.waiting += size
	o.backlog.push(entry{m: m})
	o.schedule()
}

// frameOverhead is what framing and a queue entry cost, roughly.
const frameOverhead = 32

// pushRaw queues framed bytes.
func (o *outbox) pushRaw(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.dead {
		return
	}
	if o.direct() {
		o.buf = growAppend(o.buf, p)
		o.schedule()
		return
	}
	if o.waiting+len(p) > o.client.hub.opts.QueueBytes {
		o.overflow(nil)
		return
	}
	o.waiting += len(p)
	o.backlog.push(entry{x: &extra{raw: p}})
	o.schedule()
}

// pushRun queues a run of messages that other clients may share. It does not
// count against the limit: it exists once, whoever waits for it.
func (o *outbox) pushRun(run []*Message) {
	if len(run) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.dead {
		return
	}
	o.backlog.push(entry{x: &extra{run: run}})
	if !o.slow {
		o.refill()
	}
	o.schedule()
}

// direct reports whether the next thing may be framed into buf at once.
func (o *outbox) direct() bool {
	return !o.slow && o.backlog.len() == 0 && len(o.buf) < batchBytes
}

func (o *outbox) frame(m *Message) {
	if o.buf == nil {
		o.buf = getBuf(len(m.JSON) + frameOverhead)
	}
	o.buf = o.transport.AppendMessage(o.buf, m)
	if m.Seq != 0 {
		o.framed = m.Seq
	}
	o.delivered.Add(1)
}

// refill frames from the backlog until buf holds a batch.
func (o *outbox) refill() {
	for len(o.buf) < batchBytes && o.backlog.len() > 0 {
		e := o.backlog.first()
		switch {
		case e.m != nil:
			o.waiting -= len(e.m.JSON) + frameOverhead
			o.frame(e.m)
		case e.x.run != nil:
			o.frame(e.x.run[0])
			if e.x.run = e.x.run[1:]; len(e.x.run) > 0 {
				continue
			}
		default:
			o.waiting -= len(e.x.raw)
			o.buf = growAppend(o.buf, e.x.raw)
		}
		o.backlog.drop()
	}
}

// mark notes that everything up to seq is behind the client, delivered or
// older than its subscription.
func (o *outbox) mark(seq uint64) {
	o.mu.Lock()
	o.framed = max(o.framed, seq)
	o.mu.Unlock()
}

// schedule makes sure that a shard looks at the outbox. The caller kicks.
func (o *outbox) schedule() {
	if !o.scheduled {
		o.scheduled = true
		o.client.shard.add(o.client)
	}
}

// overflow: the client does not keep up. It gets a final gap behind what is
// framed already, and a close.
func (o *outbox) overflow(m *Message) {
	h := o.client.hub
	n := o.backlog.messages()
	before := o.framed
	if m != nil {
		n++
		before = m.Seq
	}
	h.stats.slow.Add(1)
	h.stats.droppedSlow.Add(uint64(n))
	gap := encode(&wire.Gap{
		Type: "gap", After: h.cursor(o.framed), Before: h.cursor(max(before, o.framed)),
		Reason: wire.GapSlowConsumer, Certain: n > 0,
	})
	last := o.transport.AppendFrame(nil, "gap", gap)
	o.end(o.transport.AppendClose(last, CloseSlow))
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
	o.backlog = fifo{}
	o.waiting = 0
	o.schedule()
}

// abort drops everything and ends the connection at once.
func (o *outbox) abort() {
	o.mu.Lock()
	if !o.dead {
		o.dead = true
		putBuf(o.buf)
		o.buf, o.final, o.backlog, o.waiting = nil, nil, fifo{}, 0
	}
	o.mu.Unlock()
	o.transport.Abort()
}

// next takes what is to be written now. ended: nothing will follow.
func (o *outbox) next() (p []byte, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dead {
		o.scheduled = false
		return nil, false
	}
	o.refill()
	if len(o.buf) == 0 && o.final != nil {
		p, o.final = o.final, nil
		return p, false
	}
	if len(o.buf) == 0 {
		o.scheduled, o.slow = false, false
		return nil, o.finishing
	}
	p, o.buf = o.buf, nil
	return p, false
}

// flush is called by the shard: one write that does not block. It reports
// whether the outbox wants another turn.
func (o *outbox) flush() (again bool) {
	p, ended := o.next()
	if ended {
		o.transport.Finish()
	}
	if p == nil {
		return false
	}
	n, err := o.transport.TryWrite(p)
	switch {
	case err != nil:
		putBuf(p)
		o.fail()
		return false
	case n < len(p):
		o.mu.Lock()
		o.slow = true
		o.mu.Unlock()
		o.client.hub.wg.Go(func() { o.drain(p, n) })
		return false
	}
	putBuf(p)
	return true
}

// drain is the slow path: it writes, waiting for the socket, until nothing is
// left, and gives the outbox back to the shard.
func (o *outbox) drain(p []byte, done int) {
	for {
		if _, err := o.transport.WriteAll(p[done:]); err != nil {
			putBuf(p)
			o.fail()
			return
		}
		putBuf(p)
		var ended bool
		if p, ended = o.next(); p == nil {
			if ended {
				o.transport.Finish()
			}
			return
		}
		done = 0
	}
}

// fail: the socket is gone or takes nothing within the write deadline.
func (o *outbox) fail() {
	o.mu.Lock()
	if !o.dead && !o.finishing {
		o.client.hub.stats.droppedClosed.Add(uint64(o.backlog.messages()))
	}
	o.mu.Unlock()
	o.abort()
}

// fifo is a queue that gives its memory back when it is empty.
type fifo struct {
	items []entry
	head  int
}

func (f *fifo) len() int      { return len(f.items) - f.head }
func (f *fifo) push(e entry)  { f.items = append(f.items, e) }
func (f *fifo) first() *entry { return &f.items[f.head] }

func (f *fifo) drop() {
	f.items[f.head] = entry{}
	f.head++
	switch {
	case f.head == len(f.items):
		*f = fifo{}
	case f.head > 64 && f.head > len(f.items)/2:
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
}

// messages counts the messages that wait.
func (f *fifo) messages() int {
	n := 0
	for _, e := range f.items[f.head:] {
		if e.m != nil {
			n++
		} else {
			n += len(e.x.run)
		}
	}
	return n
}
