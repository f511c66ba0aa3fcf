package packet

import "encoding/binary"

// Connack is what a CONNACK tells besides its reason code. Only MQTT 5 has a place for it.
type Connack struct {
	SessionPresent bool
	AssignedID     string // "": the client chose one itself
	MaximumPacket  uint32 // bytes that the server takes
	Text           string // why not, for people
}

// AppendConnack appends a CONNACK. Before MQTT 5 the code must be Success or one with a return code.
func AppendConnack(dst []byte, v Version, code Reason, a Connack) []byte {
	flags := byte(0)
	if a.SessionPresent {
		flags = 1
	}
	if v != V5 {
		if v == V31 {
			flags = 0 // reserved there
		}
		return append(dst, byte(CONNACK)<<4, 2, flags, code.ReturnCode())
	}
	var props []byte
	if a.AssignedID != "" {
		props = appendText(append(props, propAssignedClientID), a.AssignedID)
	}
	if a.MaximumPacket > 0 {
		props = binary.BigEndian.AppendUint32(append(props, propMaximumPacket), a.MaximumPacket)
	}
	if a.Text != "" {
		props = appendText(append(props, propReasonString), a.Text)
	}
	dst = appendHeader(dst, byte(CONNACK)<<4, 2+sizeOf(len(props))+len(props))
	dst = append(dst, flags, byte(code))
	dst = appendVarint(dst, len(props))
	return append(dst, props...)
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. Before MQTT 5 the reason cannot be told.
func AppendAck(dst []byte, v Version, t Type, id uint16, reason Reason) []byte {
	first := byte(t) << 4
	if t == PUBREL {
		first |= 2
	}
	if v != V5 || reason == Success {
		return binary.BigEndian.AppendUint16(append(dst, first, 2), id)
	}
	return append(binary.BigEndian.AppendUint16(append(dst, first, 3), id), byte(reason))
}

// AppendSuback appends a SUBACK: the granted QoS or a failure for each filter.
func AppendSuback(dst []byte, v Version, id uint16, reasons []Reason) []byte {
	return appendReasons(dst, v, SUBACK, id, reasons)
}

// AppendUnsuback appends an UNSUBACK. Before MQTT 5 it has no reasons.
func AppendUnsuback(dst []byte, v Version, id uint16, reasons []Reason) []byte {
	if v != V5 {
		reasons = nil
	}
	return appendReasons(dst, v, UNSUBACK, id, reasons)
}

func appendReasons(dst []byte, v Version, t Type, id uint16, reasons []Reason) []byte {
	props := 0
	if v == V5 {
		props = 1
	}
	dst = appendHeader(dst, byte(t)<<4, 2+props+len(reasons))
	dst = binary.BigEndian.AppendUint16(dst, id)
	if v == V5 {
		dst = append(dst, 0) // no properties
	}
	for _, r := range reasons {
		if v != V5 && r >= Unspecified {
			r = Unspecified // the only failure there (3.1.1: 3.9.3-2)
		}
		dst = append(dst, byte(r))
	}
	return dst
}

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

// AppendDisconnect appends a DISCONNECT, which only MQTT 5 lets a server send.
func AppendDisconnect(dst []byte, reason Reason, text string) []byte {
	if text == "" {
		return append(dst, byte(DISCONNECT)<<4, 1, byte(reason))
	}
	props := appendText([]byte{propReasonString}, text)
	dst = appendHeader(dst, byte(DISCONNECT)<<4, 1+sizeOf(len(props))+len(props))
	dst = append(dst, byte(reason))
	dst = appendVarint(dst, len(props))
	return append(dst, props...)
}

// Delivery is a message on its way to one subscriber.
type Delivery struct {
	*Message
	QoS         byte // at which this subscriber gets it
	Retain, Dup bool
	ID          uint16   // at QoS 1 and 2
	Expiry      uint32   // what is left of the message's, if it expires
	Identifiers []uint32 // of the subscriptions that match
}

// AppendPublish appends a PUBLISH up to its payload, which the caller writes behind it.
func AppendPublish(dst []byte, v Version, d *Delivery) []byte {
	first := byte(PUBLISH)<<4 | d.QoS<<1
	if d.Dup {
		first |= 8
	}
	if d.Retain {
		first |= 1
	}
	props, length := d.sizes(v)
	dst = appendHeader(dst, first, length)
	dst = appendText(dst, d.Topic)
	if d.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, d.ID)
	}
	if v != V5 {
		return dst
	}
	dst = appendVarint(dst, props)
	dst = append(dst, d.Properties...)
	if d.Expires {
		dst = binary.BigEndian.AppendUint32(append(dst, propMessageExpiry), d.Expiry)
	}
	for _, id := range d.Identifiers {
		dst = appendVarint(append(dst, propSubscriptionID), int(id))
	}
	return dst
}

// PublishSize is how many bytes the PUBLISH has, payload included.
func PublishSize(v Version, d *Delivery) int {
	_, length := d.sizes(v)
	return 1 + sizeOf(length) + length
}

// sizes are the bytes of the properties, and of all that follows the fixed header.
func (d *Delivery) sizes(v Version) (props, length int) {
	length = 2 + len(d.Topic) + len(d.Payload)
	if d.QoS > 0 {
		length += 2
	}
	if v != V5 {
		return 0, length
	}
	props = len(d.Properties)
	if d.Expires {
		props += 5
	}
	for _, id := range d.Identifiers {
		props += 1 + sizeOf(int(id))
	}
	return props, length + sizeOf(props) + props
}

func appendHeader(dst []byte, first byte, length int) []byte {
	return appendVarint(append(dst, first), length)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendVarint appends a variable byte integer (1.5.5).
func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// sizeOf is how many bytes appendVarint appends.
func sizeOf(n int) int {
	size := 1
	for n >>= 7; n > 0; n >>= 7 {
		size++
	}
	return size
}
