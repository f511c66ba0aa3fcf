package mqtt

import (
	"bytes"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// codec4 is MQTT 3.1.1. The library's decoders believe what they are told, so every packet is checked before.
type codec4 struct{}

func write4(p packets.ControlPacket) []byte {
	var b bytes.Buffer
	p.Write(&b) // into memory: it cannot fail
	return b.Bytes()
}

func (codec4) connect(cfg *Config) []byte {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion = "MQTT", byte(V311)
	p.CleanSession = !cfg.KeepSession
	p.Keepalive = uint16(cfg.KeepAlive.Seconds())
	p.ClientIdentifier = cfg.ClientID
	if cfg.Username != "" { // a password alone is not allowed, 3.1.2.9
		p.UsernameFlag, p.Username = true, cfg.Username
		p.PasswordFlag, p.Password = cfg.Password != "", []byte(cfg.Password)
	}
	return write4(p)
}

func (codec4) disconnect() []byte { return write4(packets.NewControlPacket(packets.Disconnect)) }

func (codec4) subscribe(id uint16, filters []Filter) []byte {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID = id
	for _, f := range filters {
		p.Topics, p.Qoss = append(p.Topics, f.Filter), append(p.Qoss, f.QoS)
	}
	return write4(p)
}

func (codec4) unsubscribe(id uint16, filters []string) []byte {
	p := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
	p.MessageID, p.Topics = id, filters
	return write4(p)
}

func (codec4) connack(cfg *Config, body []byte) (Connack, error) {
	if len(body) != 2 {
		return Connack{}, broken(CONNACK, "3.1.1, 3.2.1", "has %d bytes instead of 2", len(body))
	}
	var p packets.ConnackPacket
	p.Unpack(bytes.NewReader(body))
	if err := checkSession(cfg, body[0], ReasonCode(p.ReturnCode)); err != nil {
		return Connack{}, err
	}
	if p.ReturnCode != 0 {
		return Connack{}, &ConnectError{Version: V311, Code: ReasonCode(p.ReturnCode),
			OtherVersion: p.ReturnCode == 1 || ReasonCode(p.ReturnCode) == UnsupportedVersion}
	}
	return Connack{
		SessionPresent: p.SessionPresent, KeepAlive: uint16(cfg.KeepAlive.Seconds()), SessionExpiry: cfg.SessionExpiry,
		ReceiveMaximum: 0xffff, MaximumQoS: 2, Retain: true, Wildcards: true, Shared: true,
	}, nil
}

// checkSession checks the first byte of a CONNACK, which is alike in both versions (3.2.2.1): a session is there only
// where one was asked for, and the connection is accepted.
func checkSession(cfg *Config, flags byte, code ReasonCode) error {
	switch {
	case flags&^1 != 0:
		return broken(CONNACK, "3.2.2.1", "has the reserved bits 0x%02x", flags)
	case flags == 1 && code != 0:
		return broken(CONNACK, "3.2.2.1.1", "refuses, and has a session")
	case flags == 1 && !cfg.KeepSession:
		return broken(CONNACK, "3.2.2.1.1", "has a session although a clean one was asked for")
	}
	return nil
}

func (codec4) suback(body []byte) ([]ReasonCode, error) {
	p := packets.SubackPacket{}
	p.Unpack(bytes.NewReader(body))
	codes := make([]ReasonCode, len(p.ReturnCodes))
	for i, c := range p.ReturnCodes {
		if c > 2 && c != 0x80 {
			return nil, broken(SUBACK, "3.1.1, 3.9.3", "has the return code 0x%02x", c)
		}
		codes[i] = ReasonCode(c)
	}
	return codes, nil
}

// unsuback has no codes in 3.1.1: everything is unsubscribed.
func (codec4) unsuback(body []byte, asked int) ([]ReasonCode, error) {
	if len(body) != 2 {
		return nil, broken(UNSUBACK, "3.1.1, 3.11.2", "has %d bytes instead of 2", len(body))
	}
	return make([]ReasonCode, asked), nil
}

// disconnected: in 3.1.1 only clients send DISCONNECT.
func (codec4) disconnected(byte, []byte) error {
	return broken(DISCONNECT, "3.1.1, 3.14", "only a client may send")
}
