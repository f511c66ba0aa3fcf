package mqtt

import (
	"bytes"

	"github.com/eclipse/paho.golang/packets"
)

// codec5 is MQTT 5. The library's decoders accept properties twice, cut short and not in UTF-8, so every packet is
// checked before.
type codec5 struct{}

func write5(p packets.Packet) []byte {
	var b bytes.Buffer
	p.WriteTo(&b) // into memory: it cannot fail
	return b.Bytes()
}

func (codec5) connect(cfg *Config) []byte {
	p := &packets.Connect{
		ProtocolName: "MQTT", ProtocolVersion: byte(V5), CleanStart: !cfg.KeepSession,
		KeepAlive: uint16(cfg.KeepAlive.Seconds()), ClientID: cfg.ClientID, Properties: &packets.Properties{},
	}
	if cfg.Username != "" {
		p.UsernameFlag, p.Username = true, cfg.Username
	}
	if cfg.Password != "" {
		p.PasswordFlag, p.Password = true, []byte(cfg.Password)
	}
	if cfg.SessionExpiry > 0 {
		p.Properties.SessionExpiryInterval = &cfg.SessionExpiry
	}
	// No maximum packet size is given: a broker would leave larger messages out without a word, MQTT 3.1.2.11.4. Nor are
	// topic aliases, so there are none.
	return write5(p)
}

func (codec5) disconnect() []byte { return []byte{byte(DISCONNECT) << 4, 0} } // no reason: normal, 3.14.2.1

func (codec5) subscribe(id uint16, filters []Filter) []byte {
	p := &packets.Subscribe{PacketID: id, Properties: &packets.Properties{}}
	if n := int(filters[0].Identifier); n > 0 {
		p.Properties.SubscriptionIdentifier = &n
	}
	for _, f := range filters {
		p.Subscriptions = append(p.Subscriptions, packets.SubOptions{
			Topic: f.Filter, QoS: f.QoS, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
		})
	}
	return write5(p)
}

func (codec5) unsubscribe(id uint16, filters []string) []byte {
	return write5(&packets.Unsubscribe{PacketID: id, Topics: filters, Properties: &packets.Properties{}})
}

// cutProperties cuts checked properties, with their length, off what is left of a packet.
func cutProperties(packet PacketType, b []byte) (rest []byte, err error) {
	n, rest, ok := cutLength(b)
	if !ok || n > len(rest) {
		return nil, broken(packet, "2.2.2.1", "is cut short in its properties")
	}
	return rest[n:], eachProperty(packet, rest[:n], nil)
}

func (codec5) connack(cfg *Config, body []byte) (Connack, error) {
	if len(body) < 2 {
		return Connack{}, broken(CONNACK, "3.2.2", "has %d bytes", len(body))
	}
	code := ReasonCode(body[1])
	if err := checkSession(cfg, body[0], code); err != nil {
		return Connack{}, err
	}
	if len(body) == 2 { // without properties: the form of 3.1.1
		return Connack{}, &ConnectError{Version: V5, Code: code, OtherVersion: true}
	}
	rest, err := cutProperties(CONNACK, body[2:])
	if err != nil {
		return Connack{}, err
	}
	if len(rest) > 0 {
		return Connack{}, broken(CONNACK, "3.2.3", "goes on behind its properties")
	}
	p := packets.Connack{Properties: &packets.Properties{}}
	if err := p.Unpack(bytes.NewBuffer(body)); err != nil {
		return Connack{}, broken(CONNACK, "3.2", "cannot be read: %v", err)
	}
	if code != Success {
		return Connack{}, &ConnectError{Version: V5, Code: code, OtherVersion: code == UnsupportedVersion, Reason: p.Properties.ReasonString}
	}
	return limitsOf(cfg, &p)
}

