package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// scan takes whole units (packets, frames, chunks, lines) from the front of b
// and says how many bytes it took.
type scan func(b []byte) (used int, err error)

// carry gives a scan whole units: what is cut off at the end of one read waits
// for the next.
type carry struct {
	scan scan
	rest []byte
}

func (c *carry) feed(b []byte) error {
	if len(c.rest) == 0 {
		used, err := c.scan(b)
		if err != nil {
			return err
		}
		c.rest = append(c.rest, b[used:]...)
		return nil
	}
	c.rest = append(c.rest, b...)
	used, err := c.scan(c.rest)
	if err != nil {
		return err
	}
	c.rest = c.rest[:copy(c.rest, c.rest[used:])]
	return nil
}

// packets scans MQTT control packets.
func packets(each func(first byte, body []byte) error) scan {
	return func(b []byte) (int, error) {
		used := 0
		for {
			p := b[used:]
			length, head := 0, 1
			for shift := 0; ; shift += 7 {
				if head >= len(p) {
					return used, nil
				}
				d := p[head]
				head++
				length |= int(d&127) << shift
				if d < 128 {
					break
				}
				if shift > 21 {
					return 0, errors.New("a malformed MQTT packet length")
				}
			}
			if len(p) < head+length {
				return used, nil
			}
			if err := each(p[0], p[head:head+length]); err != nil {
				return 0, err
			}
			used += head + length
		}
	}
}

// publishPayload takes the payload out of a PUBLISH packet's body.
func publishPayload(first byte, body []byte) ([]byte, error) {
	skip := 2
	if first&6 != 0 { // QoS 1 and 2 have a packet id
		skip = 4
	}
	if len(body) < 2 || len(body) < skip+int(binary.BigEndian.Uint16(body)) {
		return nil, errors.New("a malformed PUBLISH")
	}
	return body[skip+int(binary.BigEndian.Uint16(body)):], nil
}

// frames scans a server's WebSocket frames (RFC 6455 section 5.2): not masked,
// and not in pieces.
func frames(each func(op byte, payload []byte) error) scan {
	return func(b []byte) (int, error) {
		used := 0
		for {
			f := b[used:]
			if len(f) < 2 {
				return used, nil
			}
			if f[0]&0x80 == 0 || f[1]&0x80 != 0 {
				return 0, fmt.Errorf("a frame that begins with % x", f[:2])
			}
			length, head := int(f[1]), 2
			switch length {
			case 126:
				if head = 4; len(f) < head {
					return used, nil
				}
				length = int(binary.BigEndian.Uint16(f[2:]))
			case 127:
				if head = 10; len(f) < head {
					return used, nil
				}
				length = int(binary.BigEndian.Uint64(f[2:]))
			}
			if len(f) < head+length {
				return used, nil
			}
			if err := each(f[0]&15, f[head:head+length]); err != nil {
				return 0, err
			}
			used += head + length
		}
	}
}

// chunks scans an HTTP body in chunks (RFC 9112 section 7.1).
func chunks(each func(data []byte) error) scan {
	return func(b []byte) (int, error) {
		used := 0
		for {
			c := b[used:]
			eol := bytes.Index(c[:min(len(c), 32)], []byte("\r\n"))
			if eol < 0 {
				if len(c) >= 32 {
					return 0, errors.New("a chunk without a size")
				}
				return used, nil
			}
			size, err := strconv.ParseUint(string(c[:eol]), 16, 31)
			if err != nil {
				return 0, fmt.Errorf("chunk size: %w", err)
			}
			end := eol + 2 + int(size) + 2
			if len(c) < end {
				return used, nil
			}
			if err := each(c[eol+2 : end-2]); err != nil {
				return 0, err
			}
			used += end
		}
	}
}

// lines scans what ends with a line feed, which each does not see.
func lines(each func(line []byte) error) scan {
	return func(b []byte) (int, error) {
		used := 0
		for {
			n := bytes.IndexByte(b[used:], '\n')
			if n < 0 {
				return used, nil
			}
			if err := each(b[used : used+n]); err != nil {
				return 0, err
			}
			used += n + 1
		}
	}
}

var (
	messagePrefix = []byte(`{"type":"message","topic":"`)
	payloadKey    = []byte(`","payload":"`)
	gapPrefix     = []byte(`{"type":"gap"`)
)

// messagePayload takes the beginning of the payload out of a message of the
// gateway. It is nil for another frame. A gap is an error: something is
// missing.
func messagePayload(frame []byte) ([]byte, error) {
	if !bytes.HasPrefix(frame, messagePrefix) {
		if bytes.HasPrefix(frame, gapPrefix) {
			return nil, fmt.Errorf("the gateway reports a gap: %s", frame)
		}
		return nil, nil
	}
	topic := frame[len(messagePrefix):]
	end := bytes.IndexByte(topic, '"')
	if end < 0 || !bytes.HasPrefix(topic[end:], payloadKey) {
		return nil, fmt.Errorf("a message of another shape: %.200s", frame)
	}
	return topic[end+len(payloadKey):], nil
}

// Each payload begins with the number of its message: m and nine digits, which
// is neither JSON nor binary, so every transport carries it as it is.
const numberLen = 10

func putNumber(payload []byte, n int) {
	payload[0] = 'm'
	for i := numberLen - 1; i > 0; i-- {
		payload[i] = byte('0' + n%10)
		n /= 10
	}
}

func getNumber(payload []byte) (int, error) {
	if len(payload) < numberLen || payload[0] != 'm' {
		return 0, fmt.Errorf("a payload without a number: %.40q", payload)
	}
	n := 0
	for _, d := range payload[1:numberLen] {
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("a payload without a number: %.40q", payload)
		}
		n = n*10 + int(d-'0')
	}
	return n, nil
}
