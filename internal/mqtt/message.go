package mqtt

import (
	"bytes"
	"encoding/binary"
)

// A Message is one application message, either way.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	// Properties are nil where there are none, and always on 3.1.1, which has none to send.
	Properties *Properties
}

// Properties are what MQTT 5 says about a message beside its payload, 3.3.2.3. An empty field is not sent.
type Properties struct {
	Text          bool   // the payload is said to be UTF-8
	Expires       bool   // Expiry is sent
	Expiry        uint32 // seconds that the message may still wait at the broker
	ContentType   string
	ResponseTopic string
	Correlation   []byte
	User          []UserProperty // in order; names may repeat
}

// A UserProperty is a pair that MQTT passes on without looking at it, 3.3.2.3.7.
type UserProperty struct{ Name, Value string }

// The property identifiers, MQTT 2.2.2.2.
const (
	propPayloadFormat   = 1
	propExpiry          = 2
	propContentType     = 3
	propResponseTopic   = 8
	propCorrelation     = 9
	propSubscriptionID  = 11
	propSessionExpiry   = 17
	propAssignedID      = 18
	propServerKeepAlive = 19
	propAuthMethod      = 21
	propAuthData        = 22
	propResponseInfo    = 26
	propServerReference = 28
	propReasonString    = 31
	propReceiveMaximum  = 33
	propAliasMaximum    = 34
	propAlias           = 35
	propMaximumQoS      = 36
	propRetainAvailable = 37
	propUser            = 38
	propMaximumPacket   = 39
	propWildcards       = 40
	propSubscriptionIDs = 41
	propShared          = 42
)

// propertyKinds is how each property is encoded, and in which packets of a broker's it may stand.
var propertyKinds = [propShared + 1]struct {
	size int // bytes; or one of the negative kinds
	in   []PacketType
}{
	propPayloadFormat:   {1, []PacketType{PUBLISH}},
	propExpiry:          {4, []PacketType{PUBLISH}},
	propContentType:     {text, []PacketType{PUBLISH}},
	propResponseTopic:   {text, []PacketType{PUBLISH}},
	propCorrelation:     {binaryData, []PacketType{PUBLISH}},
	propSubscriptionID:  {varint, []PacketType{PUBLISH}},
	propSessionExpiry:   {4, []PacketType{CONNACK}},
	propAssignedID:      {text, []PacketType{CONNACK}},
	propServerKeepAlive: {2, []PacketType{CONNACK}},
	propAuthMethod:      {text, []PacketType{CONNACK}},
	propAuthData:        {binaryData, []PacketType{CONNACK}},
	propResponseInfo:    {text, []PacketType{CONNACK}},
	propServerReference: {text, []PacketType{CONNACK, DISCONNECT}},
	propReasonString:    {text, []PacketType{CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT}},
	propReceiveMaximum:  {2, []PacketType{CONNACK}},
	propAliasMaximum:    {2, []PacketType{CONNACK}},
	propAlias:           {2, []PacketType{PUBLISH}},
	propMaximumQoS:      {1, []PacketType{CONNACK}},
	propRetainAvailable: {1, []PacketType{CONNACK}},
	propUser:            {textPair, []PacketType{CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT}},
	propMaximumPacket:   {4, []PacketType{CONNACK}},
	propWildcards:       {1, []PacketType{CONNACK}},
	propSubscriptionIDs: {1, []PacketType{CONNACK}},
	propShared:          {1, []PacketType{CONNACK}},
}

const (
	text       = -1 // a UTF-8 string
	binaryData = -2
	varint     = -3
	textPair   = -4 // two strings
)

