package bridge

import (
	"bufio"
	"errors"
	"hash/maphash"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Packet types, MQTT 3.1.1, 2.2.1.
const (
	typeConnack    = 2
	typePublish    = 3
	typePuback     = 4
	typePubrec     = 5
	typePubrel     = 6
	typePubcomp    = 7
	typeSubscribe  = 8
	typeSuback     = 9
	typeUnsuback   = 11
	typePingreq    = 12
	typePingresp   = 13
	typeDisconnect = 14
)

const (
	softPending = 1 << 20 // publishing waits while more than this is to be written
	hardPending = 4 << 20 // and where so much of the rest, which does not wait, has piled up, the link ends
	keepBuffer  = 1 << 20 // a larger buffer is not kept for the next time
)

// errDown is all that the MQTT library ever hears of a dead connection; the reason is kept here. Its text matters: an
// error that says "use of closed network connection" would be swallowed, and the library would think it is connected.
var errDown = errors.New("the link is down")

// errLibrary stands for the reasons the MQTT library has to close the connection: no PINGRESP or a malformed packet.
var errLibrary = errors.New("closed by the MQTT library")

// errSilent: no PINGRESP, or nothing at all, for too long.
var errSilent = errors.New("the broker does not answer")

// errLeft: we have said goodbye.
var errLeft = errors.New("disconnected")

// A wire is the net.Conn under the MQTT library. It knows where packets begin and end, both ways, and so can do what
// the library does not: write many packets with one system call, skip what is too large, and know for every publication
// whether its bytes have left and whether the broker has answered.
//
// The library writes whole packets, one per call, from several goroutines; it reads from one goroutine, on which the
// messages are handed over as well.
type wire struct {
	stream
	in *reader

	mu      sync.Mutex
	moved   sync.Cond // pending, closed or flushed has changed
	pending []byte    // accepted, not yet taken by the writer
	unpaced int       // bytes of pending that are not of publications
	spare   []byte
	closed  bool
	polite  bool         // a DISCONNECT is pending: flush before closing
	behind  *Publication // leaves with the next SUBSCRIBE
	reason  error
	ledger  ledger

	accepted  uint64 // bytes ever appended to pending
	attempted uint64 // bytes ever given to the stream
	flushed   uint64 // bytes the stream has taken
	writes    uint64

	farewell time.Duration // how long the last write and the closing of the layers may take

	pinged atomic.Bool   // the library waits for a PINGRESP
	down   chan struct{} // closed with the first error or Close
	ended  chan struct{} // closed when the writer has ended and every publication has its outcome
}

func newWire(s stream, maxPayload int) *wire {
	w := &wire{stream: s, farewell: 500 * time.Millisecond, down: make(chan struct{}), ended: make(chan struct{})}
	w.moved.L = &w.mu
	w.in = &reader{wire: w, buf: bufio.NewReaderSize(s.Conn, 32<<10), maxPayload: maxPayload}
	w.in.inlet, w.in.seed = nowhere, maphash.MakeSeed()
	ping := w.ping
	s.sock.onIdle.Store(&ping)
	go w.writer()
	return w
}

// ping asks for a sign of life. Nothing may precede the broker's CONNACK.
func (w *wire) ping() bool {
	if !w.in.greeted.Load() {
		return false
	}
	w.Write([]byte{typePingreq << 4, 0})
	return true
}

// Write accepts one packet, or several acknowledgements. What becomes of it is the writer's business; an error means that it was not accepted.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(p) == 0 {
		return 0, errDown
	}
	if w.unpaced += len(p); w.unpaced > hardPending {
		w.failLocked(errors.New("the broker does not read"))
		return 0, errDown
	}
	w.pending = append(w.pending, p...)
	w.accepted += uint64(len(p))
	switch p[0] >> 4 {
	case typeSubscribe:
		w.ledger.asked(p)
		if w.behind != nil {
			w.append(w.behind)
			w.behind = nil
		}
	case typePingreq:
		w.pinged.Store(true)
	case typeDisconnect:
		w.polite = true
	}
	w.moved.Broadcast()
	return len(p), nil
}

// waitRoom returns when less than softPending is to be written, or the link is down.
func (w *wire) waitRoom() {
	w.mu.Lock()
	for len(w.pending) > softPending && !w.closed {
		w.moved.Wait()
	}
	w.mu.Unlock()
}

// writer gives the stream what has accumulated since its last write, so that under load one write carries many packets.
func (w *wire) writer() {
	w.mu.Lock()
	for {
		for len(w.pending) == 0 && !w.closed {
			w.moved.Wait()
		}
		if len(w.pending) == 0 || w.closed && !w.polite {
			break
		}
		// Whoever is about to publish does so first: one write then carries it as well. Nobody is waited for.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
		// Only a buffer with something in it is taken; an empty one would be swapped in under a packet being appended.
		buf := w.pending
		w.pending, w.unpaced, w.attempted = w.spare[:0], 0, w.accepted
		w.mu.Unlock()
		n, err := w.stream.Write(buf)
		w.mu.Lock()
		w.writes++
		w.flushed += uint64(n)
		w.ledger.settle(w.flushed)
		if w.spare = buf; cap(buf) > keepBuffer {
			w.spare = nil
		}
		w.moved.Broadcast()
		if err != nil {
			w.failLocked(err)
			break
		}
	}
	w.failLocked(errLeft) // keeps an earlier reason
	w.finish()
}

// finish closes the stream and settles what is open. It is called with the lock held, and releases it.
func (w *wire) finish() {
	sent := w.flushed
	if w.framed {
		sent = w.attempted
	}
	polite := w.polite && w.reason == errLeft
	w.ledger.close(sent)
	if w.behind != nil {
		w.behind.complete(ErrNotSent)
		w.behind = nil
	}
	w.mu.Unlock()
	if !polite {
		w.sock.Close() // first, so that closing the layers above finds nothing to wait for
	}
	stop := time.AfterFunc(w.farewell, func() { w.sock.Close() })
	w.stream.Close()
	w.sock.Close()
	stop.Stop()
	close(w.ended)
}

// fail ends the link for a reason; the first one counts.
func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failLocked(err)
}

func (w *wire) failLocked(err error) {
	if w.closed {
		return
	}
	w.closed, w.reason = true, err
	close(w.down)
	if w.polite {
		time.AfterFunc(w.farewell, func() { w.sock.Close() })
	} else {
		go w.sock.Close() // unblocks the reader and the writer
	}
	w.moved.Broadcast()
}

// Close is for the MQTT library. It returns at once; after a DISCONNECT the writer flushes first.
func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.polite {
		w.failLocked(errLeft)
	} else {
		w.failLocked(errLibrary)
	}
	return nil
}

// why is the reason for which the link went down.
func (w *wire) why() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

// Read serves the library from the reader.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.in.read(p)
	if err != nil {
		w.fail(err)
		return n, errDown
	}
	return n, nil
}

// Deadlines are set on the socket, where progress can be seen, and the handshake has its own.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*wire)(nil)
