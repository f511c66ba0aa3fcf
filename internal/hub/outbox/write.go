package outbox

import (
	"errors"
	"os"

	"github.com/vulturepi/gateway/internal/hub/message"
)

// work is what is to be written next: framed bytes, or messages to be framed,
// or, with neither, what follows.
type work struct {
	bytes    []byte
	messages []*message.Message
	then     then
}

// then is what follows when there is nothing to write.
type then uint8

const (
	rest    then = iota // wait for more
	theEnd              // end the connection softly
	askMore             // ask the source
)

// next takes what is to be written now. When that is nothing, nobody looks at
// the outbox any more, unless the source is to be asked.
func (o *Outbox) next() (w work) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.settle()
	if o.life == ended {
		o.writer = nobody
		return work{}
	}
	o.refill()
	switch {
	case len(o.batch.run) > 0:
		w.messages = o.batch.take()
		o.delivered.Add(uint64(len(w.messages)))
	case len(o.buf) > 0:
		w.bytes, o.buf = o.buf, nil
	case o.final != nil:
		w.bytes, o.final = o.final, nil
	case o.behind != 0:
		w.then = askMore
	default:
		o.writer = nobody
		if o.life == closing {
			w.then = theEnd
		}
	}
	return w
}

// wrote gives back what next gave, and reports whether there is more.
func (o *Outbox) wrote(w work) (more bool) {
	putBuf(w.bytes)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.batch.giveBack(w.messages)
	more = len(o.batch.run) > 0 || len(o.buf) > 0 || o.backlog.len() > 0 || o.behind != 0 || o.life == closing
	if !more {
		o.writer = nobody
	}
	return more
}

// flush is called by who has taken the outbox from its shard: one write that
// does not block. It reports whether the outbox wants another turn.
func (o *Outbox) flush(press *press) (again bool) {
	w := o.next()
	bytes := w.bytes
	switch {
	case w.messages != nil:
		bytes = press.print(o, w.messages)
	case w.bytes != nil:
	case w.then == theEnd:
		o.conn.Finish()
		return false
	case w.then == askMore:
		o.startOwn(work{}, 0)
		return false
	default:
		return false
	}
	n, err := o.conn.TryWrite(bytes)
	switch {
	case err != nil:
		putBuf(w.bytes)
		o.Abort()
		return false
	case n < len(bytes):
		if w.messages != nil {
			w.bytes, n = growAppend(nil, bytes[n:]), 0 // the press goes on
		}
		o.startOwn(w, n)
		return false
	}
	return o.wrote(w)
}

// startOwn hands the outbox to a writer of its own, with what the socket did
// not take.
func (o *Outbox) startOwn(w work, done int) {
	o.mu.Lock()
	o.writer = itsOwn
	o.batch.giveBack(w.messages)
	o.mu.Unlock()
	o.shard.wg.Go(func() { o.writeAlone(w.bytes, done) })
}

// writeAlone writes, waiting for the socket, until nothing is left, and gives
// the outbox back to the shard.
func (o *Outbox) writeAlone(p []byte, done int) {
	for {
		if p != nil {
			o.hands(len(p) - done)
			n, err := o.conn.WriteAll(p[done:])
			if errors.Is(err, os.ErrDeadlineExceeded) && o.stalled() {
				done += n // it has a moment to take the rest and the last words
				continue
			}
			o.hands(0)
			putBuf(p)
			if err != nil {
				o.Abort()
				return
			}
		}
		w := o.next()
		switch {
		case w.messages != nil: // from before the socket was full
			w.bytes = o.frameAll(w.messages)
		case w.bytes != nil:
		case w.then == theEnd:
			o.conn.Finish()
			return
		case w.then == askMore:
			o.source.Feed()
		default:
			return
		}
		p, done = w.bytes, 0
	}
}

// stalled: the client has taken nothing for too long. It reports whether that
// ends it only now.
func (o *Outbox) stalled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.life != open {
		return false
	}
	o.overflow(o.framed, 0, false)
	return true
}

// hands counts what the client's own writer has in its hands.
func (o *Outbox) hands(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = n
	o.settle()
}