// eachProperty walks the properties of a packet of the broker's, checks them, and shows each to see, which may be nil.
// The value of a pair is its two strings, still encoded. A property stands once, but for the user properties and the
// subscription identifiers of a PUBLISH, MQTT 2.2.2.2.
func eachProperty(packet PacketType, b []byte, see func(id byte, value []byte) error) error {
	var seen uint64
	for len(b) > 0 {
		id := b[0]
		b = b[1:]
		if int(id) >= len(propertyKinds) || !stands(packet, id) {
			return broken(packet, "2.2.2.2", "has the property %d, which cannot stand there", id)
		}
		if seen&(1<<id) != 0 && id != propUser && id != propSubscriptionID {
			return broken(packet, "2.2.2.2", "has the property %d twice", id)
		}
		seen |= 1 << id
		value, rest, err := cutProperty(packet, id, b)
		if err != nil {
			return err
		}
		b = rest
		if see != nil {
			if err := see(id, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func stands(packet PacketType, id byte) bool {
	for _, p := range propertyKinds[id].in {
		if p == packet {
			return true
		}
	}
	return false
}

// cutProperty cuts the value of a property off.
func cutProperty(packet PacketType, id byte, b []byte) (value, rest []byte, err error) {
	short := func() error { return broken(packet, "2.2.2", "is cut short in the property %d", id) }
	var ok bool
	switch size := propertyKinds[id].size; size {
	case text, binaryData:
		if value, rest, ok = cutString(b); !ok {
			return nil, nil, short()
		}
		if size == text && !isText(value) {
			return nil, nil, broken(packet, "1.5.4", "has a property %d that is not UTF-8", id)
		}
	case varint:
		if _, rest, ok = cutLength(b); !ok {
			return nil, nil, short()
		}
		value = b[:len(b)-len(rest)]
	case textPair:
		name, after, ok1 := cutString(b)
		content, rest2, ok2 := cutString(after)
		if !ok1 || !ok2 {
			return nil, nil, short()
		}
		if !isText(name) || !isText(content) {
			return nil, nil, broken(packet, "1.5.7", "has a user property that is not UTF-8")
		}
		value, rest = b[:len(b)-len(rest2)], rest2
	default:
		if len(b) < size {
			return nil, nil, short()
		}
		value, rest = b[:size], b[size:]
	}
	return value, rest, nil
}

// parseProperties decodes the properties of a PUBLISH, and gives apart what is the connection's. Nothing of b is kept. They
// are nil where nothing in them is the receiver's: an empty value is as good as none.
func parseProperties(b []byte) (p *Properties, subscriptions []uint32, err error) {
	var out Properties
	some := false
	err = eachProperty(PUBLISH, b, func(id byte, v []byte) error {
		switch id {
		case propAlias:
			return broken(PUBLISH, "3.3.2.3.4", "has a topic alias, and none is allowed")
		case propSubscriptionID:
			n, _, _ := cutLength(v)
			if n == 0 {
				return broken(PUBLISH, "3.3.2.3.8", "has the subscription identifier 0")
			}
			subscriptions = append(subscriptions, uint32(n))
		default:
			taken, err := out.take(id, v)
			some = some || taken
			return err
		}
		return nil
	})
	if err != nil || !some {
		return nil, subscriptions, err
	}
	return &out, subscriptions, nil
}

// take sets the field of one checked property, if there is something to set.
func (p *Properties) take(id byte, v []byte) (taken bool, err error) {
	switch id {
	case propPayloadFormat:
		if v[0] > 1 {
			return false, broken(PUBLISH, "3.3.2.3.2", "has the payload format %d", v[0])
		}
		p.Text = v[0] == 1
		return p.Text, nil
	case propExpiry:
		p.Expires, p.Expiry = true, binary.BigEndian.Uint32(v)
		return true, nil
	case propUser:
		name, rest, _ := cutString(v)
		content, _, _ := cutString(rest)
		p.User = append(p.User, UserProperty{string(name), string(content)})
		return true, nil
	case propContentType:
		p.ContentType = string(v)
	case propResponseTopic:
		if !isTopic(v) {
			return false, broken(PUBLISH, "3.3.2.3.5", "has a response topic with a wildcard")
		}
		p.ResponseTopic = string(v)
	case propCorrelation:
		if len(v) > 0 {
			p.Correlation = bytes.Clone(v)
		}
	}
	return len(v) > 0, nil
}

// isTopic reports whether b, which is text, is without wildcards.
func isTopic(b []byte) bool { return bytes.IndexByte(b, '+') < 0 && bytes.IndexByte(b, '#') < 0 }

// Size is how many bytes the properties have, as append appends them; those of nil are none.
func (p *Properties) Size() int {
	if p == nil {
		return 0
	}
	n := 0
	if p.Text {
		n += 2
	}
	if p.Expires {
		n += 5
	}
	for _, s := range []string{p.ContentType, p.ResponseTopic} {
		if s != "" {
			n += 3 + len(s)
		}
	}
	if len(p.Correlation) > 0 {
		n += 3 + len(p.Correlation)
	}
	for _, u := range p.User {
		n += 5 + len(u.Name) + len(u.Value)
	}
	return n
}

// append encodes the properties, without their length.
func (p *Properties) append(dst []byte) []byte {
	if p == nil {
		return dst
	}
	if p.Text {
		dst = append(dst, propPayloadFormat, 1)
	}
	if p.Expires {
		dst = binary.BigEndian.AppendUint32(append(dst, propExpiry), p.Expiry)
	}
	if p.ContentType != "" {
		dst = appendString(append(dst, propContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		dst = appendString(append(dst, propResponseTopic), p.ResponseTopic)
	}
	if n := len(p.Correlation); n > 0 {
		dst = append(append(dst, propCorrelation, byte(n>>8), byte(n)), p.Correlation...)
	}
	for _, u := range p.User {
		dst = appendString(appendString(append(dst, propUser), u.Name), u.Value)
	}
	return dst
}

// fits reports whether every field can be encoded: lengths have two bytes.
func (p *Properties) fits() bool {
	if p == nil {
		return true
	}
	most := max(len(p.ContentType), len(p.ResponseTopic), len(p.Correlation))
	for _, u := range p.User {
		most = max(most, len(u.Name), len(u.Value))
	}
	return most <= 0xffff
}

// publishSize is the remaining length of a PUBLISH, MQTT 3.3.
func publishSize(v Version, m *Message) (length, properties int) {
	length = 2 + len(m.Topic) + len(m.Payload)
	if m.QoS > 0 {
		length += 2
	}
	if v == V5 {
		properties = m.Properties.Size()
		length += lengthSize(properties) + properties
	}
	return length, properties
}

// appendPublish encodes a PUBLISH.
func appendPublish(dst []byte, v Version, m *Message, id uint16) []byte {
	length, properties := publishSize(v, m)
	first := byte(PUBLISH)<<4 | m.QoS<<1
	if m.Retain {
		first |= 1
	}
	dst = appendLength(append(dst, first), length)
	dst = appendString(dst, m.Topic)
	if m.QoS > 0 {
		dst = append(dst, byte(id>>8), byte(id))
	}
	if v == V5 {
		dst = appendLength(dst, properties)
		dst = m.Properties.append(dst)
	}
	return append(dst, m.Payload...)
}
