package brokertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	publishWindow = 500     // unacknowledged publishes before PublishAsync waits
	writeBacklog  = 1 << 20 // bytes not yet written before a publish waits
	closeTimeout  = 2 * time.Second

	// Brokers may refuse clients without a keep alive.
	keepAliveSeconds = 60
	pingEvery        = 20 * time.Second
)

// ErrLost is the outcome of what was not acknowledged when the connection ended.
var ErrLost = errors.New("connection ended before the acknowledgement")

// ConnackError is the code of a refused CONNECT.
type ConnackError byte

func (e ConnackError) Error() string { return fmt.Sprintf("CONNACK %d", byte(e)) }

// pending is a request that waits for its acknowledgement.
type pending struct {
	kind byte // the packet type that ends it
	done chan error
	code byte // of a SUBACK, set before done
}

// link is one TCP connection of a client. It never reconnects.
type link struct {
	client  *Client
	conn    *net.TCPConn
	r       *bufio.Reader
	present bool          // session present
	wake    chan struct{} // something to write
	dead    chan struct{} // closed when the connection is over
	window  chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	space   *sync.Cond // out shrank, or the link died
	out     []byte     // guarded by mu
	waiting map[uint16]*pending
	lastID  uint16
	closing bool // flush, then close
	err     error
}

// connect dials, sends CONNECT and waits for CONNACK.
func connect(c *Client) (*link, error) {
	conn, err := net.DialTimeout("tcp", c.addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	l := &link{
		client: c, conn: conn.(*net.TCPConn), r: bufio.NewReaderSize(conn, 64<<10),
		wake: make(chan struct{}, 1), dead: make(chan struct{}), window: make(chan struct{}, publishWindow),
		waiting: map[uint16]*pending{},
	}
	l.space = sync.NewCond(&l.mu)
	_ = conn.SetDeadline(time.Now().Add(c.options.connectTimeout))
	if err := l.handshake(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	l.wg.Add(2)
	go l.readLoop()
	go l.writeLoop()
	return l, nil
}

func (l *link) handshake() error {
	if _, err := l.conn.Write(appendConnect(nil, &l.client.options)); err != nil {
		return err
	}
	whole, body, err := readPacket(l.r)
	if err != nil {
		return err
	}
	if PacketType(whole) != CONNACK || len(body) != 2 {
		return fmt.Errorf("got packet %x, want CONNACK", whole)
	}
	if body[1] != 0 {
		return ConnackError(body[1])
	}
	l.present = body[0]&1 != 0
	return nil
}

// fail ends the link once and tells everybody who waits.
func (l *link) fail(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	for _, p := range l.waiting {
		p.done <- fmt.Errorf("%w: %w", ErrLost, err)
	}
	l.waiting = nil
	close(l.dead)
	l.space.Broadcast()
	l.mu.Unlock()
	_ = l.conn.Close()
}

// send queues bytes for the writer. It waits while too many are queued.
func (l *link) send(encode func(dst []byte) []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.out) > writeBacklog && l.err == nil {
		l.space.Wait()
	}
	if l.err != nil {
		return fmt.Errorf("%w: %w", ErrLost, l.err)
	}
	l.out = encode(l.out)
	l.poke()
	return nil
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// request sends a packet with a fresh id and returns what waits for its answer.
func (l *link) request(kind byte, encode func(dst []byte, id uint16) []byte) (*pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.out) > writeBacklog && l.err == nil {
		l.space.Wait()
	}
	if l.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, l.err)
	}
	for {
		l.lastID++
		if _, used := l.waiting[l.lastID]; l.lastID != 0 && !used {
			break
		}
	}
	p := &pending{kind: kind, done: make(chan error, 1)}
	l.waiting[l.lastID] = p
	l.out = encode(l.out, l.lastID)
	l.poke()
	return p, nil
}

