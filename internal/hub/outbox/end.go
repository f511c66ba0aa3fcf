package outbox

import "github.com/vulturepi/gateway/wire"

// Overflow ends a client that does not keep up.
func (o *Outbox) Overflow(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life == open {
		o.overflow(seq, 1, true)
	}
}

// overflow: the client does not keep up. It gets a final gap behind what is
// framed already, and a close. lost is how many were not queued.
func (o *Outbox) overflow(seq uint64, lost int, certain bool) {
	n := o.backlog.messages()
	if certain {
		n += lost
	}
	o.shared.Gaps[wire.GapSlowConsumer].Add(1)
	o.shared.DroppedSlow.Add(uint64(n))
	after := o.shared.cursor(o.framed)
	// What is missing is in the history, most likely: resume before it.
	last := o.codec.AppendFrame(nil, Frame{Kind: "gap", Cursor: after, Body: wire.Encode(&wire.Gap{
		Type: "gap", After: after, Before: o.shared.cursor(max(seq, o.framed, o.behind, o.backlog.newestSeq())), Reason: wire.GapSlowConsumer, Certain: n > 0 || o.behind != 0,
	})})
	o.close(o.codec.AppendClose(last, CloseSlow))
}

// Shed takes from the client what it can do without, because all clients
// together hold too much, or ends it.
func (o *Outbox) Shed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life != open {
		return
	}
	o.shared.Shed.Add(1)
	if o.retreat(o.backlog.bytes) > 0 {
		o.schedule()
		return
	}
	o.overflow(o.framed, 0, false)
}

// Finish lets what is framed go out, then last, then ends the connection.
func (o *Outbox) Finish(last []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life == open {
		o.shared.DroppedClosed.Add(uint64(o.backlog.messages()))
		o.close(last)
	}
}

func (o *Outbox) close(last []byte) {
	o.life = closing
	o.final = last
	o.conn.Hurry()
	o.clear()
	o.schedule()
}

func (o *Outbox) clear() {
	o.backlog.release()
	o.backlog, o.behind, o.held, o.noted = backlog{}, 0, 0, 0
	o.tellDrained()
}

// Abort drops everything and ends the connection at once.
func (o *Outbox) Abort() {
	o.mu.Lock()
	if o.life != ended {
		o.life = ended
		o.shared.DroppedClosed.Add(uint64(len(o.batch.run) + o.backlog.messages()))
		putBuf(o.buf)
		o.buf, o.final, o.batch = nil, nil, batch{}
		o.clear()
		o.settle()
	}
	o.mu.Unlock()
	o.conn.Abort()
}

// Detach is Abort, and takes the outbox from its shard.
func (o *Outbox) Detach() {
	o.Abort()
	o.shard.untrack(o)
}
