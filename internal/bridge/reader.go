package bridge

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	// A header that announces more ends the link. It is close to what MQTT can announce at all: a message that is
	// retained, or kept for our session, would come again after every reconnect, so it is better skipped.
	maxPacket  = 250_000_000
	maxControl = 64 << 10 // the same for everything that is not a PUBLISH
	skipStep   = 64 << 10
)

// reader is the inbound half of a wire. It takes the messages out, and hands the other packets on to the library, having
// looked at each first.
type reader struct {
	wire       *wire
	buf        *bufio.Reader
	maxPayload int

	ready   []byte // to be handed on before anything else
	rest    int    // bytes of the current packet that are still in buf, or to come
	skip    int    // bytes of a message that is too large, to be thrown away
	scratch [8]byte
	messages

	greeted atomic.Bool // a CONNACK with code 0 has come
	code    byte        // its return code
	session bool        // its session-present flag
}

func (r *reader) read(p []byte) (int, error) {
	for len(r.ready) == 0 && r.rest == 0 {
		if err := r.next(); err != nil {
			r.settle()
			return 0, err
		}
	}
	if len(r.ready) > 0 {
		n := copy(p, r.ready)
		r.ready = r.ready[n:]
		return n, nil
	}
	if r.buf.Buffered() == 0 {
		r.settle()
	}
	n, err := r.buf.Read(p[:min(len(p), r.rest)])
	r.rest -= n
	return n, err
}

// next serves the next packet. It prepares something to hand on if there is: the packet, or a PINGRESP that the library
// waits for. The true one can queue behind megabytes of messages, and they prove as well that the broker lives.
func (r *reader) next() error {
	if r.skip > 0 {
		return r.skipSome()
	}
	header, length, err := r.header()
	if err != nil {
		return err
	}
	mine, err := r.look(header[0], length)
	if err != nil {
		return err
	}
	if mine {
		r.pong()
		return nil
	}
	if r.wire.pinged.CompareAndSwap(true, false) && header[0]>>4 != typePingresp && r.greeted.Load() {
		header = append([]byte{typePingresp << 4, 0}, header...)
	}
	r.ready, r.rest = header, length
	return nil
}

// pong hands on a PINGRESP if the library waits for one.
func (r *reader) pong() {
	if r.wire.pinged.CompareAndSwap(true, false) {
		r.ready = append(r.scratch[:0], typePingresp<<4, 0)
	}
}

// header reads the fixed header of a packet.
func (r *reader) header() (header []byte, length int, err error) {
	if r.buf.Buffered() < 2 {
		r.settle()
	}
	first, err := r.buf.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	header = append(r.scratch[:0], first)
	for shift := 0; ; shift += 7 {
		if r.buf.Buffered() == 0 {
			r.settle()
		}
		b, err := r.buf.ReadByte()
		if err != nil {
			return nil, 0, unexpected(err)
		}
		header = append(header, b)
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			return header, length, nil
		}
		if shift == 21 {
			return nil, 0, errors.New("the broker sent a malformed packet length")
		}
	}
}

// look checks a packet and notes what it says about publications. It takes no byte of it, unless the packet is for the
// reader itself and not for the library.
func (r *reader) look(first byte, length int) (mine bool, err error) {
	kind := first >> 4
	switch kind {
	case typePublish:
		if !r.greeted.Load() {
			return false, errors.New("the broker sent a message before its CONNACK")
		}
		return true, r.publish(first, length)
	case typeConnack, typePuback, typePubrec, typePubrel, typePubcomp, typeSuback, typeUnsuback, typePingresp:
	default:
		return false, fmt.Errorf("the broker sent a packet of type %d, which no broker may send", kind)
	}
	if length > maxControl {
		return false, tooLarge(length)
	}
	if kind == typePingresp {
		return false, nil
	}
	if length < 2 {
		return false, errShort
	}
	body, err := r.peek(2)
	if err != nil {
		return false, err
	}
	id := binary.BigEndian.Uint16(body)
	switch kind {
	case typeConnack:
		r.code, r.session = body[1], body[0]&1 == 1
		r.greeted.Store(r.code == 0)
	case typePuback, typePubcomp:
		r.wire.answered(kind, id)
		return true, r.discard(length)
	case typePubrec:
		if r.wire.received(id) {
			r.ack(typePubrel, id)
		}
		return true, r.discard(length)
	case typePubrel:
		return true, r.released(id, length)
	case typeSuback:
		return false, r.wire.granted(id, length-2)
	}
	return false, nil
}

// skipSome throws away a part of an oversize message. In between, a library that waits for a PINGRESP gets one.
func (r *reader) skipSome() error {
	r.settle()
	n, err := r.buf.Discard(min(r.skip, skipStep))
	r.skip -= n
	if err != nil {
		return unexpected(err)
	}
	r.pong()
	if r.skip > 0 {
		return nil
	}
	m := r.skipped
	r.skipped = Message{}
	return r.hand(m, r.id)
}

var errShort = errors.New("the broker sent a packet that is cut short")

func tooLarge(length int) error {
	return fmt.Errorf("the broker announced a packet of %d bytes", length)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