// complete ends the request with this id.
func (l *link) complete(kind byte, body []byte) error {
	if len(body) < 2 {
		return errTruncated
	}
	id := binary.BigEndian.Uint16(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.waiting[id]
	if p == nil || p.kind != kind {
		return nil // late, or for a message of an earlier connection
	}
	delete(l.waiting, id)
	if kind == SUBACK && len(body) > 2 {
		p.code = body[2]
	}
	p.done <- nil
	if kind == PUBACK || kind == PUBCOMP {
		<-l.window
	}
	return nil
}

func (l *link) writeLoop() {
	defer l.wg.Done()
	var buf []byte
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-l.wake:
		case <-ping.C:
			l.enqueue(PINGREQ<<4, 0)
		case <-l.dead:
			return
		}
		l.mu.Lock()
		buf, l.out = l.out, buf[:0]
		closing := l.closing
		l.space.Broadcast()
		l.mu.Unlock()
		if len(buf) > 0 {
			if _, err := l.conn.Write(buf); err != nil {
				l.fail(err)
				return
			}
		}
		if closing {
			// The broker answers DISCONNECT by closing, which ends the reader.
			_ = l.conn.SetReadDeadline(time.Now().Add(closeTimeout))
			_ = l.conn.CloseWrite()
			return
		}
	}
}

// readLoop hands messages over in batches and acknowledges them with one write
// for as many as one read brought.
func (l *link) readLoop() {
	defer l.wg.Done()
	var batch []Message
	var acks []byte
	for {
		whole, body, err := readPacket(l.r)
		if err == nil {
			batch, acks, err = l.handle(whole, body, batch, acks)
		}
		if err == nil && l.r.Buffered() > 0 && len(batch) < 512 {
			continue
		}
		l.client.deliver(batch)
		batch = batch[:0]
		if len(acks) > 0 {
			l.enqueue(acks...)
			acks = acks[:0]
		}
		if err != nil {
			l.fail(err)
			return
		}
	}
}

// enqueue adds bytes without ever waiting, as the reader's acknowledgements
// need.
func (l *link) enqueue(raw ...byte) {
	l.mu.Lock()
	l.out = append(l.out, raw...)
	l.poke()
	l.mu.Unlock()
}

func (l *link) handle(whole, body []byte, batch []Message, acks []byte) ([]Message, []byte, error) {
	kind := PacketType(whole)
	switch kind {
	case PUBLISH:
		id, m, err := parsePublish(whole[0], body)
		if err != nil {
			return batch, acks, err
		}
		m.At = time.Now()
		switch {
		case m.QoS == 2:
			if !l.client.firstOf(id) {
				return batch, appendAck(acks, PUBREC, id), nil
			}
			acks = appendAck(acks, PUBREC, id)
		case m.QoS == 1 && !l.client.options.noAcks:
			acks = appendAck(acks, PUBACK, id)
		}
		return append(batch, m), acks, nil
	case PUBREC:
		if len(body) < 2 {
			return batch, acks, errTruncated
		}
		return batch, appendAck(acks, PUBREL, binary.BigEndian.Uint16(body)), nil
	case PUBREL:
		if len(body) < 2 {
			return batch, acks, errTruncated
		}
		id := binary.BigEndian.Uint16(body)
		l.client.released(id)
		return batch, appendAck(acks, PUBCOMP, id), nil
	case PUBACK, PUBCOMP, SUBACK, UNSUBACK:
		return batch, acks, l.complete(kind, body)
	}
	return batch, acks, nil
}

// close says DISCONNECT and waits for the end.
func (l *link) close() {
	_ = l.conn.SetWriteDeadline(time.Now().Add(closeTimeout))
	l.mu.Lock()
	l.out = append(l.out, DISCONNECT<<4, 0)
	l.closing = true
	l.poke()
	l.mu.Unlock()
	l.wg.Wait()
}

// drop resets the connection: the broker sees a client that vanished.
func (l *link) drop() {
	_ = l.conn.SetLinger(0)
	l.fail(net.ErrClosed)
	l.wg.Wait()
}
