package packet

// The identifiers of properties (2.2.2.2).
const (
	propPayloadFormat     = 1
	propMessageExpiry     = 2
	propContentType       = 3
	propResponseTopic     = 8
	propCorrelationData   = 9
	propSubscriptionID    = 11
	propSessionExpiry     = 17
	propAssignedClientID  = 18
	propAuthMethod        = 21
	propAuthData          = 22
	propRequestProblem    = 23
	propWillDelay         = 24
	propRequestResponse   = 25
	propReasonString      = 31
	propReceiveMaximum    = 33
	propTopicAliasMaximum = 34
	propTopicAlias        = 35
	propUser              = 38
	propMaximumPacket     = 39
)

// kind is how a property's value is encoded.
type kind byte

const (
	kindByte kind = 1 + iota // 0 or 1: no property of a client has another
	kindUint16
	kindUint32
	kindVarint
	kindText
	kindBinary
	kindPair
)

// inWill stands for the properties of a will, which have no packet of their own.
const inWill Type = 0

// property says what a property is and where clients may send it.
type property struct {
	name    string
	kind    kind
	in      uint16 // bits: 1 << type
	nonzero bool
}

const (
	inMessages = 1<<PUBLISH | 1<<inWill
	inAnswers  = 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP | 1<<DISCONNECT | 1<<AUTH
)

// properties are those that clients may send, by identifier (table 2-4).
var properties = [64]property{
	propPayloadFormat:     {"payload format indicator", kindByte, inMessages, false},
	propMessageExpiry:     {"message expiry interval", kindUint32, inMessages, false},
	propContentType:       {"content type", kindText, inMessages, false},
	propResponseTopic:     {"response topic", kindText, inMessages, false},
	propCorrelationData:   {"correlation data", kindBinary, inMessages, false},
	propSubscriptionID:    {"subscription identifier", kindVarint, 1 << SUBSCRIBE, true},
	propSessionExpiry:     {"session expiry interval", kindUint32, 1<<CONNECT | 1<<DISCONNECT, false},
	propAuthMethod:        {"authentication method", kindText, 1<<CONNECT | 1<<AUTH, false},
	propAuthData:          {"authentication data", kindBinary, 1<<CONNECT | 1<<AUTH, false},
	propRequestProblem:    {"request problem information", kindByte, 1 << CONNECT, false},
	propWillDelay:         {"will delay interval", kindUint32, 1 << inWill, false},
	propRequestResponse:   {"request response information", kindByte, 1 << CONNECT, false},
	propReasonString:      {"reason string", kindText, inAnswers, false},
	propReceiveMaximum:    {"receive maximum", kindUint16, 1 << CONNECT, true},
	propTopicAliasMaximum: {"topic alias maximum", kindUint16, 1 << CONNECT, false},
	propTopicAlias:        {"topic alias", kindUint16, 1 << PUBLISH, false},
	propUser:              {"user property", kindPair, 1<<CONNECT | inMessages | inAnswers | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE, false},
	propMaximumPacket:     {"maximum packet size", kindUint32, 1 << CONNECT, true},
}

// value is a property that came.
type value struct {
	id     byte
	number uint32 // of kinds with a number
	text   []byte // of kindText; it shares the body's memory
	raw    []byte // the whole property, identifier included, likewise
}

// properties reads the properties of a packet of type t and calls fn for each. Every property but the user property
// comes at most once (2.2.2.2).
func (c *cursor) properties(t Type, fn func(value)) {
	n := c.varint("property length")
	block := cursor{rest: c.take(int(n), "properties")}
	var seen uint64
	for len(block.rest) > 0 {
		start := block.rest
		id := block.varint("property identifier")
		if block.err == nil && (id >= uint32(len(properties)) || properties[id].in&(1<<t) == 0) {
			block.fail(violation("property %d does not belong %s", id, place(t)))
		}
		if block.err == nil && id != propUser && seen&(1<<id) != 0 {
			block.fail(violation("the %s comes twice", properties[id].name))
		}
		if block.err != nil {
			break
		}
		seen |= 1 << id
		v := block.value(byte(id))
		if block.err != nil {
			break
		}
		v.raw = start[:len(start)-len(block.rest)]
		fn(v)
	}
	if block.err != nil {
		c.fail(block.err)
	}
}

func place(t Type) string {
	if t == inWill {
		return "to a will"
	}
	return "into " + t.String()
}

// value reads what stands behind the identifier.
func (c *cursor) value(id byte) value {
	p, v := &properties[id], value{id: id}
	switch p.kind {
	case kindByte:
		v.number = uint32(c.byte(p.name))
		if v.number > 1 {
			c.fail(violation("the %s is neither 0 nor 1", p.name))
		}
	case kindUint16:
		v.number = uint32(c.uint16(p.name))
	case kindUint32:
		v.number = c.uint32(p.name)
	case kindVarint:
		v.number = c.varint(p.name)
	case kindText:
		v.text = c.utf8(p.name)
	case kindBinary:
		c.binary(p.name)
	case kindPair:
		c.utf8(p.name)
		c.utf8(p.name)
	}
	if p.nonzero && c.err == nil && v.number == 0 {
		c.fail(violation("the %s is 0", p.name))
	}
	return v
}

// messageProperties reads the properties of a PUBLISH or a will into m, and passes those to fn that only the server
// needs.
func (c *cursor) messageProperties(t Type, m *Message, fn func(value)) {
	c.properties(t, func(v value) {
		switch v.id {
		case propMessageExpiry:
			m.Expiry, m.Expires = v.number, true
			return
		case propTopicAlias, propWillDelay:
			fn(v)
			return
		case propResponseTopic:
			if !IsName(string(v.text)) {
				c.fail(violation("the response topic is empty or has a wildcard")) // 3.3.2-14
			}
		}
		m.Properties = append(m.Properties, v.raw...)
	})
}
