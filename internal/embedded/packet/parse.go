package packet

import "slices"

// maxFilters is how many filters a SUBSCRIBE or UNSUBSCRIBE may have: one takes many times the memory of its bytes.
const maxFilters = 10_000

var errFilters = &Error{QuotaExceeded, "a packet has more than 10000 topic filters"}

// parsePublish takes a PUBLISH apart. What it returns shares body's memory.
func parsePublish(flags byte, body []byte, version Version) (*Publish, *Error) {
	p := &Publish{Dup: flags&0x08 != 0, Message: Message{QoS: flags >> 1 & 3, Retain: flags&0x01 != 0}}
	if p.QoS == 3 {
		return nil, malformed("a PUBLISH has QoS 3") // 3.3.1-4
	}
	if p.QoS == 0 && p.Dup {
		return nil, malformed("a PUBLISH at QoS 0 has the DUP flag") // 3.3.1-2
	}
	in := &cursor{rest: body}
	p.Topic = in.text("topic name")
	if p.QoS > 0 {
		p.ID = in.id()
	}
	if version == V5 {
		in.messageProperties(PUBLISH, &p.Message, func(value) {
			// CONNACK announces no topic alias maximum, so there must be no alias (3.3.2-9).
			in.fail(&Error{TopicAliasInvalid, "a PUBLISH has a topic alias, which this server does not take"})
		})
	}
	switch {
	case in.err != nil:
	case p.Topic == "":
		in.fail(violation("the topic name is empty")) // 4.7.3-1
	case !IsName(p.Topic):
		in.fail(malformed("the topic name has a wildcard")) // 3.3.2-2
	case !isPlain(p.Topic):
		in.fail(&Error{TopicNameInvalid, "the topic name has a control character or a non-character"})
	case tooDeep(p.Topic):
		in.fail(&Error{TopicNameInvalid, "the topic name has more than 200 levels"})
	}
	p.Payload = in.rest
	return p, in.err
}

// parseAck takes a PUBACK, PUBREC, PUBREL or PUBCOMP apart.
func parseAck(t Type, body []byte, version Version) (Ack, *Error) {
	in := &cursor{rest: body}
	a := Ack{Type: t, ID: in.id()}
	if version == V5 {
		a.Reason = in.reason(t)
	}
	return a, in.end(t)
}

// reason reads a reason code and properties, which may both be left out when there is nothing to say (3.4.2.1).
func (c *cursor) reason(t Type) Reason {
	if len(c.rest) == 0 {
		return Success
	}
	r := Reason(c.byte("reason code"))
	if !slices.Contains(clientReasons[t], r) {
		c.fail(violation("%#x is no reason code of a client's %s", byte(r), t))
	}
	if len(c.rest) > 0 {
		c.properties(t, func(value) {})
	}
	return r
}

func parseSubscribe(body []byte, version Version) (*Subscribe, *Error) {
	in := &cursor{rest: body}
	p := &Subscribe{ID: in.id()}
	if version == V5 {
		in.properties(SUBSCRIBE, func(v value) {
			if v.id == propSubscriptionID {
				p.Identifier = v.number
			}
		})
	}
	if in.err == nil && len(in.rest) == 0 {
		in.fail(violation("a SUBSCRIBE has no topic filter")) // 3.8.3-2
	}
	for in.err == nil && len(in.rest) > 0 {
		if len(p.Subscription) == maxFilters {
			return nil, errFilters
		}
		s := in.filter()
		in.options(&s, version)
		p.Subscription = append(p.Subscription, s)
	}
	return p, in.err
}

// options reads the subscription options (3.8.3.1; 3.1.1: 3.8.3-4).
func (c *cursor) options(s *Subscription, version Version) {
	b := c.byte("subscription options")
	s.QoS, s.NoLocal, s.AsPublished, s.RetainHandling = b&3, b&4 != 0, b&8 != 0, b>>4&3
	switch {
	case c.err != nil:
	case version == V5 && b&0xC0 != 0, version != V5 && b&0xFC != 0:
		c.fail(malformed("reserved bits of the subscription options are set"))
	case s.QoS == 3:
		c.fail(malformed("a subscription has QoS 3"))
	case s.RetainHandling == 3:
		c.fail(violation("a subscription has retain handling 3"))
	case s.NoLocal && s.Group != "":
		c.fail(violation("a shared subscription has the no local option")) // 3.8.3-4
	}
}

func parseUnsubscribe(body []byte, version Version) (*Unsubscribe, *Error) {
	in := &cursor{rest: body}
	p := &Unsubscribe{ID: in.id()}
	if version == V5 {
		in.properties(UNSUBSCRIBE, func(value) {})
	}
	if in.err == nil && len(in.rest) == 0 {
		in.fail(violation("an UNSUBSCRIBE has no topic filter")) // 3.10.3-2
	}
	for in.err == nil && len(in.rest) > 0 {
		if len(p.Filter) == maxFilters {
			return nil, errFilters
		}
		p.Filter = append(p.Filter, in.filter())
	}
	return p, in.err
}

func parseDisconnect(body []byte, version Version) (*Disconnect, *Error) {
	in, p := &cursor{rest: body}, &Disconnect{}
	if version == V5 && len(body) > 0 {
		p.Reason = Reason(in.byte("reason code"))
		if !slices.Contains(clientReasons[DISCONNECT], p.Reason) {
			in.fail(violation("%#x is no reason code of a client's DISCONNECT", byte(p.Reason)))
		}
		if len(in.rest) > 0 {
			in.properties(DISCONNECT, func(v value) {
				if v.id == propSessionExpiry {
					p.SessionExpiry, p.HasExpiry = v.number, true
				}
			})
		}
	}
	return p, in.end(DISCONNECT)
}

func parseAuth(body []byte) (*Auth, *Error) {
	in := &cursor{rest: body}
	p := &Auth{Reason: in.reason(AUTH)}
	if in.err == nil && len(body) == 0 { // nothing means success, which only a server may say
		in.fail(violation("0x0 is no reason code of a client's AUTH"))
	}
	return p, in.end(AUTH)
}
