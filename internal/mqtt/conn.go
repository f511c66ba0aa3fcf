// Package mqtt is one connection to an MQTT broker, in 3.1.1 or 5: made by [Dial], and gone for good when it ends. It has
// no policy: it never reconnects, keeps nothing, retries nothing and decides nothing about topics.
//
// Three goroutines serve a [Conn]: one reads packets and hands messages to the [Handler], one writes what has
// accumulated, one keeps the connection alive. Whoever publishes or subscribes only appends to the bytes that are to be
// written, so many packets leave with one write; a message that is alone is given to the socket at once, if that has room.
//
// An outcome speaks of this connection only: an acknowledgement counts when it came on the connection that the message
// was sent on. A broker that breaks the protocol ends the connection with a [ProtocolError].
//
// Lock order: Conn.mu is the only lock. No callback is made while it is held but [Owner.Settled].
package mqtt

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is one connection to a broker, from its CONNACK on. All methods may be called from any goroutine, but none
// that waits from within the Handler.
type Conn struct {
	// Static after Dial.
	cfg    Config
	stream stream
	codec  codec
	limits Connack
	since  time.Time     // when the broker accepted it
	done   chan struct{} // closed as soon as the connection is known to be dead
	read   chan struct{} // closed when the reader has ended
	ended  chan struct{} // closed when everything has, and every publication has its outcome
	others sync.WaitGroup

	identified atomic.Bool // a subscription has an identifier

	// Owned by the goroutine that reads.
	in reader

	// Guarded by mu.
	mu       sync.Mutex
	moved    sync.Cond // pending, closed, or the room for publications has changed
	closed   bool
	polite   bool // DISCONNECT is the last packet: flush before closing
	err      error
	out      outgoing
	pubs     publishing
	requests map[uint16]*request // SUBSCRIBE and UNSUBSCRIBE without an answer
	lastID   uint16              // packet identifier given last
	wrapped  bool                // all identifiers have been given once
	pings    []chan struct{}     // PINGREQs without an answer; nil where nobody waits
}

// Dial connects, and returns when the broker has accepted. The errors are [*DialError], [*ConnectError],
// [ErrClosedOnConnect], [ErrHTTP], [ErrTLS], [ErrNotMQTT], [*ProtocolError] and that of ctx; the Handler may be called before it
// returns.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTime)
	defer cancel()
	s, err := cfg.open(ctx)
	if err != nil {
		return nil, &DialError{err}
	}
	c := newConn(cfg, s)
	if err := c.greet(ctx); err != nil {
		s.sock.Close()
		s.Close()
		return nil, err
	}
	c.start()
	return c, nil
}

// newConn is a connection that has not said anything yet.
func newConn(cfg Config, s stream) *Conn {
	c := &Conn{cfg: cfg, stream: s, done: make(chan struct{}), read: make(chan struct{}), ended: make(chan struct{})}
	c.codec = codec4{}
	if cfg.Version == V5 {
		c.codec = codec5{}
	}
	c.moved.L = &c.mu
	c.in.init(c)
	return c
}

// greet sends the CONNECT and reads the CONNACK.
func (c *Conn) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.stream.sock.Close() })
	_, err := c.stream.Write(c.codec.connect(&c.cfg))
	if err == nil {
		c.limits, err = c.in.connack()
	} else if _, answer := c.in.connack(); answer != nil && !closedByPeer(answer) {
		err = answer // a broker may refuse before it has read everything
	}
	switch {
	case !stop() && ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ErrSilent
		}
		return ctx.Err()
	case err != nil && closedByPeer(err):
		return errors.Join(ErrClosedOnConnect, err)
	}
	return err
}

// start begins to serve a connection that the broker has accepted.
func (c *Conn) start() {
	c.since = time.Now()
	if c.pubs.window = int(c.limits.ReceiveMaximum); c.cfg.Window > 0 {
		c.pubs.window = min(c.pubs.window, int(c.cfg.Window))
	}
	c.others.Go(c.keepAlive)
	go c.writeLoop()
	go c.readLoop()
}

// Version is the protocol that is spoken.
func (c *Conn) Version() Version { return c.cfg.Version }

// Connack is what the broker said when it accepted the connection.
func (c *Conn) Connack() Connack { return c.limits }

// Since is when the broker accepted the connection.
func (c *Conn) Since() time.Time { return c.since }

// Heard is when the broker sent something last.
func (c *Conn) Heard() time.Time {
	s := c.stream.sock
	return s.born.Add(time.Duration(s.heard.Load()))
}

// Done is closed as soon as the connection is known to be dead.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err tells why the connection ended: [ErrClosed], [ErrSilent], [ErrStuck], a [*DisconnectError], a [*ProtocolError],
// or what the network said. It is nil before.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close says goodbye if there is anybody to say it to, and returns when everything of the connection has ended, and
// every publication has its outcome. It must not be called by the Handler.
func (c *Conn) Close() {
	c.mu.Lock()
	if !c.closed {
		c.polite = true
		c.append(c.codec.disconnect())
		c.failLocked(ErrClosed)
	}
	c.mu.Unlock()
	<-c.ended
}

// Fail ends the connection for a reason of the caller's, without a goodbye. The first reason counts.
func (c *Conn) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

func (c *Conn) failLocked(err error) {
	if c.closed {
		return
	}
	c.closed, c.err = true, err
	close(c.done)
	for id, r := range c.requests {
		delete(c.requests, id)
		r.answer(nil, err)
	}
	if c.polite {
		time.AfterFunc(c.cfg.CloseTime, func() { c.stream.sock.Close() }) // a broker that reads no more
	} else {
		go c.stream.sock.Close() // unblocks the reader and the writer
	}
	c.moved.Broadcast()
}
