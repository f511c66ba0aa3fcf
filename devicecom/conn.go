package devicecom

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"time"
)

// The packet types that a broker may send (MQTT 3.1.1, 2.2.1).
const (
	typeConnack  = 2
	typePublish  = 3
	typePuback   = 4
	typePubrec   = 5
	typePubrel   = 6
	typePubcomp  = 7
	typeSuback   = 9
	typePingresp = 13
)

// conn is the byte stream below the MQTT library. The library believes what a
// packet's header says; conn looks at the headers first:
//
//   - a message that is larger than maxPacket is left out, before memory is
//     reserved for it;
//   - the code of the CONNACK is noted, because the library takes one that it
//     does not know for success;
//   - a packet that no broker sends ends the connection, among them a SUBACK
//     with more codes than filters, at which the library would panic, and an
//     answer to a message that cannot be one at its QoS, which the library would
//     take for a confirmation.
//
// Every write has a deadline, and the first failure ends the connection: after
// a part of a packet nothing more can be sent.
type conn struct {
	net.Conn
	r            *bufio.Reader
	maxPacket    int
	filters      int // of the one SUBSCRIBE
	writeTimeout time.Duration
	tooLarge     func()        // called for each message left out
	wrote        chan struct{} // gets a token when a message has been written
	dead         chan struct{} // closed at the end

	// Of the reader's goroutine.
	head    []byte // what is left of the header that was looked at
	body    int    // bytes of the packet's body that were not read yet
	greeted bool   // the CONNACK was seen
	suback  bool   // the SUBACK was seen

	mu   sync.Mutex
	err  error           // guarded by mu; why dead was closed
	code byte            // guarded by mu; of the CONNACK
	open map[uint16]byte // guarded by mu; by packet id, the answer that a message waits for
}

func newConn(c net.Conn, o *Options, tooLarge func()) *conn {
	return &conn{
		Conn: c, r: bufio.NewReaderSize(c, 16<<10), maxPacket: o.MaxPacketBytes, filters: len(o.Filters),
		writeTimeout: o.timing.write, tooLarge: tooLarge, wrote: make(chan struct{}, 1), dead: make(chan struct{}),
		open: make(map[uint16]byte),
	}
}

// fail ends the connection; the first cause is kept.
func (c *conn) fail(cause error) error {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = cause
		close(c.dead)
	}
	cause = c.err
	c.mu.Unlock()
	if first {
		_ = c.Conn.Close()
	}
	return cause
}

// cause is why the connection ended, or nil.
func (c *conn) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// refusal is the code of the CONNACK: 0 as long as there is none.
func (c *conn) refusal() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

// Close is how the library ends the connection.
func (c *conn) Close() error {
	_ = c.fail(net.ErrClosed)
	return nil
}

// SetWriteDeadline does nothing: Write sets a deadline of its own.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

func (c *conn) Write(p []byte) (int, error) {
	c.expect(p)
	_ = c.Conn.SetWriteDeadline(time.Now().Add(c.writeTimeout))
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, c.fail(err)
	}
	if p[0]>>4 == typePublish { // the library writes a packet at a time
		select {
		case c.wrote <- struct{}{}:
		default: // nobody waits any more
		}
	}
	return n, nil
}

func (c *conn) Read(p []byte) (int, error) {
	for len(c.head) == 0 && c.body == 0 {
		if err := c.next(); err != nil {
			return 0, c.fail(err)
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.r.Read(p[:min(len(p), c.body)])
	c.body -= n
	if err != nil {
		return n, c.fail(err)
	}
	return n, nil
}

// next looks at the header of the next packet. A message that is too large is
// read to its end and leaves nothing to hand over.
func (c *conn) next() error {
	head, length, err := c.header()
	if err != nil {
		return err
	}
	if err := c.check(head[0], length); err != nil {
		return err
	}
	if head[0]>>4 != typePublish || len(head)+length <= c.maxPacket {
		c.head, c.body = head, length
		return nil
	}
	c.tooLarge()
	_, err = c.r.Discard(length)
	return err
}

// header reads a fixed header (MQTT 3.1.1, 2.2).
func (c *conn) header() (head []byte, length int, err error) {
	first, err := c.r.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	if !c.greeted && first != typeConnack<<4 {
		return nil, 0, &notMQTT{first}
	}
	head = append(make([]byte, 0, 5), first)
	for shift := 0; shift < 28; shift += 7 {
		b, err := c.r.ReadByte()
		if err != nil {
			return nil, 0, err
		}
		head = append(head, b)
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			return head, length, nil
		}
	}
	return nil, 0, fmt.Errorf("the broker sent a packet of type %d without an end of its length", first>>4)
}

// check refuses what would confuse the library.
func (c *conn) check(first byte, length int) error {
	kind, want := first>>4, 0
	switch {
	case kind == typePublish && first&6 != 6: // there is no QoS 3
		return nil
	case kind == typeConnack && !c.greeted:
		want = 2
	case kind == typeSuback && !c.suback:
		want = 2 + c.filters
		c.suback = true
	case kind == typePubrel:
		want = 2
	case typePuback <= kind && kind <= typePubcomp:
		want = 2
		if length == want {
			return c.answered(kind)
		}
	case kind == typePingresp:
	default:
		return fmt.Errorf("the broker sent a packet of type %d, which was not due", kind)
	}
	if length != want {
		return fmt.Errorf("the broker sent a packet of type %d with %d bytes instead of %d", kind, length, want)
	}
	if kind == typeConnack {
		return c.greet()
	}
	return nil
}

// expect notes which answer a message waits for (MQTT 3.1.1, 4.3). The library
// writes a packet at a time.
func (c *conn) expect(packet []byte) {
	qos := packet[0] >> 1 & 3
	if packet[0]>>4 != typePublish || qos == 0 {
		return
	}
	at := 2 // of the topic
	for packet[at-1] >= 0x80 {
		at++
	}
	at += 2 + int(packet[at])<<8 + int(packet[at+1])
	answer := byte(typePuback)
	if qos == 2 {
		answer = typePubrec
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[uint16(packet[at])<<8|uint16(packet[at+1])] = answer
}

// answered looks at an answer to a message. One for none is of no account.
func (c *conn) answered(kind byte) error {
	body, err := c.r.Peek(2)
	if err != nil {
		return err
	}
	id := uint16(body[0])<<8 | uint16(body[1])
	c.mu.Lock()
	defer c.mu.Unlock()
	switch due := c.open[id]; {
	case due == 0, due == typePubcomp && kind == typePubrec: // sent again
		return nil
	case due != kind:
		return fmt.Errorf("the broker sent a packet of type %d to a message that waits for one of type %d", kind, due)
	case kind == typePubrec:
		c.open[id] = typePubcomp
	default:
		delete(c.open, id)
	}
	return nil
}

// greet notes the code of the CONNACK (MQTT 3.1.1, 3.2).
func (c *conn) greet() error {
	body, err := c.r.Peek(2)
	if err != nil {
		return err
	}
	c.greeted = true
	c.mu.Lock()
	c.code = body[1]
	c.mu.Unlock()
	if body[1] != 0 {
		return fmt.Errorf("the broker answered CONNECT with code %d", body[1])
	}
	return nil
}
