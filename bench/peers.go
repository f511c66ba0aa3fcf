package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// subscriber counts what arrives on one raw connection. It looks at frame
// headers only, so that the load tool is not what is measured.
type subscriber struct {
	conn   net.Conn
	stamp  func(payload []byte) // nil: not looked at
	total  *atomic.Int64
	signal chan<- struct{}
	target *atomic.Int64
}

func (s *subscriber) count(n int64) {
	if t := s.total.Add(n); t >= s.target.Load() && t-n < s.target.Load() {
		s.signal <- struct{}{}
	}
}

// mqttDial connects with a clean session and no keep-alive.
func mqttDial(addr, id string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, byte(len(id) >> 8), byte(len(id))}, id...)
	if _, err := c.Write(append([]byte{0x10, byte(len(body))}, body...)); err != nil {
		return nil, err
	}
	ack := make([]byte, 4)
	if _, err := io.ReadFull(c, ack); err != nil || ack[3] != 0 {
		return nil, fmt.Errorf("CONNACK %v %w", ack, err)
	}
	return c, nil
}

func mqttSubscribe(c net.Conn, filter string) error {
	body := append([]byte{0, 1, byte(len(filter) >> 8), byte(len(filter))}, filter...)
	body = append(body, 0)
	if _, err := c.Write(append(append([]byte{0x82}, varint(len(body))...), body...)); err != nil {
		return err
	}
	ack := make([]byte, 5)
	_, err := io.ReadFull(c, ack)
	return err
}

func varint(n int) []byte {
	var b []byte
	for {
		d := byte(n & 127)
		if n >>= 7; n > 0 {
			b = append(b, d|128)
			continue
		}
		return append(b, d)
	}
}

// mqttPublish is a QoS 0 packet.
func mqttPublish(dst []byte, topic string, payload []byte) []byte {
	dst = append(dst, 0x30)
	dst = append(dst, varint(2+len(topic)+len(payload))...)
	dst = append(dst, byte(len(topic)>>8), byte(len(topic)))
	return append(append(dst, topic...), payload...)
}

// readMQTT counts PUBLISH packets.
func (s *subscriber) readMQTT() {
	r := bufio.NewReaderSize(s.conn, 64<<10)
	for {
		n := int64(0)
		for {
			first, err := r.ReadByte()
			if err != nil {
				return
			}
			length, shift := 0, 0
			for {
				d, err := r.ReadByte()
				if err != nil {
					return
				}
				length |= int(d&127) << shift
				if shift += 7; d < 128 {
					break
				}
			}
			if s.stamp != nil && first>>4 == 3 {
				b := make([]byte, length)
				if _, err := io.ReadFull(r, b); err != nil {
					return
				}
				s.stamp(b[2+int(binary.BigEndian.Uint16(b)):])
			} else if _, err := r.Discard(length); err != nil {
				return
			}
			if first>>4 == 3 {
				n++
			}
			if r.Buffered() == 0 {
				break
			}
		}
		s.count(n)
	}
}

// wsDial opens /ws with the filters and reads until the ack.
func wsDial(addr string, filters ...string) (net.Conn, *bufio.Reader, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(c, "GET /ws?%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", url.Values{"topic": filters}.Encode(), addr)
	r := bufio.NewReaderSize(c, 16<<10)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		return nil, nil, fmt.Errorf("upgrade: %v %w", res, err)
	}
	for {
		frame, err := wsFrame(r)
		if err != nil {
			return nil, nil, err
		}
		if strings.Contains(string(frame), `"type":"ack"`) {
			return c, r, nil
		}
	}
}

// openEvents asks for an NDJSON stream and reads until the ack.
func openEvents(c net.Conn, addr, filter string) (*bufio.Reader, error) {
	fmt.Fprintf(c, "GET /events?format=ndjson&topic=%s HTTP/1.1\r\nHost: %s\r\n\r\n", url.QueryEscape(filter), addr)
	r := bufio.NewReaderSize(c, 16<<10)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if strings.Contains(line, `"type":"ack"`) {
			_, err := r.Discard(len("\r\n"))
			return r, err
		}
	}
}

// readChunks counts the chunks of a response; the gateway puts one message
// into each.
func (s *subscriber) readChunks(r *bufio.Reader) {
	for {
		n := int64(0)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			size := 0
			for _, c := range line[:len(line)-2] {
				switch {
				case c >= 'a':
					size = size<<4 | int(c-'a'+10)
				default:
					size = size<<4 | int(c-'0')
				}
			}
			if _, err := r.Discard(size + len("\r\n")); err != nil {
				return
			}
			n++
			if r.Buffered() == 0 {
				break
			}
		}
		s.count(n)
	}
}

func wsHeader(r *bufio.Reader) (op byte, n int, err error) {
	op, err = r.ReadByte()
	if err != nil {
		return
	}
	l, err := r.ReadByte()
	if err != nil {
		return
	}
	n = int(l)
	switch l {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(r, b[:])
		n = int(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(r, b[:])
		n = int(binary.BigEndian.Uint64(b[:]))
	}
	return op & 15, n, err
}

func wsFrame(r *bufio.Reader) ([]byte, error) {
	_, n, err := wsHeader(r)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

// readWS counts text frames and answers pings.
func (s *subscriber) readWS(r *bufio.Reader) {
	for {
		n := int64(0)
		for {
			op, length, err := wsHeader(r)
			if err != nil {
				return
			}
			if s.stamp != nil && op == 1 {
				b := make([]byte, length)
				if _, err := io.ReadFull(r, b); err != nil {
					return
				}
				if i := strings.Index(string(b), `"payload":"`); i > 0 {
					s.stamp(b[i+len(`"payload":"`):])
				}
			} else if _, err := r.Discard(length); err != nil {
				return
			}
			switch op {
			case 1:
				n++
			case 9:
				_, _ = s.conn.Write([]byte{0x8a, 0x80, 0, 0, 0, 0})
			}
			if r.Buffered() == 0 {
				break
			}
		}
		s.count(n)
	}
}
