package outbox

import (
	"github.com/vulturepi/gateway/internal/hub/message"
	"github.com/vulturepi/gateway/wire"
)

// frame appends m in that form to what is written next.
func (o *Outbox) frame(m *message.Message, f message.Form) {
	body := m.Body(f, o.shared.Epoch)
	if o.buf == nil {
		o.buf = getBuf(len(body) + frameOverhead)
	}
	if reason := m.GapReason(); reason != "" {
		gap := Frame{Kind: "gap", Body: body}
		if m.Seq != 0 && !f.Copy {
			gap.Cursor = o.shared.cursor(m.ResumeFrom(f))
		}
		o.buf = o.codec.AppendFrame(o.buf, gap)
		o.shared.Gaps[reason].Add(1)
	} else {
		o.buf = o.codec.AppendMessage(o.buf, m, body)
		o.delivered.Add(1)
	}
	if m.Seq != 0 && !f.Copy {
		o.framed = m.ResumeFrom(f)
	}
}

func (o *Outbox) frameRaw(x *extra) {
	if len(x.raw) > 0 {
		o.buf = growAppend(o.buf, x.raw)
	}
	if x.placed {
		o.framed = x.form.Place
	}
}

func (o *Outbox) frameHole(h *hole) {
	o.shared.Gaps[wire.GapSlowConsumer].Add(1)
	o.buf = o.codec.AppendFrame(growAppend(o.buf, nil), Frame{Kind: "gap", Cursor: o.shared.cursor(h.place), Body: wire.Encode(&wire.Gap{
		Type: "gap", After: o.shared.cursor(h.first - 1), Before: o.shared.cursor(h.last), Reason: wire.GapSlowConsumer, Certain: true,
	})})
}

// batchBacklog puts messages that wait as they are for everybody into the batch
// again, so that clients that were slow alike share the bytes once more.
func (o *Outbox) batchBacklog() {
	if o.writer == itsOwn || len(o.buf) > 0 {
		return
	}
	for o.batch.bytes < batchBytes && o.backlog.len() > 0 {
		e := o.backlog.first()
		if e.m == nil || e.m.GapReason() != "" || e.x != nil {
			return
		}
		o.batch.push(e.m)
		o.framed = e.m.Seq
		o.backlog.pop()
	}
}

// refill takes from the backlog until there is a batch to be written.
func (o *Outbox) refill() {
	o.batchBacklog()
	if o.batch.bytes < batchBytes && o.backlog.len() > 0 {
		o.frameBatch()
	}
	for len(o.buf)+o.batch.bytes < batchBytes && o.backlog.len() > 0 {
		e := o.backlog.first()
		switch {
		case e.m != nil:
			o.frame(e.m, e.form())
		case e.x == nil: // superseded or dropped
		case e.x.run != nil:
			if m := e.x.run.messages[e.x.next]; m != nil {
				o.frame(m, e.x.form)
			}
			if e.x.next++; e.x.next < e.x.run.Len() {
				continue
			}
		case e.x.hole != nil:
			o.frameHole(e.x.hole)
		default:
			o.frameRaw(e.x)
		}
		o.backlog.pop()
	}
	if o.backlog.len() == 0 || o.backlog.runs == 0 {
		o.tellDrained()
	}
}

// frameBatch frames the batch into buf, because something that is this client's
// own comes behind it.
func (o *Outbox) frameBatch() {
	if len(o.batch.run) == 0 {
		return
	}
	run := o.batch.take()
	for _, m := range run {
		o.frame(m, message.Form{})
	}
	o.batch.giveBack(run)
}

// frameAll frames a run, which counts as delivered already, for this client
// alone.
func (o *Outbox) frameAll(run []*message.Message) []byte {
	var p []byte
	for _, m := range run {
		if p == nil {
			p = getBuf(len(m.JSON) + frameOverhead)
		}
		p = o.codec.AppendMessage(p, m, m.JSON)
	}
	return p
}
