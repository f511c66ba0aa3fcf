package broker

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vulturepi/gateway/internal/embedded/packet"
)

// conn is a connection. One goroutine reads from it and acts on what it reads, another writes.
type conn struct {
	b    *Broker
	nc   net.Conn
	in   *packet.Reader
	wake chan struct{} // there may be something to write

	// Set by the handshake, before anybody else sees them.
	version     packet.Version
	established bool
	silence     time.Duration // that ends the connection; 0: none does
	maximum     uint32        // bytes of a packet that the client takes; 0: no limit
	window      int           // messages at QoS 1 and 2 that may be unacknowledged

	// Guarded by Broker.mu.
	session     *session // nil before the handshake, and when the connection is over
	will        *message // nil: none
	willDelay   uint32   // seconds
	unacked     int
	answers     []answer
	answerBytes int
	room        *sync.Cond  // answers became fewer, or the connection ends
	greeted     bool        // CONNACK has been taken
	latest      *time.Timer // closes the connection, if it ends too slowly
	ending      bool        // nothing is sent any more but the answers
}

// answer is one or more packets that may be sent when the store has come to a mark.
type answer struct {
	after   uint64
	packets []byte
}

// errEnding is a connection that the broker has ended meanwhile.
var errEnding = errors.New("the connection ends")

// admit takes in a connection. When too many of them have sent no CONNECT, the oldest of these makes room. It is nil if
// there is none; nc is closed then. It takes the lock.
func (b *Broker) admit(nc net.Conn) *conn {
	c := &conn{b: b, nc: nc, wake: make(chan struct{}, 1), room: sync.NewCond(&b.mu)}
	c.in = packet.NewReader(source{c}, b.limits.Packet, b.budget)
	_ = nc.SetReadDeadline(time.Now().Add(b.limits.ConnectTime))
	b.mu.Lock()
	defer b.mu.Unlock()
	full := len(b.conns) >= b.limits.Connections
	if (full || len(b.connecting) >= b.limits.Connecting) && len(b.connecting) > 0 {
		oldest := b.connecting[0]
		b.connecting = b.connecting[1:]
		delete(b.conns, oldest)
		_ = oldest.nc.Close()
		full = false
	}
	if full || b.closing {
		if full {
			b.log.Warn("a connection is refused, because too many are open", "limit", b.limits.Connections, "remote", c.remote())
		}
		_ = nc.Close()
		return nil
	}
	b.conns[c] = struct{}{}
	b.connecting = append(b.connecting, c)
	return c
}

// serve runs a connection from its first byte to its last. It takes the lock.
func (c *conn) serve() {
	defer c.b.leave(c)
	defer c.in.Close()
	defer c.nc.Close()
	if err := c.handshake(); err != nil {
		c.refuse(err)
		return
	}
	c.established = true
	var written sync.WaitGroup
	written.Go(c.write)
	linger := c.over(c.read())
	written.Wait()
	if linger {
		c.linger()
	}
}

// connected takes a connection out of those that have sent no CONNECT.
func (b *Broker) connected(c *conn) {
	if i := slices.Index(b.connecting, c); i >= 0 {
		b.connecting = slices.Delete(b.connecting, i, i+1)
	}
}

// leave undoes admit. It takes the lock.
func (b *Broker) leave(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connected(c)
	delete(b.conns, c)
	if c.latest != nil {
		c.latest.Stop()
	}
}

func (c *conn) remote() string { return c.nc.RemoteAddr().String() }

// read acts on packets until there are no more, and says why. It takes the lock.
func (c *conn) read() error {
	for {
		p, err := c.in.Next()
		if err != nil {
			return err
		}
		if err := c.handle(p); err != nil {
			return err
		}
	}
}

// errGoodbye is a DISCONNECT.
var errGoodbye = errors.New("the client said goodbye")

// deadline is until when something must come.
func (c *conn) deadline(now time.Time) (at time.Time) {
	limit := c.silence
	if c.in.Partial() && (limit == 0 || limit > c.b.limits.PartTime) {
		limit = c.b.limits.PartTime
	}
	if limit == 0 {
		return at
	}
	return now.Add(limit)
}

// handle acts on one packet. It takes the lock.
func (c *conn) handle(p any) error {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for c.answerBytes > b.limits.Answers && !c.ending {
		c.room.Wait() // a client that does not read its answers is not read from
	}
	if c.ending {
		return errEnding
	}
	b.stats.packetsIn++
	b.touched = 0
	defer b.relieve()
	switch p := p.(type) {
	case *packet.Publish:
		return c.publish(p)
	case packet.Ack:
		c.acknowledged(p)
	case *packet.Subscribe:
		c.subscribe(p)
	case *packet.Unsubscribe:
		c.unsubscribed(p)
	case packet.Ping:
		c.answer(packet.AppendPingresp(nil))
	case *packet.Disconnect:
		return c.goodbye(p)
	case *packet.Auth:
		return &packet.Error{Reason: packet.ProtocolError, Text: "an AUTH came, but CONNECT named no authentication method"}
	}
	return nil
}

