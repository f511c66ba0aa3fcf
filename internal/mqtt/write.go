package mqtt

import (
	"errors"
	"runtime"
	"syscall"
	"time"
)

const (
	softPending = 1 << 20 // publishing waits while more than this is to be written
	hardPending = 4 << 20 // and where so much of the rest, which does not wait, has piled up, the connection ends
	keepBuffer  = 1 << 20 // a larger buffer is not kept for the next time
)

// outgoing is what is to be written. It is guarded by the connection's lock.
type outgoing struct {
	pending []byte // accepted, not yet taken by the writer
	unpaced int    // bytes of pending that are not of publications
	spare   []byte

	writing   bool   // the writer has something in its hands
	accepted  uint64 // bytes ever appended to pending
	attempted uint64 // bytes ever given to the stream
	flushed   uint64 // bytes the stream has taken
	writes    uint64
}

// enqueue accepts a packet, or several acknowledgements, that nobody waits for. It is false if the connection has ended.
func (c *Conn) enqueue(packet []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enqueueLocked(packet)
}

func (c *Conn) enqueueLocked(packet []byte) bool {
	if c.closed {
		return false
	}
	if c.out.unpaced += len(packet); c.out.unpaced > hardPending {
		c.failLocked(ErrStuck)
		return false
	}
	c.append(packet)
	return true
}

// append puts a packet behind what is pending. It is called with the lock held.
func (c *Conn) append(packet []byte) {
	c.out.pending = append(c.out.pending, packet...)
	c.out.accepted += uint64(len(packet))
	c.moved.Broadcast()
}

// writeLoop gives the stream what has accumulated since its last write, so that under load one write carries many
// packets.
func (c *Conn) writeLoop() {
	o := &c.out
	c.mu.Lock()
	for {
		for len(o.pending) == 0 && !c.closed {
			c.moved.Wait()
		}
		if len(o.pending) == 0 || c.closed && !c.polite {
			break
		}
		// Whoever is about to publish does so first: one write then carries it as well. Nobody is waited for.
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		// Only a buffer with something in it is taken; an empty one would be swapped in under a packet being appended.
		buf := o.pending
		o.pending, o.unpaced, o.attempted = o.spare[:0], 0, o.accepted
		o.spare, o.writing = nil, true
		c.mu.Unlock()
		n, err := c.stream.Write(buf)
		c.mu.Lock()
		o.writing = false
		o.writes++
		o.flushed += uint64(n)
		c.pubs.left(o.flushed)
		if cap(buf) <= keepBuffer {
			o.spare = buf
		}
		c.moved.Broadcast()
		if err != nil {
			c.awaitReason(err)
			c.failLocked(err) // keeps an earlier reason
			break
		}
	}
	c.failLocked(ErrClosed)
	c.finish()
}

// alonePacket is how large a packet above QoS 0 may be that is written by whoever brings it, when it is the only one
// without an answer: he waits for that, and every step counts. At QoS 0 there is no telling, and many share a write.
const alonePacket = 4 << 10

// writeAlone gives the socket the one packet that is pending, without waiting, so that the writer need not be woken for
// it. What it does not take is left to the writer, and so is an error. It is called with the lock held.
func (c *Conn) writeAlone() {
	o := &c.out
	n := c.stream.offer(o.pending)
	if n <= 0 {
		return
	}
	o.writes++
	o.attempted += uint64(n)
	o.flushed += uint64(n)
	o.pending = o.pending[:copy(o.pending, o.pending[n:])]
	c.pubs.left(o.flushed)
}

// awaitReason lets the reader say why the connection has ended, where the writer only learns that it has: a socket tells
// its error once, and EPIPE from then on. It is called with the lock held, and releases it meanwhile.
func (c *Conn) awaitReason(err error) {
	if !errors.Is(err, syscall.EPIPE) || c.closed {
		return
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	limit := time.NewTimer(c.cfg.CloseTime)
	defer limit.Stop()
	select {
	case <-c.read:
	case <-limit.C:
	}
}

// finish closes the stream and settles what is open. It is called with the lock held, and releases it.
//
// A broker answers DISCONNECT by closing. Until it does, for CloseTime at most, what it still sends is read: a socket that
// is closed with something unread in it is reset, and the broker may lose what was written last.
func (c *Conn) finish() {
	polite := c.polite && c.err == ErrClosed
	c.mu.Unlock()
	stop := time.AfterFunc(c.cfg.CloseTime, func() { c.stream.sock.Close() })
	if polite {
		<-c.read
	}
	c.mu.Lock()
	sent := c.out.flushed
	if c.stream.framed {
		sent = c.out.attempted
	}
	c.pubs.end(sent)
	c.mu.Unlock()
	c.stream.sock.Close() // first, so that closing the layers above finds nothing to wait for
	c.stream.Close()
	stop.Stop()
	<-c.read
	c.others.Wait()
	close(c.ended)
}