// limitsOf reads what a CONNACK says beside yes, MQTT 3.2.2.3.
func limitsOf(cfg *Config, p *packets.Connack) (Connack, error) {
	v := p.Properties
	c := Connack{SessionPresent: p.SessionPresent, AssignedClientID: v.AssignedClientID}
	c.SessionExpiry = or(v.SessionExpiryInterval, cfg.SessionExpiry)
	c.KeepAlive = or(v.ServerKeepAlive, uint16(cfg.KeepAlive.Seconds()))
	c.ReceiveMaximum = or(v.ReceiveMaximum, 0xffff)
	c.MaximumQoS = or(v.MaximumQOS, 2)
	c.MaximumPacket = or(v.MaximumPacketSize, 0)
	for _, flag := range []struct {
		to   *bool
		from *byte
	}{{&c.Retain, v.RetainAvailable}, {&c.Wildcards, v.WildcardSubAvailable}, {&c.SubscriptionIDs, v.SubIDAvailable}, {&c.Shared, v.SharedSubAvailable}} {
		given := or(flag.from, 1)
		if given > 1 {
			return c, broken(CONNACK, "3.2.2.3", "has a flag that is neither 0 nor 1")
		}
		*flag.to = given == 1
	}
	switch {
	case c.ReceiveMaximum == 0:
		return c, broken(CONNACK, "3.2.2.3.3", "has the receive maximum 0")
	case v.MaximumQOS != nil && *v.MaximumQOS > 1:
		return c, broken(CONNACK, "3.2.2.3.4", "has the maximum QoS %d", *v.MaximumQOS)
	case v.MaximumPacketSize != nil && *v.MaximumPacketSize == 0:
		return c, broken(CONNACK, "3.2.2.3.6", "has the maximum packet size 0")
	}
	return c, nil
}

func or[T any](given *T, otherwise T) T {
	if given == nil {
		return otherwise
	}
	return *given
}

func (codec5) suback(body []byte) ([]ReasonCode, error) {
	if _, err := cutProperties(SUBACK, body[2:]); err != nil {
		return nil, err
	}
	p := packets.Suback{Properties: &packets.Properties{}}
	if err := p.Unpack(bytes.NewBuffer(body)); err != nil {
		return nil, broken(SUBACK, "3.9", "cannot be read: %v", err)
	}
	for _, c := range p.Reasons {
		if c > 2 && c < 0x80 {
			return nil, broken(SUBACK, "3.9.3", "has the reason code 0x%02x", c)
		}
	}
	return reasons(p.Reasons), nil
}

func (codec5) unsuback(body []byte, _ int) ([]ReasonCode, error) {
	if _, err := cutProperties(UNSUBACK, body[2:]); err != nil {
		return nil, err
	}
	p := packets.Unsuback{Properties: &packets.Properties{}}
	if err := p.Unpack(bytes.NewBuffer(body)); err != nil {
		return nil, broken(UNSUBACK, "3.11", "cannot be read: %v", err)
	}
	return reasons(p.Reasons), nil
}

func reasons(b []byte) []ReasonCode {
	codes := make([]ReasonCode, len(b))
	for i, c := range b {
		codes[i] = ReasonCode(c)
	}
	return codes
}

func (codec5) disconnected(flags byte, body []byte) error {
	if flags != 0 {
		return broken(DISCONNECT, "3.14.1", "has the reserved bits 0x%x", flags)
	}
	if len(body) == 0 {
		return &DisconnectError{Code: Success}
	}
	if len(body) > 1 {
		rest, err := cutProperties(DISCONNECT, body[1:])
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return broken(DISCONNECT, "3.14.3", "goes on behind its properties")
		}
	}
	p := packets.Disconnect{Properties: &packets.Properties{}}
	if err := p.Unpack(bytes.NewBuffer(body)); err != nil {
		return broken(DISCONNECT, "3.14", "cannot be read: %v", err)
	}
	return &DisconnectError{Code: ReasonCode(p.ReasonCode), Reason: p.Properties.ReasonString}
}
