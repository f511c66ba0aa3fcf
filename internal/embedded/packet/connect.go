package packet

// maxClientID is how long a client identifier may be. The standard asks for 23 bytes and allows more (3.1.3-5).
const maxClientID = 1024

// parseConnect takes a CONNECT apart. The version is valid as soon as it could be read, also beside an error: it says
// in which form the answer has to be. It is 0 if it was not.
func parseConnect(body []byte) (c *Connect, version Version, err *Error) {
	in := &cursor{rest: body}
	version, err = in.protocol()
	if err != nil {
		return nil, version, err
	}
	p := &Connect{Version: version, ReceiveMaximum: 65535}
	flags := in.byte("connect flags")
	if err := checkFlags(flags, version); in.err == nil && err != nil {
		return nil, version, err
	}
	p.Clean = flags&0x02 != 0
	p.KeepAlive = in.uint16("keep alive")
	if version == V5 {
		in.connectProperties(p)
	}
	p.ClientID = in.text("client identifier")
	if flags&0x04 != 0 {
		p.Will = in.will(flags, version)
	}
	if flags&0x80 != 0 {
		in.utf8("user name")
	}
	if flags&0x40 != 0 {
		in.binary("password")
	}
	if err := in.end(CONNECT); err != nil {
		return nil, version, err
	}
	if err := p.checkClientID(); err != nil {
		return nil, version, err
	}
	return p, version, nil
}

// protocol reads the name and the level. Those who speak a level that is not known are told in the form of 3.1.1, which
// they understand best: a bridge of mosquitto tries level 0x84 and falls back to 4 when it gets return code 1.
func (c *cursor) protocol() (Version, *Error) {
	name := c.text("protocol name")
	level := c.byte("protocol level")
	switch {
	case c.err != nil:
		return 0, c.err
	case name != "MQTT" && name != "MQIsdp":
		return 0, malformed("the protocol name is not MQTT") // 3.1.2-1
	case name == "MQIsdp" && level == 3:
		return V31, nil
	case name == "MQTT" && (level == 4 || level == 5):
		return Version(level), nil
	}
	return V311, &Error{UnsupportedVersion, "the protocol level is not one of 3, 4 and 5"} // 3.1.2-2
}

// checkFlags looks at the connect flags (3.1.2-3, 3.1.2-11 to 3.1.2-15; 3.1.1: 3.1.2-22).
func checkFlags(flags byte, version Version) *Error {
	will := flags&0x04 != 0
	switch {
	case flags&0x01 != 0:
		return malformed("the reserved bit of the connect flags is set")
	case !will && flags&0x38 != 0:
		return malformed("there is no will, but its QoS or its retain flag is set")
	case flags&0x18 == 0x18:
		return malformed("the will has QoS 3")
	case version != V5 && flags&0xC0 == 0x40:
		return malformed("there is a password without a user name")
	}
	return nil
}

func (c *cursor) connectProperties(p *Connect) {
	authData := false
	c.properties(CONNECT, func(v value) {
		switch v.id {
		case propSessionExpiry:
			p.SessionExpiry = v.number
		case propReceiveMaximum:
			p.ReceiveMaximum = uint16(v.number)
		case propMaximumPacket:
			p.MaximumPacket = v.number
		case propAuthMethod:
			p.AuthMethod = string(v.text)
		case propAuthData:
			authData = true
		}
	})
	if authData && p.AuthMethod == "" {
		c.fail(violation("there is authentication data without a method"))
	}
}

func (c *cursor) will(flags byte, version Version) *Will {
	w := &Will{Message: Message{QoS: flags >> 3 & 3, Retain: flags&0x20 != 0}}
	if version == V5 {
		c.messageProperties(inWill, &w.Message, func(v value) { w.Delay = v.number })
	}
	w.Topic = c.text("will topic")
	w.Payload = c.binary("will payload")
	switch {
	case c.err != nil:
	case !IsName(w.Topic):
		c.fail(malformed("the will topic is empty or has a wildcard"))
	case !isPlain(w.Topic):
		c.fail(&Error{TopicNameInvalid, "the will topic has a control character or a non-character"})
	case tooDeep(w.Topic):
		c.fail(malformed("the will topic has more than %d levels", MaxLevels))
	}
	return w
}

// checkClientID looks at the client identifier (3.1.3-8; 3.1.1: 3.1.3-7).
func (p *Connect) checkClientID() *Error {
	switch {
	case len(p.ClientID) > maxClientID:
		return &Error{InvalidClientID, "the client identifier is longer than 1024 bytes"}
	case p.ClientID != "" || p.Version == V5:
		return nil
	case p.Version == V31:
		return &Error{InvalidClientID, "the client identifier is empty"}
	case !p.Clean:
		return &Error{InvalidClientID, "the client identifier is empty, so there can be no session that is kept"}
	}
	return nil
}
