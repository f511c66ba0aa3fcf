package mqtt

import (
	"fmt"
	"unicode/utf8"
)

// A Version is the protocol level of a CONNECT.
type Version byte

// The versions that are spoken.
const (
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

func (v Version) String() string {
	switch v {
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return fmt.Sprintf("level %d", byte(v))
}

// A PacketType is the upper half of a packet's first byte, MQTT 2.1.2 (3.1.1: 2.2.1).
type PacketType byte

// The packet types.
const (
	CONNECT     PacketType = 1
	CONNACK     PacketType = 2
	PUBLISH     PacketType = 3
	PUBACK      PacketType = 4
	PUBREC      PacketType = 5
	PUBREL      PacketType = 6
	PUBCOMP     PacketType = 7
	SUBSCRIBE   PacketType = 8
	SUBACK      PacketType = 9
	UNSUBSCRIBE PacketType = 10
	UNSUBACK    PacketType = 11
	PINGREQ     PacketType = 12
	PINGRESP    PacketType = 13
	DISCONNECT  PacketType = 14
	AUTH        PacketType = 15
)

var packetNames = [16]string{"reserved packet", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

func (t PacketType) String() string { return packetNames[t&15] }

const (
	maxPacket = 1<<28 - 1 // the most that a packet's header can announce, MQTT 1.5.5

	// A PUBLISH that announces more ends the connection at its header. It is close to the above: a message that is
	// retained, or kept for our session, would come again on every next connection, so it is better skipped.
	maxPublish = 250_000_000
)

// appendLength encodes a variable byte integer, MQTT 1.5.5 (3.1.1: 2.2.3).
func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// lengthSize is how many bytes appendLength appends.
func lengthSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// cutLength decodes a variable byte integer. It has at most four bytes, and they are as few as possible.
func cutLength(b []byte) (n int, rest []byte, ok bool) {
	for i, c := range b {
		n |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			return n, b[i+1:], c != 0 || i == 0
		}
		if i == 3 {
			break
		}
	}
	return 0, nil, false
}

// cutString cuts off what a two-byte length announces, MQTT 1.5.4 and 1.5.6.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(b[0])<<8 | int(b[1])
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

func appendString(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

// isText reports whether b is what MQTT calls a UTF-8 encoded string: well-formed and without U+0000, MQTT 1.5.4.
func isText(b []byte) bool {
	for _, c := range b {
		if c == 0 {
			return false
		}
	}
	return utf8.Valid(b)
}

// appendAck encodes a packet that consists of an identifier: its reason is success. In PUBREL the second lowest bit is
// set, MQTT 3.6.1.
func appendAck(dst []byte, kind PacketType, id uint16) []byte {
	first := byte(kind) << 4
	if kind == PUBREL {
		first |= 2
	}
	return append(dst, first, 2, byte(id>>8), byte(id))
}
