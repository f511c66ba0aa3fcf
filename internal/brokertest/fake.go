package brokertest

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"testing"
)

// Fake is a scripted broker for answers that a real one never gives.
type Fake struct {
	listener net.Listener
	script   func(*FakeConn)
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[*FakeConn]bool // guarded by mu
	count  int                // guarded by mu
	closed bool               // guarded by mu
}

// FakeConn is one connection to a Fake. It belongs to the script's goroutine;
// Close and Reset may be called from any.
type FakeConn struct {
	conn *net.TCPConn
	r    *bufio.Reader
	// Number counts the connections from 1.
	Number int
	// Level is the protocol level of the CONNECT that was read: 4 is MQTT 3.1.1. The methods that answer do so in the
	// form of that version.
	Level byte
}

// StartFake listens on a free port of 127.0.0.1 and runs the script for each
// connection in its own goroutine. The connection is closed when the script
// returns, and at the end of the test.
func StartFake(t testing.TB, script func(*FakeConn)) *Fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("brokertest: fake broker: %v", err)
	}
	f := &Fake{listener: l, script: script, conns: map[*FakeConn]bool{}}
	f.wg.Add(1)
	go f.accept()
	t.Cleanup(f.close)
	return f
}

// Addr is the address as host:port.
func (f *Fake) Addr() string { return f.listener.Addr().String() }

// URL is the address as mqtt://host:port.
func (f *Fake) URL() string { return "mqtt://" + f.Addr() }

// Connections counts the connections accepted so far.
func (f *Fake) Connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

func (f *Fake) accept() {
	defer f.wg.Done()
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			_ = conn.Close()
			return
		}
		f.count++
		c := &FakeConn{conn: conn.(*net.TCPConn), r: bufio.NewReader(conn), Number: f.count}
		f.conns[c] = true
		f.mu.Unlock()
		f.wg.Add(1)
		go func() {
			defer f.wg.Done()
			f.script(c)
			c.Close()
			f.mu.Lock()
			delete(f.conns, c)
			f.mu.Unlock()
		}()
	}
}

func (f *Fake) close() {
	_ = f.listener.Close()
	f.mu.Lock()
	f.closed = true
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// ReadPacket reads the next packet: its type, its flag bits and its body.
func (c *FakeConn) ReadPacket() (kind, flags byte, body []byte, err error) {
	whole, body, err := readPacket(c.r)
	if err != nil {
		return 0, 0, nil, err
	}
	if PacketType(whole) == CONNECT && len(body) > 6 {
		c.Level = body[6]
	}
	return whole[0] >> 4, whole[0] & 0x0f, body, nil
}

// properties are none, in the form of the version.
func (c *FakeConn) properties() []byte {
	if c.Level == 5 {
		return []byte{0}
	}
	return nil
}

// Write sends raw bytes.
func (c *FakeConn) Write(raw []byte) error {
	_, err := c.conn.Write(raw)
	return err
}

// AcceptConnect reads the CONNECT and answers with the return code; 0 accepts.
func (c *FakeConn) AcceptConnect(code byte) error {
	kind, _, _, err := c.ReadPacket()
	if err != nil {
		return err
	}
	if kind != CONNECT {
		return fmt.Errorf("first packet has type %d, want CONNECT", kind)
	}
	return c.Connack(code)
}

// Connack answers a CONNECT.
func (c *FakeConn) Connack(code byte) error {
	body := append([]byte{0, code}, c.properties()...)
	return c.Write(append(appendHeader(nil, CONNACK<<4, len(body)), body...))
}

// Suback answers a SUBSCRIBE.
func (c *FakeConn) Suback(id uint16, codes ...byte) error {
	body := append([]byte{byte(id >> 8), byte(id)}, c.properties()...)
	body = append(body, codes...)
	return c.Write(append(appendHeader(nil, SUBACK<<4, len(body)), body...))
}

// Filters are those of a SUBSCRIBE, and the options byte of each, of which the two lowest bits are the QoS.
func (c *FakeConn) Filters(body []byte) (filters []string, options []byte) {
	rest := body[2:]
	if c.Level == 5 {
		rest = rest[1+int(rest[0]):] // no SUBSCRIBE of the tests has 128 bytes of properties
	}
	for len(rest) >= 2 {
		n := 2 + int(rest[0])<<8 + int(rest[1])
		if len(rest) <= n {
			break
		}
		filters, options = append(filters, string(rest[2:n])), append(options, rest[n])
		rest = rest[n+1:]
	}
	return filters, options
}

// Puback answers a PUBLISH at QoS 1.
func (c *FakeConn) Puback(id uint16) error { return c.Write(appendAck(nil, PUBACK, id)) }

// Ack sends any packet that consists of an id: PUBREC, PUBREL, PUBCOMP, UNSUBACK.
func (c *FakeConn) Ack(kind byte, id uint16) error { return c.Write(appendAck(nil, kind, id)) }

// Pong answers a PINGREQ.
func (c *FakeConn) Pong() error { return c.Write([]byte{PINGRESP << 4, 0}) }

// Publish sends a message; the id is not sent at QoS 0.
func (c *FakeConn) Publish(id uint16, topic string, payload []byte, qos byte, retain bool) error {
	return c.Write(appendPublish(nil, id, topic, append(c.properties(), payload...), qos, retain))
}

// Serve answers like a polite broker until the connection ends: every SUBSCRIBE
// is granted, every PUBLISH acknowledged, every ping answered. handle sees each
// packet first and returns true if it dealt with it.
func (c *FakeConn) Serve(handle func(kind, flags byte, body []byte) bool) error {
	for {
		kind, flags, body, err := c.ReadPacket()
		if err != nil {
			return err
		}
		if handle != nil && handle(kind, flags, body) {
			continue
		}
		if err := c.answer(kind, flags, body); err != nil {
			return err
		}
	}
}

func (c *FakeConn) answer(kind, flags byte, body []byte) error {
	switch kind {
	case PINGREQ:
		return c.Pong()
	case DISCONNECT:
		return net.ErrClosed
	case PUBLISH:
		id, m, err := parsePublish(kind<<4|flags, body)
		if err != nil || m.QoS == 0 {
			return err
		}
		if m.QoS == 1 {
			return c.Puback(id)
		}
		return c.Ack(PUBREC, id)
	}
	if len(body) < 2 {
		return nil
	}
	id := uint16(body[0])<<8 | uint16(body[1])
	switch kind {
	case SUBSCRIBE:
		_, options := c.Filters(body)
		for i := range options {
			options[i] &= 3
		}
		return c.Suback(id, options...)
	case UNSUBSCRIBE:
		return c.unsuback(id, body)
	case PUBREL:
		return c.Ack(PUBCOMP, id)
	}
	return nil
}

// unsuback answers an UNSUBSCRIBE; in MQTT 5 with a code for each filter.
func (c *FakeConn) unsuback(id uint16, body []byte) error {
	if c.Level != 5 {
		return c.Ack(UNSUBACK, id)
	}
	answer := []byte{byte(id >> 8), byte(id), 0}
	for rest := body[3:]; len(rest) >= 2; rest = rest[2+int(rest[0])<<8+int(rest[1]):] {
		answer = append(answer, 0)
	}
	return c.Write(append(appendHeader(nil, UNSUBACK<<4, len(answer)), answer...))
}

// Close ends the connection.
func (c *FakeConn) Close() { _ = c.conn.Close() }

// Reset ends the connection with a TCP reset.
func (c *FakeConn) Reset() { reset(c.conn) }
