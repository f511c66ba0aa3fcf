package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"net"
	"syscall"

	"github.com/coder/websocket"
)

const (
	maxProperties = 64 << 10
	// maxHead is the most that can stand before the payload of a message that is not skipped: topic, identifier and
	// properties with their lengths.
	maxHead    = 2 + 0xffff + 2 + 4 + maxProperties
	readBuffer = maxHead + 4<<10
	drainEvery = 32        // packets
	maxControl = 128 << 10 // a packet that is not a PUBLISH; more ends the connection at its header
	skipStep   = 64 << 10
	growStep   = 1 << 20 // a payload is given so much memory before its bytes have come
)

// reader is what the goroutine that reads knows.
type reader struct {
	conn   *Conn
	buf    *bufio.Reader
	handed bool            // to the Handler, since its last Rest
	acks   []byte          // to be written before waiting for more
	open   map[uint16]bool // QoS 2: handed over, and not released yet
	seed   maphash.Seed
	latest latest
	names  [256]string // topics seen last, so that a topic is not checked and allocated for every message
}

func (r *reader) init(c *Conn) {
	r.conn = c
	r.buf = bufio.NewReaderSize(c.stream.Conn, readBuffer)
	r.seed = maphash.MakeSeed()
}

// readLoop serves the packets that arrive, until the connection ends.
func (c *Conn) readLoop() {
	defer close(c.read)
	r := &c.in
	for n := 1; ; n++ {
		if n%drainEvery == 0 && r.buf.Buffered() > 0 {
			c.stream.sock.drain()
		}
		if err := r.next(); err != nil {
			r.settle()
			c.Fail(err)
			return
		}
	}
}

// header reads a packet's first byte and its remaining length, MQTT 2.1.
func (r *reader) header() (first byte, length int, err error) {
	head, err := r.peek(2)
	if err != nil {
		return 0, 0, err
	}
	for n := 2; ; n++ {
		length, _, ok := cutLength(head[1:])
		switch {
		case ok:
			r.buf.Discard(n)
			return head[0], length, nil
		case n == 5 || head[n-1] < 0x80:
			return 0, 0, broken(PacketType(head[0]>>4), "1.5.5", "has a malformed length")
		}
		if head, err = r.peek(n + 1); err != nil {
			return 0, 0, err
		}
	}
}

// connack reads the first packet.
func (r *reader) connack() (Connack, error) {
	start, err := r.buf.Peek(2)
	if err != nil {
		return Connack{}, err
	}
	switch {
	case string(start) == "HT":
		return Connack{}, ErrHTTP
	case start[0] == 0x15 && start[1] == 0x03: // a TLS alert, RFC 8446, 5.1
		return Connack{}, ErrTLS
	case start[0] != byte(CONNACK)<<4 && isPrinted(start[0]) && isPrinted(start[1]): // a greeting, of SSH or a mail server
		return Connack{}, ErrNotMQTT
	}
	first, length, err := r.header()
	switch {
	case err != nil:
		return Connack{}, err
	case PacketType(first>>4) != CONNACK:
		return Connack{}, broken(PacketType(first>>4), "3.2", "comes before its CONNACK")
	case first&15 != 0:
		return Connack{}, broken(CONNACK, "3.2.1", "has the reserved bits 0x%x", first&15)
	case length > maxControl:
		return Connack{}, tooLong(CONNACK, length)
	}
	body, err := r.peek(length)
	if err != nil {
		return Connack{}, err
	}
	ack, err := r.conn.codec.connack(&r.conn.cfg, body)
	r.buf.Discard(length)
	return ack, err
}

func isPrinted(b byte) bool { return b >= ' ' && b <= '~' }

// next serves one packet.
func (r *reader) next() error {
	first, length, err := r.header()
	if err != nil {
		return err
	}
	kind, flags := PacketType(first>>4), first&15
	if kind == PUBLISH {
		return r.publish(flags, length)
	}
	want := byte(0)
	if kind == PUBREL {
		want = 2
	}
	switch kind {
	case PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP, DISCONNECT:
	case CONNACK:
		return broken(CONNACK, "3.2", "is the second one")
	case AUTH:
		return broken(AUTH, "4.12", "belongs to no authentication")
	default:
		return broken(kind, "2.1.2", "no broker may send")
	}
	if flags != want && kind != DISCONNECT {
		return broken(kind, "2.1.3", "has the reserved bits 0x%x", flags)
	}
	if length > maxControl {
		return tooLong(kind, length)
	}
	body, err := r.peek(length)
	if err != nil {
		return err
	}
	err = r.control(kind, flags, body)
	r.buf.Discard(length)
	return err
}

// control serves a packet that is not a PUBLISH. The body is gone afterwards.
func (r *reader) control(kind PacketType, flags byte, body []byte) error {
	switch kind {
	case PINGRESP:
		if len(body) > 0 {
			return broken(PINGRESP, "3.13.1", "has a body")
		}
		r.conn.pong()
		return nil
	case DISCONNECT:
		return r.conn.codec.disconnected(flags, body)
	}
	if len(body) < 2 {
		return broken(kind, "2.2.1", "is cut short")
	}
	id := binary.BigEndian.Uint16(body)
	if id == 0 {
		return broken(kind, "2.2.1", "has the packet identifier 0")
	}
	if kind == SUBACK || kind == UNSUBACK {
		return r.conn.answered(kind, id, body)
	}
	code, text, err := r.reason(kind, body)
	if err != nil {
		return err
	}
	switch kind {
	case PUBREL:
		delete(r.open, id)
		r.ack(PUBCOMP, id)
		return nil
	case PUBREC:
		release, err := r.conn.received(id, code, text)
		if release {
			r.ack(PUBREL, id)
		}
		return err
	}
	return r.conn.completed(kind, id, code, text)
}

// reason decodes what may stand behind the identifier of a PUBACK, PUBREC, PUBREL or PUBCOMP, MQTT 3.4.2.1. On 3.1.1
// nothing may.
func (r *reader) reason(kind PacketType, body []byte) (code ReasonCode, text string, err error) {
	if len(body) == 2 {
		return Success, "", nil
	}
	if r.conn.cfg.Version == V311 {
		return 0, "", broken(kind, "3.1.1, 3.4.1", "has %d bytes instead of 2", len(body))
	}
	code = ReasonCode(body[2])
	if len(body) == 3 {
		return code, "", nil
	}
	n, rest, ok := cutLength(body[3:])
	if !ok || n != len(rest) {
		return 0, "", broken(kind, "2.2.2.1", "has properties of another length than it says")
	}
	err = eachProperty(kind, rest, func(id byte, v []byte) error {
		if id == propReasonString {
			text = string(v)
		}
		return nil
	})
	return code, text, err
}

// peek gives the next bytes without taking them.
func (r *reader) peek(n int) ([]byte, error) {
	if r.buf.Buffered() < n {
		r.settle()
	}
	p, err := r.buf.Peek(n)
	if err != nil {
		if len(p) == 0 {
			return nil, err // between two packets, or all that was asked for
		}
		return nil, unexpected(err)
	}
	return p, nil
}

func tooLong(kind PacketType, length int) error {
	return broken(kind, "2.1.4", "announces %d bytes", length)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// closedByPeer reports whether the other side has ended the connection.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || websocket.CloseStatus(err) >= 0
}
