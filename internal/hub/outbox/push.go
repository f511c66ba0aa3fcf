package outbox

import "github.com/vulturepi/gateway/internal/hub/message"

// Push queues m in that form, unless the client is behind: then m stands in
// the history.
func (o *Outbox) Push(m *message.Message, f message.Form, policy Overflow) {
	o.mu.Lock()
	switch {
	case o.life != open || o.behind != 0:
	case f == (message.Form{}) && m.TooLarge == 0 && len(o.buf) == 0 && o.direct():
		o.pushBatch(m)
	default:
		o.push(entry{m: m, policy: policy}, f)
	}
	o.mu.Unlock()
}

// pushBatch is the way of most messages: nothing is in front of m, and it goes
// out as it is for everybody.
func (o *Outbox) pushBatch(m *message.Message) {
	o.batch.push(m)
	o.framed = m.Seq
	if o.writer == nobody {
		o.writer = theShard
		o.shard.add(o)
	}
	if o.batch.bytes-o.batched >= reportEvery { // seldom
		o.settle()
	}
}

// PushPaced queues a message that was held back, which the source does not
// have.
func (o *Outbox) PushPaced(m *message.Message, f message.Form, policy Overflow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life != open {
		return
	}
	if o.behind != 0 {
		f = o.notBeyond(f)
	}
	o.push(entry{m: m, policy: policy, paced: true}, f)
}

func (o *Outbox) push(e entry, f message.Form) {
	m := e.m
	if o.direct() {
		o.frameBatch()
		o.frame(m, f)
		o.schedule()
		return
	}
	if e.policy == OverflowLatest {
		if n, replaced := o.backlog.supersede(m.Topic); replaced {
			f.Skipped += n
			o.shared.Superseded.Add(1)
		}
	}
	if f != (message.Form{}) {
		e.x = &extra{form: f}
	}
	o.admit(e, m.Seq)
}

// notBeyond lets the cursor of a message lead back to before what the client
// does not have yet.
func (o *Outbox) notBeyond(f message.Form) message.Form {
	if f.Place == 0 || f.Place > o.behind {
		f.Place = o.behind
	}
	return f
}

// PushRaw queues framed bytes that have no place in the sequence: messages that
// are left to the source may come behind them.
func (o *Outbox) PushRaw(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushRaw(&extra{raw: p})
}

// PushPlaced queues framed bytes behind which a client resumes from place. It
// is false, and nothing is queued, when messages up to there are left to the
// source, perhaps only now, to make room: a lower place may do.
func (o *Outbox) PushPlaced(p []byte, place uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pushRaw(&extra{raw: p, placed: true, form: message.Form{Place: place}})
}

func (o *Outbox) pushRaw(x *extra) bool {
	switch {
	case o.life != open:
		return true
	case o.passes(x):
		return false
	case !o.direct():
		return o.admit(entry{x: x}, o.framed)
	}
	o.frameBatch()
	o.frameRaw(x)
	o.schedule()
	return true
}

// passes reports whether a place is behind what the client does not have yet.
func (o *Outbox) passes(x *extra) bool {
	return x.placed && o.behind != 0 && x.form.Place >= o.behind
}

// PushRun queues a run. It does not count against the client's limit: it exists
// once, for all who wait.
func (o *Outbox) PushRun(r *Run, f message.Form) {
	if r.Len() == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life == open {
		o.pushRun(r, f)
	}
}

func (o *Outbox) pushRun(r *Run, f message.Form) {
	r.hold()
	if o.behind != 0 && !f.Copy {
		f = o.notBeyond(f)
	}
	o.backlog.push(entry{x: &extra{run: r, form: f}})
	if o.writer != itsOwn {
		o.refill()
	}
	o.schedule()
}

// PushHole queues the news that messages were dropped there, and the place to
// resume from behind it. Holes that nothing stands between become one.
func (o *Outbox) PushHole(first, last, place uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life != open {
		return
	}
	if o.behind != 0 {
		place = min(place, o.behind-1)
	}
	h := hole{first: first, last: last, place: place}
	if o.direct() {
		o.frameBatch()
		o.frameHole(&h)
	} else {
		o.backlog.pushHole(h)
	}
	o.schedule()
}

// Fed queues what the source has found for a client that is behind: everything
// up to the place at. End: nothing is left, so what comes next is live.
func (o *Outbox) Fed(r *Run, f message.Form, at uint64, end bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life != open {
		return
	}
	if o.behind = at + 1; end {
		o.behind = 0
	}
	if r.Len() > 0 {
		r.hold()
		o.backlog.push(entry{x: &extra{run: r, form: f}})
	}
	o.settle()
}
