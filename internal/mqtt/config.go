package mqtt

import (
	"crypto/tls"
	"errors"
	"net/url"
	"time"
)

// Config is what a connection is made of. Only URL and Version are needed.
type Config struct {
	Version Version
	URL     *url.URL    // scheme mqtt, mqtts, ws or wss; credentials in it are not used
	TLS     *tls.Config // for mqtts and wss; nil: system roots

	// How the client introduces itself, MQTT 3.1.
	ClientID           string
	KeepSession        bool   // take up a session that the broker may have kept, and let it keep this one
	SessionExpiry      uint32 // seconds that the broker keeps it, on MQTT 5; 0xFFFFFFFF: for good
	Username, Password string // a password without a user name is not sent on 3.1.1

	// Handler is given what arrives; nil: it is acknowledged and forgotten.
	Handler Handler

	MaxPayload    int    // larger messages are skipped; 0: 256 KiB
	Window        uint16 // messages above QoS 0 that may be without an outcome, if the broker takes as many; 0: as many as it takes
	ReadAhead     int    // bytes that may be taken out of the kernel while messages are being handed over; 0: none
	ReceiveBuffer int    // bytes asked of the kernel, where it does not give more by itself; 0: none

	// When something counts as dead.
	ConnectTime time.Duration // dial, TLS, WebSocket and CONNACK together; 0: 5 s
	KeepAlive   time.Duration // silence, either way, until a PINGREQ; whole seconds; 0: 10 s
	PingTime    time.Duration // silence after that until the connection is dead; 0: 5 s
	WriteTime   time.Duration // a write that moves nothing for so long is dead; 0: 5 s
	AnswerTime  time.Duration // for SUBACK and UNSUBACK, which may queue behind many messages; 0: 1 min
	CloseTime   time.Duration // for the last write and the closing of the layers; 0: 500 ms
}

// A Handler is given what arrives, in order, by the one goroutine that reads. While it has not returned nothing is read.
type Handler interface {
	// Message is an application message. The payload is the handler's. What is not taken is not acknowledged.
	Message(m Message) (taken bool)

	// Skipped stands for a message whose payload is larger than MaxPayload, or its properties than 64 KiB. Its bytes
	// have been thrown away; taken is as above.
	Skipped(s Skipped) (taken bool)

	// Rest: all that has arrived has been handed over, and more is waited for. It is called once after any of the above.
	Rest()
}

// Skipped is what is known of a message that was too large.
type Skipped struct {
	Topic  string
	Size   int // of the payload, in bytes
	QoS    byte
	Retain bool
}

type forget struct{}

func (forget) Message(Message) bool { return true }
func (forget) Skipped(Skipped) bool { return true }
func (forget) Rest()                {}

func (c Config) withDefaults() Config {
	or := func(d *time.Duration, byDefault time.Duration) {
		if *d <= 0 {
			*d = byDefault
		}
	}
	or(&c.ConnectTime, 5*time.Second)
	or(&c.KeepAlive, 10*time.Second)
	or(&c.PingTime, 5*time.Second)
	or(&c.WriteTime, 5*time.Second)
	or(&c.AnswerTime, time.Minute)
	or(&c.CloseTime, 500*time.Millisecond)
	// MQTT counts it in two bytes of seconds, and 0 would switch it off.
	c.KeepAlive = min(max(c.KeepAlive.Truncate(time.Second), time.Second), 0xffff*time.Second)
	if c.MaxPayload <= 0 {
		c.MaxPayload = 256 << 10
	}
	if c.Handler == nil {
		c.Handler = forget{}
	}
	return c
}

// check finds what cannot be sent.
func (c *Config) check() error {
	switch {
	case c.Version != V311 && c.Version != V5:
		return errors.New("mqtt: the version is neither 3.1.1 nor 5")
	case c.URL == nil:
		return errors.New("mqtt: no URL")
	}
	for _, s := range []string{c.ClientID, c.Username} {
		if len(s) > 0xffff || !isText([]byte(s)) {
			return errors.New("mqtt: the client id and the user name are UTF-8 of at most 65535 bytes")
		}
	}
	if len(c.Password) > 0xffff {
		return errors.New("mqtt: the password has more than 65535 bytes")
	}
	return nil
}
