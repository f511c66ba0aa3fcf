package hub

// next takes what is to be written now: bytes, or a run of messages to be
// framed. ended: nothing will follow.
func (o *outbox) next() (p []byte, run []*Message, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dead {
		o.scheduled = false
		return nil, nil, false
	}
	o.refill()
	switch {
	case len(o.fresh.run) > 0:
		run = o.fresh.take()
		o.delivered.Add(uint64(len(run)))
	case len(o.buf) > 0:
		p, o.buf = o.buf, nil
	case o.final != nil:
		p, o.final = o.final, nil
	default:
		o.scheduled, o.slow = false, false
		return nil, nil, o.finishing
	}
	return p, run, false
}

// wrote gives back what next gave, and reports whether there is more.
func (o *outbox) wrote(p []byte, run []*Message) (more bool) {
	putBuf(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fresh.giveBack(run)
	more = len(o.fresh.run) > 0 || len(o.buf) > 0 || o.backlog.len() > 0 || o.finishing
	o.scheduled = more
	return more
}

// flush is called by who has taken the client from its shard: one write that
// does not block. It reports whether the outbox wants another turn.
func (o *outbox) flush(press *press) (again bool) {
	p, run, ended := o.next()
	if ended {
		o.transport.Finish()
	}
	bytes := p
	if run != nil {
		bytes = press.print(o, run)
	}
	if bytes == nil {
		return false
	}
	n, err := o.transport.TryWrite(bytes)
	switch {
	case err != nil:
		putBuf(p)
		o.fail()
		return false
	case n < len(bytes):
		if run != nil {
			p, n = growAppend(nil, bytes[n:]), 0 // the press goes on
		}
		o.mu.Lock()
		o.slow = true
		o.fresh.giveBack(run)
		o.mu.Unlock()
		o.client.hub.wg.Go(func() { o.drain(p, n) })
		return false
	}
	return o.wrote(p, run)
}

// drain is the slow path: it writes, waiting for the socket, until nothing is
// left, and gives the outbox back to the shard.
func (o *outbox) drain(p []byte, done int) {
	for p != nil {
		o.hold(len(p) - done)
		_, err := o.transport.WriteAll(p[done:])
		o.hold(0)
		putBuf(p)
		if err != nil {
			o.fail()
			return
		}
		var run []*Message
		var ended bool
		if p, run, ended = o.next(); ended {
			o.transport.Finish()
		}
		if run != nil { // from before the socket was full
			p = o.frameAll(run)
		}
		done = 0
	}
}

// hold counts what the slow goroutine has in its hands.
func (o *outbox) hold(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing {
		n = 0
	}
	o.client.hub.count(n - o.writing)
	o.writing = n
}
