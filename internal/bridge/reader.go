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

// oversizeTopic marks what the reader leaves of a message that is too large: the same packet, with this topic, no
// payload but the true topic. So it is acknowledged like any other, and found at its place in the stream. No broker
// sends it, because nobody subscribes to it.
const oversizeTopic = "$oversize"

// reader is the inbound half of a wire. It hands the bytes on packet by packet, having looked at each first.
type reader struct {
	wire       *wire
	buf        *bufio.Reader
	maxPayload int

	ready   []byte // to be handed on before anything else
	rest    int    // bytes of the current packet that are still in buf, or to come
	skip    int    // of them, those to be thrown away
	stub    []byte // goes out when they are
	scratch [8]byte

	greeted atomic.Bool // a CONNACK with code 0 has come
	code    byte        // its return code
	session bool        // its session-present flag
}

func (r *reader) read(p []byte) (int, error) {
	for len(r.ready) == 0 && r.rest == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	if len(r.ready) > 0 {
		n := copy(p, r.ready)
		r.ready = r.ready[n:]
		return n, nil
	}
	n, err := r.buf.Read(p[:min(len(p), r.rest)])
	r.rest -= n
	return n, err
}

// next prepares something to hand on: the next packet, or a PINGRESP that the library waits for. The true one can
// queue behind megabytes of messages, and they prove as well that the broker lives.
func (r *reader) next() error {
	if r.skip > 0 {
		return r.skipSome()
	}
	header, length, err := r.header()
	if err != nil {
		return err
	}
	if err := r.look(header[0], length); err != nil {
		return err
	}
	if r.skip > 0 {
		return nil
	}
	if r.wire.pinged.CompareAndSwap(true, false) && header[0]>>4 != typePingresp && r.greeted.Load() {
		header = append([]byte{typePingresp << 4, 0}, header...)
	}
	r.ready, r.rest = header, length
	return nil
}

// header reads the fixed header of a packet.
func (r *reader) header() (header []byte, length int, err error) {
	first, err := r.buf.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	header = append(r.scratch[:0], first)
	for shift := 0; ; shift += 7 {
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

// look checks a packet and notes what it says about publications. It takes no byte of it, unless the packet is skipped.
func (r *reader) look(first byte, length int) error {
	kind := first >> 4
	switch kind {
	case typePublish:
		return r.lookAtPublish(first, length)
	case typeConnack, typePuback, typePubrec, typePubrel, typePubcomp, typeSuback, typeUnsuback, typePingresp:
	default:
		return fmt.Errorf("the broker sent a packet of type %d, which no broker may send", kind)
	}
	if length > maxControl {
		return tooLarge(length)
	}
	if kind == typePingresp {
		return nil
	}
	if length < 2 {
		return errShort
	}
	body, err := r.buf.Peek(2)
	if err != nil {
		return unexpected(err)
	}
	id := binary.BigEndian.Uint16(body)
	switch kind {
	case typeConnack:
		r.code, r.session = body[1], body[0]&1 == 1
		r.greeted.Store(r.code == 0)
	case typePuback, typePubcomp:
		r.wire.answered(kind, id)
	case typeSuback:
		return r.wire.granted(id, length-2)
	}
	return nil
}

func (r *reader) lookAtPublish(first byte, length int) error {
	if length > maxPacket {
		return tooLarge(length)
	}
	if length < 2 {
		return errShort
	}
	name, err := r.buf.Peek(2)
	if err != nil {
		return unexpected(err)
	}
	topic := int(binary.BigEndian.Uint16(name))
	overhead := 2 + topic
	if first&0x06 != 0 {
		overhead += 2 // a packet identifier
	}
	if length < overhead {
		return errShort
	}
	if length-overhead <= r.maxPayload {
		return nil
	}
	start := make([]byte, overhead)
	if _, err := io.ReadFull(r.buf, start); err != nil {
		return unexpected(err)
	}
	r.stub = stubOf(first, start, topic)
	r.skip = length - overhead
	return nil
}

// skipSome throws away a part of an oversize message. In between, a library that waits for a PINGRESP gets one.
func (r *reader) skipSome() error {
	n, err := r.buf.Discard(min(r.skip, skipStep))
	r.skip -= n
	if err != nil {
		return unexpected(err)
	}
	if r.skip == 0 {
		r.ready, r.stub = r.stub, nil
	} else if r.wire.pinged.CompareAndSwap(true, false) {
		r.ready = append(r.scratch[:0], typePingresp<<4, 0)
	}
	return nil
}

// stubOf makes the packet that stands for an oversize one, from its first byte and all that precedes its payload.
func stubOf(first byte, start []byte, topic int) []byte {
	name, id := start[2:2+topic], start[2+topic:]
	body := binary.BigEndian.AppendUint16(nil, uint16(len(oversizeTopic)))
	body = append(body, oversizeTopic...)
	body = append(body, id...)
	body = append(body, name...)
	packet := []byte{first}
	for n := len(body); ; {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			b |= 0x80
		}
		packet = append(packet, b)
		if n == 0 {
			return append(packet, body...)
		}
	}
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