// goodbye handles DISCONNECT.
func (c *conn) goodbye(p *packet.Disconnect) error {
	if p.HasExpiry {
		if c.session.expiry == 0 && p.SessionExpiry != 0 { // 3.14.2.2.2
			return &packet.Error{Reason: packet.ProtocolError, Text: "a DISCONNECT keeps a session that CONNECT did not"}
		}
		c.session.expiry = p.SessionExpiry
	}
	c.b.detach(c, p.Reason != packet.Success, saidGoodbye) // any other reason publishes the will (3.14.4-3)
	return errGoodbye
}

// answer queues a packet for the client. It is sent when what led to it is on disk, and not at all if the client does not
// take packets of that size (3.1.2-25).
func (c *conn) answer(packet []byte) {
	if c.maximum > 0 && len(packet) > int(c.maximum) {
		return
	}
	c.answerBytes += len(packet)
	after := c.b.touched
	if n := len(c.answers); n > 0 && after <= c.answers[n-1].after { // no answer overtakes another
		c.answers[n-1].packets = append(c.answers[n-1].packets, packet...)
	} else {
		c.answers = append(c.answers, answer{after, packet})
	}
	c.signal()
}

func (c *conn) ack(t packet.Type, id uint16, reason packet.Reason) {
	c.answer(packet.AppendAck(nil, c.version, t, id, reason))
}

// signal wakes the writer.
func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// end has the connection closed behind what is to be answered, and tells an MQTT 5 client why. Its session must have
// been detached.
func (c *conn) end(reason packet.Reason, text string) {
	if c.ending {
		return
	}
	if c.version == packet.V5 {
		p := packet.AppendDisconnect(nil, reason, text)
		if c.maximum > 0 && len(p) > int(c.maximum) {
			p = packet.AppendDisconnect(nil, reason, "")
		}
		c.answer(p)
	}
	c.finish()
}

// finish has the connection closed behind what is to be answered.
func (c *conn) finish() {
	c.ending = true
	c.room.Broadcast()
	c.signal()
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.b.limits.EndTime))
	c.latest = time.AfterFunc(c.b.limits.EndTime, c.abort)
}

// abort closes the connection at once. It takes the lock.
func (c *conn) abort() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.drop()
}

// drop closes the connection at once, whatever is to be answered.
func (c *conn) drop() {
	c.ending = true
	c.answers, c.answerBytes = nil, 0
	c.room.Broadcast()
	c.signal()
	_ = c.nc.Close()
}

// over handles the end of reading. It is true if the client may still be sending, and has to be told something before
// the connection is closed. It takes the lock.
func (c *conn) over(err error) (linger bool) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.touched = 0
	id := ""
	if c.session != nil {
		id = c.session.id
		b.detach(c, true, why(err))
	}
	var bad *packet.Error
	switch {
	case errors.As(err, &bad):
		b.log.Info("a client is disconnected", "client", short(id), "remote", c.remote(), "reason", bad.Text)
		c.end(bad.Reason, bad.Text)
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.log.Info("a client is disconnected", "client", short(id), "remote", c.remote(), "reason", "it was silent for longer than its keep alive")
		c.end(packet.KeepAliveTimeout, "")
		return true
	case err == errEnding:
		return true
	case err == errGoodbye:
		c.finish()
		return false
	}
	c.drop()
	return false
}

// linger waits for the client to close, and reads what it still sends: a socket that is closed with bytes unread resets
// the connection, and the client would not see why.
func (c *conn) linger() {
	_ = c.nc.SetReadDeadline(time.Now().Add(c.b.limits.EndTime))
	_, _ = io.Copy(io.Discard, c.nc)
}

// write writes what there is until the connection ends. It takes the lock.
func (c *conn) write() {
	w := bufio.NewWriterSize(sink{c}, 8<<10)
	var next batch
	for {
		c.b.mu.Lock()
		last := c.take(&next)
		c.b.mu.Unlock()
		more := len(next.answers) > 0 || len(next.out) > 0
		if more {
			c.writeBatch(w, &next)
			continue
		}
		if err := w.Flush(); err != nil {
			c.abort() // the reader may be waiting for the socket, or for room
			return
		}
		if last {
			if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			return
		}
		<-c.wake
	}
}

// writeBatch writes into the buffer; its errors come out of Flush. A payload that is larger than the buffer is not
// copied.
func (c *conn) writeBatch(w *bufio.Writer, next *batch) {
	_, _ = w.Write(next.answers)
	for i := range next.out {
		out := &next.out[i]
		_, _ = w.Write(packet.AppendPublish(w.AvailableBuffer(), c.version, out))
		_, _ = w.Write(out.Payload)
		next.out[i] = packet.Delivery{}
	}
}

// source and sink are the two directions of a connection, with what is counted and timed.
type (
	source struct{ c *conn }
	sink   struct{ c *conn }
)

func (in source) Read(p []byte) (int, error) {
	if in.c.established {
		_ = in.c.nc.SetReadDeadline(in.c.deadline(time.Now()))
	}
	n, err := in.c.nc.Read(p)
	in.c.b.stats.bytesIn.Add(int64(n))
	return n, err
}

func (out sink) Write(p []byte) (int, error) {
	n, err := out.c.nc.Write(p)
	out.c.b.stats.bytesOut.Add(int64(n))
	return n, err
}
