// Package rawtest builds MQTT packets byte by byte, wrong ones too, and has a connection that checks the form of every
// answer. It is for the tests of the built-in broker.
package rawtest

import "encoding/binary"

// Text is a string with its length before it.
func Text(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// Varint is a variable byte integer.
func Varint(n int) []byte {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// Join puts parts together.
func Join(parts ...[]byte) []byte {
	all := []byte{}
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Packet is a packet with that first byte, and a length that is right.
func Packet(first byte, parts ...[]byte) []byte {
	body := Join(parts...)
	return Join([]byte{first}, Varint(len(body)), body)
}

// Props are properties with their length before them.
func Props(props ...[]byte) []byte {
	all := Join(props...)
	return Join(Varint(len(all)), all)
}

// User is a user property.
func User(name, value string) []byte { return Join([]byte{38}, Text(name), Text(value)) }

// U16 is a number of two bytes.
func U16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// U32 is a number of four bytes.
func U32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// Prop16 and Prop32 are properties with a number.
func Prop16(id byte, n uint16) []byte { return Join([]byte{id}, U16(n)) }
func Prop32(id byte, n uint32) []byte { return Join([]byte{id}, U32(n)) }

// Connect is a CONNECT of a version (3, 4 or 5) with flags, properties (of version 5 only), a client identifier and
// what follows it.
func Connect(version, flags byte, props []byte, id string, more ...[]byte) []byte {
	return ConnectAlive(version, flags, 0, props, id, more...)
}

// ConnectAlive is Connect with a keep alive, in seconds.
func ConnectAlive(version, flags byte, keepAlive uint16, props []byte, id string, more ...[]byte) []byte {
	name := "MQTT"
	if version == 3 {
		name = "MQIsdp"
	}
	head := Join(Text(name), []byte{version, flags}, U16(keepAlive))
	if version == 5 {
		if props == nil {
			props = Props()
		}
		head = append(head, props...)
	}
	return Packet(0x10, append([][]byte{head, Text(id)}, more...)...)
}

// Publish is a PUBLISH. Props are for version 5, nil before. The identifier is left out at QoS 0.
func Publish(flags byte, topic string, id uint16, props []byte, payload string) []byte {
	head := Text(topic)
	if flags&6 != 0 {
		head = append(head, U16(id)...)
	}
	return Packet(0x30|flags, head, props, []byte(payload))
}

// Subscribe is a SUBSCRIBE for one filter. Props are for version 5, nil before.
func Subscribe(id uint16, props []byte, filter string, options byte) []byte {
	return Packet(0x82, U16(id), props, Text(filter), []byte{options})
}
