package brokertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// The MQTT packet types, as ReadPacket returns them.
const (
	CONNECT     byte = 1
	CONNACK     byte = 2
	PUBLISH     byte = 3
	PUBACK      byte = 4
	PUBREC      byte = 5
	PUBREL      byte = 6
	PUBCOMP     byte = 7
	SUBSCRIBE   byte = 8
	SUBACK      byte = 9
	UNSUBSCRIBE byte = 10
	UNSUBACK    byte = 11
	PINGREQ     byte = 12
	PINGRESP    byte = 13
	DISCONNECT  byte = 14
)

var (
	errLength    = errors.New("malformed remaining length")
	errTruncated = errors.New("packet too short for its type")
)

// PacketType is the type of an encoded packet.
func PacketType(packet []byte) byte { return packet[0] >> 4 }

// PacketID is the id of an encoded PUBLISH above QoS 0, or of an
// acknowledgement; 0 where there is none.
func PacketID(packet []byte) uint16 {
	body := packetBody(packet)
	switch PacketType(packet) {
	case PUBLISH:
		id, _, err := parsePublish(packet[0], body)
		if err != nil {
			return 0
		}
		return id
	case PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK:
		if len(body) >= 2 {
			return binary.BigEndian.Uint16(body)
		}
	}
	return 0
}

// PublishOf decodes an encoded PUBLISH; ok is false for any other packet.
func PublishOf(packet []byte) (m Message, ok bool) {
	if len(packet) == 0 || PacketType(packet) != PUBLISH {
		return Message{}, false
	}
	_, m, err := parsePublish(packet[0], packetBody(packet))
	return m, err == nil
}

// packetBody is what follows the fixed header.
func packetBody(packet []byte) []byte {
	i := 1
	for i < len(packet) && packet[i]&0x80 != 0 {
		i++
	}
	if i+1 > len(packet) {
		return nil
	}
	return packet[i+1:]
}

// readPacket reads one packet: its first byte, the whole, and the body in it.
func readPacket(r *bufio.Reader) (whole, body []byte, err error) {
	var header [5]byte
	if header[0], err = r.ReadByte(); err != nil {
		return nil, nil, err
	}
	n, length, shift := 1, 0, 0
	for {
		c, err := r.ReadByte()
		if err != nil {
			return nil, nil, err
		}
		header[n] = c
		n++
		length |= int(c&0x7f) << shift
		if c&0x80 == 0 {
			break
		}
		if shift += 7; n == len(header) {
			return nil, nil, errLength
		}
	}
	whole = make([]byte, n+length)
	copy(whole, header[:n])
	body = whole[n:]
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, nil, err
	}
	return whole, body, nil
}

// parsePublish decodes a PUBLISH. The payload shares body's memory.
func parsePublish(first byte, body []byte) (id uint16, m Message, err error) {
	if len(body) < 2 {
		return 0, m, errTruncated
	}
	n := int(binary.BigEndian.Uint16(body))
	if len(body) < 2+n {
		return 0, m, errTruncated
	}
	m = Message{Topic: string(body[2 : 2+n]), QoS: first >> 1 & 3, Retain: first&1 != 0, Dup: first&8 != 0}
	rest := body[2+n:]
	if m.QoS > 0 {
		if len(rest) < 2 {
			return 0, m, errTruncated
		}
		id, rest = binary.BigEndian.Uint16(rest), rest[2:]
	}
	m.Payload = rest
	return id, m, nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// appendHeader writes the first byte and the remaining length.
func appendHeader(dst []byte, first byte, length int) []byte {
	dst = append(dst, first)
	for {
		c := byte(length & 0x7f)
		if length >>= 7; length > 0 {
			dst = append(dst, c|0x80)
			continue
		}
		return append(dst, c)
	}
}

func appendPublish(dst []byte, id uint16, topic string, payload []byte, qos byte, retain bool) []byte {
	first := PUBLISH<<4 | qos<<1
	if retain {
		first |= 1
	}
	length := 2 + len(topic) + len(payload)
	if qos > 0 {
		length += 2
	}
	dst = appendHeader(dst, first, length)
	dst = appendString(dst, topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, payload...)
}

// appendAck writes a packet that consists of an id. PUBREL carries the flag
// bits that the standard asks for.
func appendAck(dst []byte, kind byte, id uint16) []byte {
	first := kind << 4
	if kind == PUBREL {
		first |= 2
	}
	return append(dst, first, 2, byte(id>>8), byte(id))
}

func appendSubscribe(dst []byte, id uint16, filter string, qos byte) []byte {
	dst = appendHeader(dst, SUBSCRIBE<<4|2, 2+2+len(filter)+1)
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = appendString(dst, filter)
	return append(dst, qos)
}

func appendUnsubscribe(dst []byte, id uint16, filter string) []byte {
	dst = appendHeader(dst, UNSUBSCRIBE<<4|2, 2+2+len(filter))
	dst = binary.BigEndian.AppendUint16(dst, id)
	return appendString(dst, filter)
}

func appendConnect(dst []byte, o *clientOptions) []byte {
	flags, length := byte(0), 10+2+len(o.id)
	if !o.persistent {
		flags |= 0x02
	}
	if o.user != "" {
		flags |= 0xc0
		length += 4 + len(o.user) + len(o.password)
	}
	dst = appendHeader(dst, CONNECT<<4, length)
	dst = appendString(dst, "MQTT")
	dst = append(dst, 4, flags, 0, keepAliveSeconds) // level 3.1.1
	dst = appendString(dst, o.id)
	if o.user != "" {
		dst = appendString(dst, o.user)
		dst = appendString(dst, o.password)
	}
	return dst
}
