package mqtt

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

const (
	on4 = 1 << iota
	on5
	onBoth = on4 | on5
)

// accepted is a CONNACK without anything special.
func accepted(v Version) []byte {
	if v == V5 {
		return []byte{0x20, 3, 0, 0, 0}
	}
	return []byte{0x20, 2, 0, 0}
}

// A hostile case is what a broker does wrong, and when.
type hostile struct {
	name string
	on   int // versions

	connack []byte // instead of a good one

	// The client publishes at QoS 1 or 2 ("pub1", "pub2") or subscribes to two filters ("sub"); the broker then sends
	// raw, in which %0 stands for the identifier that the client used, and %9 for one that nobody used. Without act raw
	// comes at once.
	act string
	raw string

	topic string // instead of raw: a PUBLISH on it

	want   PacketType // of the ProtocolError; 0: another error, whose text has word
	word   string
	lives  bool // it is no reason to end the connection
	handed int  // messages that the Handler is given
}

func str(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// pub is a PUBLISH of which only the given properties are for MQTT 5.
func pub(first byte, topic, id, properties, payload string) string {
	body := str(topic) + id + properties + payload
	return string(appendLength([]byte{first}, len(body))) + body
}

var hostileCases = []hostile{
	// CONNACK.
	{name: "reserved bits in CONNACK's header", on: on4, connack: []byte{0x21, 2, 0, 0}, want: CONNACK},
	{name: "reserved bits in CONNACK's flags", on: on4, connack: []byte{0x20, 2, 2, 0}, want: CONNACK},
	{name: "reserved bits in CONNACK's flags", on: on5, connack: []byte{0x20, 3, 0x80, 0, 0}, want: CONNACK},
	{name: "session on a clean start", on: on4, connack: []byte{0x20, 2, 1, 0}, want: CONNACK},
	{name: "session on a clean start", on: on5, connack: []byte{0x20, 3, 1, 0, 0}, want: CONNACK},
	{name: "session with a refusal", on: on5, connack: []byte{0x20, 3, 1, 0x87, 0}, want: CONNACK},
	{name: "CONNACK of one byte", on: onBoth, connack: []byte{0x20, 1, 0}, want: CONNACK},
	{name: "empty CONNACK", on: onBoth, connack: []byte{0x20, 0}, want: CONNACK},
	{name: "CONNACK of three bytes", on: on4, connack: []byte{0x20, 3, 0, 0, 0}, want: CONNACK},
	{name: "CONNACK with more than its properties", on: on5, connack: []byte{0x20, 4, 0, 0, 0, 0}, want: CONNACK},
	{name: "CONNACK with fewer properties than it says", on: on5, connack: []byte{0x20, 4, 0, 0, 3, 0x24}, want: CONNACK},
	{name: "CONNACK with a property twice", on: on5, connack: []byte{0x20, 7, 0, 0, 4, 0x24, 1, 0x24, 1}, want: CONNACK},
	{name: "CONNACK with a property of PUBLISH", on: on5, connack: []byte{0x20, 5, 0, 0, 2, 1, 1}, want: CONNACK},
	{name: "CONNACK with an unknown property", on: on5, connack: []byte{0x20, 5, 0, 0, 2, 0x7f, 1}, want: CONNACK},
	{name: "CONNACK with receive maximum 0", on: on5, connack: []byte{0x20, 6, 0, 0, 3, 0x21, 0, 0}, want: CONNACK},
	{name: "CONNACK with maximum packet size 0", on: on5, connack: []byte{0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 0}, want: CONNACK},
	{name: "CONNACK with maximum QoS 2", on: on5, connack: []byte{0x20, 5, 0, 0, 2, 0x24, 2}, want: CONNACK},
	{name: "CONNACK with retain available 2", on: on5, connack: []byte{0x20, 5, 0, 0, 2, 0x25, 2}, want: CONNACK},
	{name: "CONNACK that announces 256 MB", on: onBoth, connack: []byte{0x20, 0xff, 0xff, 0xff, 0x7f, 0, 0}, want: CONNACK},
	{name: "CONNACK with a length of five bytes", on: onBoth, connack: []byte{0x20, 0xff, 0xff, 0xff, 0xff, 0x7f}, want: CONNACK},
	{name: "PUBLISH before CONNACK", on: onBoth, connack: []byte(pub(0x30, "a", "", "", "")), want: PUBLISH},
	{name: "HTTP", on: onBoth, connack: []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), word: "it answers HTTP"},
	{name: "TLS", on: onBoth, connack: []byte{0x15, 3, 3, 0, 2, 2, 10}, word: "use mqtts://"},
	{name: "refusal", on: on4, connack: []byte{0x20, 2, 0, 4}, word: "user name or password"},
	{name: "refusal", on: on5, connack: []byte{0x20, 3, 0, 0x86, 0}, word: "user name or password"},
	{name: "refusal of the version", on: on4, connack: []byte{0x20, 2, 0, 1}, word: "does not speak MQTT 3.1.1"},
	{name: "refusal of the version in the form of 3.1.1", on: on5, connack: []byte{0x20, 2, 0, 1}, word: "does not speak MQTT 5"},
	{name: "CONNACK in the form of 3.1.1", on: on5, connack: []byte{0x20, 2, 0, 0}, word: "does not speak MQTT 5"},
	{name: "refusal with a reason of its own", on: on5, connack: []byte{0x20, 6, 0, 0x9f, 3, 31, 0, 0}, word: "connection rate exceeded"},
	{name: "nothing", on: onBoth, connack: []byte{}, word: "without an answer"},
	{name: "SSH", on: onBoth, connack: []byte("SSH-2.0-OpenSSH_9.2\r\n"), word: "does not speak MQTT:"},
	{name: "mail", on: onBoth, connack: []byte("220 mail.example ESMTP\r\n"), word: "does not speak MQTT:"},
	{name: "Redis", on: onBoth, connack: []byte("-ERR unknown command\r\n"), word: "does not speak MQTT:"},

	// What stands in no broker's book.
	{name: "second CONNACK", on: on4, raw: "\x20\x02\x00\x00", want: CONNACK},
	{name: "second CONNACK", on: on5, raw: "\x20\x03\x00\x00\x00", want: CONNACK},
	{name: "CONNECT", on: onBoth, raw: "\x10\x00", want: CONNECT},
	{name: "SUBSCRIBE", on: onBoth, raw: "\x82\x06\x00\x01\x00\x01a\x00", want: SUBSCRIBE},
	{name: "UNSUBSCRIBE", on: onBoth, raw: "\xa2\x05\x00\x01\x00\x01a", want: UNSUBSCRIBE},
	{name: "PINGREQ", on: onBoth, raw: "\xc0\x00", want: PINGREQ},
	{name: "AUTH", on: onBoth, raw: "\xf0\x00", want: AUTH},
	{name: "reserved packet 0", on: onBoth, raw: "\x00\x00", want: PacketType(0), word: "reserved packet"},
	{name: "DISCONNECT", on: on4, raw: "\xe0\x00", want: DISCONNECT},
	{name: "DISCONNECT with reserved bits", on: on5, raw: "\xe1\x00", want: DISCONNECT},
	{name: "DISCONNECT with a property of CONNACK", on: on5, raw: "\xe0\x04\x00\x02\x25\x01", want: DISCONNECT},
	{name: "DISCONNECT", on: on5, raw: "\xe0\x01\x8e", word: "session taken over"},
	{name: "DISCONNECT with a reason", on: on5, raw: "\xe0\x07\x8b\x05\x1f\x00\x02hm", word: "server shutting down"},
	{name: "PINGRESP with a body", on: onBoth, raw: "\xd0\x01\x00", want: PINGRESP},
	{name: "PINGRESP with reserved bits", on: onBoth, raw: "\xd1\x00", want: PINGRESP},
	{name: "PINGRESP that nobody asked for", on: onBoth, raw: "\xd0\x00", lives: true},
	{name: "length of five bytes", on: onBoth, raw: "\x30\xff\xff\xff\xff\x7f", want: PUBLISH},
	{name: "length with more bytes than it needs", on: onBoth, raw: "\x30\x83\x00\x00\x01a", want: PUBLISH},
	{name: "PUBACK that announces 1 MiB", on: onBoth, raw: "\x40\x80\x80\x40", want: PUBACK},
	{name: "end within a packet", on: onBoth, raw: "\x30\x10\x00\x01a", word: "unexpected EOF"},

	// PUBLISH.
	{name: "QoS 3", on: onBoth, raw: pub(0x36, "a", "\x00\x01", "\x00", ""), want: PUBLISH},
	{name: "QoS 0 sent again", on: onBoth, raw: pub(0x38, "a", "", "\x00", ""), want: PUBLISH},
	{name: "identifier 0", on: onBoth, raw: pub(0x32, "a", "\x00\x00", "\x00", ""), want: PUBLISH},
	{name: "no room for a topic", on: onBoth, raw: "\x30\x01\x00", want: PUBLISH},
	{name: "empty PUBLISH", on: onBoth, raw: "\x30\x00", want: PUBLISH},
	{name: "topic longer than the packet", on: onBoth, raw: "\x30\x03\x00\x09a", want: PUBLISH},
	{name: "no room for an identifier", on: onBoth, raw: "\x32\x04\x00\x01a\x00", want: PUBLISH},
	{name: "empty topic", on: on4, raw: pub(0x30, "", "", "", "x"), want: PUBLISH},
	{name: "empty topic", on: on5, raw: pub(0x30, "", "", "\x00", "x"), want: PUBLISH},
	{name: "topic not in UTF-8", on: onBoth, topic: "a\xff", want: PUBLISH},
	{name: "topic with a surrogate", on: onBoth, topic: "a\xed\xa0\x80", want: PUBLISH},
	{name: "topic with NUL", on: onBoth, topic: "a\x00b", want: PUBLISH},
	{name: "topic with +", on: onBoth, topic: "a/+", want: PUBLISH},
	{name: "topic with #", on: onBoth, topic: "#", want: PUBLISH},
	{name: "properties missing", on: on5, raw: pub(0x30, "a", "", "", ""), want: PUBLISH},
	{name: "properties longer than the packet", on: on5, raw: pub(0x30, "a", "", "\x09", ""), want: PUBLISH},
	{name: "properties with a length of five bytes", on: on5, raw: pub(0x30, "a", "", "\xff\xff\xff\xff\x01", ""), want: PUBLISH},
	{name: "property of CONNACK", on: on5, raw: pub(0x30, "a", "", "\x03\x21\x00\x01", ""), want: PUBLISH},
	{name: "unknown property", on: on5, raw: pub(0x30, "a", "", "\x02\x05\x00", ""), want: PUBLISH},
	{name: "property twice", on: on5, raw: pub(0x30, "a", "", "\x04\x01\x01\x01\x01", ""), want: PUBLISH},
	{name: "property cut short", on: on5, raw: pub(0x30, "a", "", "\x03\x02\x00\x00", ""), want: PUBLISH},
	{name: "string property cut short", on: on5, raw: pub(0x30, "a", "", "\x03\x03\x00\x09", ""), want: PUBLISH},
	{name: "user property without a value", on: on5, raw: pub(0x30, "a", "", "\x04\x26\x00\x01k", ""), want: PUBLISH},
	{name: "user property not in UTF-8", on: on5, raw: pub(0x30, "a", "", "\x07\x26\x00\x01k\x00\x01\xff", ""), want: PUBLISH},
	{name: "content type not in UTF-8", on: on5, raw: pub(0x30, "a", "", "\x04\x03\x00\x01\xff", ""), want: PUBLISH},
	{name: "response topic with a wildcard", on: on5, raw: pub(0x30, "a", "", "\x04\x08\x00\x01#", ""), want: PUBLISH},
	{name: "payload format 2", on: on5, raw: pub(0x30, "a", "", "\x02\x01\x02", ""), want: PUBLISH},
	{name: "subscription identifier without end", on: on5, raw: pub(0x30, "a", "", "\x02\x0b\xff", ""), want: PUBLISH},
	{name: "topic alias, and none is allowed", on: on5, raw: pub(0x30, "a", "", "\x03\x23\x00\x01", ""), want: PUBLISH},
	{name: "topic alias 0", on: on5, raw: pub(0x30, "a", "", "\x03\x23\x00\x00", ""), want: PUBLISH},
	{name: "topic alias in the place of a topic", on: on5, raw: pub(0x30, "", "", "\x03\x23\x00\x02", ""), want: PUBLISH},
	{name: "256 MB", on: onBoth, raw: "\x30\xff\xff\xff\x7f\x00\x01a\x00", want: PUBLISH},
	{name: "200 MB of properties", on: on5, raw: "\x30\x80\x84\xaf\x5f\x00\x01a\xf0\x83\xaf\x5f", word: "EOF"},
	{name: "200 MB of payload", on: onBoth, raw: "\x30\x80\x84\xaf\x5f\x00\x01a\x00", word: "EOF"},
	{name: "subscription identifiers that nobody asked for", on: on5, raw: pub(0x30, "a", "", "\x04\x0b\x01\x0b\x02", ""), lives: true, handed: 1},
	{name: "QoS 2 twice, once handed over", on: on4, lives: true, handed: 1,
		raw: pub(0x34, "a", "\x00\x07", "", "") + pub(0x3c, "a", "\x00\x07", "", "")},
	{name: "QoS 2 twice, once handed over", on: on5, lives: true, handed: 1,
		raw: pub(0x34, "a", "\x00\x07", "\x00", "") + pub(0x3c, "a", "\x00\x07", "\x00", "")},

	// Answers to what was published.
	{name: "PUBACK for nothing", on: onBoth, raw: "\x40\x02\x00\x01", want: PUBACK},
	{name: "PUBREC for nothing", on: onBoth, raw: "\x50\x02\x00\x01", want: PUBREC},
	{name: "PUBCOMP for nothing", on: onBoth, raw: "\x70\x02\x00\x01", want: PUBCOMP},
	{name: "PUBREL for nothing", on: onBoth, raw: "\x62\x02\x00\x01", lives: true},
	{name: "PUBACK with another identifier", on: onBoth, act: "pub1", raw: "\x40\x02%9", want: PUBACK},
	{name: "PUBACK with identifier 0", on: onBoth, act: "pub1", raw: "\x40\x02\x00\x00", want: PUBACK},
	{name: "PUBACK of one byte", on: onBoth, act: "pub1", raw: "\x40\x01\x00", want: PUBACK},
	{name: "PUBACK with a reason", on: on4, act: "pub1", raw: "\x40\x03%0\x10", want: PUBACK},
	{name: "PUBACK with reserved bits", on: onBoth, act: "pub1", raw: "\x42\x02%0", want: PUBACK},
	{name: "PUBACK with a property of PUBLISH", on: on5, act: "pub1", raw: "\x40\x06%0\x00\x02\x01\x01", want: PUBACK},
	{name: "PUBACK with too few properties", on: on5, act: "pub1", raw: "\x40\x04%0\x00\x05", want: PUBACK},
	{name: "PUBACK with too many properties", on: on5, act: "pub1", raw: "\x40\x05%0\x00\x00\x00", want: PUBACK},
	{name: "PUBACK with reason strings", on: on5, act: "pub1", raw: "\x40\x0a%0\x00\x06\x1f\x00\x00\x1f\x00\x00", want: PUBACK},
	{name: "PUBACK twice", on: onBoth, act: "pub1", raw: "\x40\x02%0\x40\x02%0", lives: true},
	{name: "PUBACK for QoS 2", on: onBoth, act: "pub2", raw: "\x40\x02%0", want: PUBACK},
	{name: "PUBREC for QoS 1", on: onBoth, act: "pub1", raw: "\x50\x02%0", want: PUBREC},
	{name: "PUBCOMP for QoS 1", on: onBoth, act: "pub1", raw: "\x70\x02%0", want: PUBCOMP},
	{name: "PUBCOMP without PUBREC", on: onBoth, act: "pub2", raw: "\x70\x02%0", want: PUBCOMP},
	{name: "PUBREC twice", on: onBoth, act: "pub2", raw: "\x50\x02%0\x50\x02%0\x70\x02%0", lives: true},
	{name: "PUBREL without its bit", on: onBoth, raw: "\x60\x02\x00\x01", want: PUBREL},

	// Answers to what was subscribed.
	{name: "SUBACK for nothing", on: on4, raw: "\x90\x03\x00\x01\x00", want: SUBACK},
	{name: "SUBACK for nothing", on: on5, raw: "\x90\x04\x00\x01\x00\x00", want: SUBACK},
	{name: "SUBACK for a PUBLISH", on: on4, act: "pub1", raw: "\x90\x03%0\x00", want: SUBACK},
	{name: "SUBACK twice", on: on4, act: "sub", raw: "\x90\x04%0\x00\x00\x90\x04%0\x00\x00", want: SUBACK},
	{name: "SUBACK twice", on: on5, act: "sub", raw: "\x90\x05%0\x00\x00\x00\x90\x05%0\x00\x00\x00", want: SUBACK},
	{name: "SUBACK with too many codes", on: on4, act: "sub", raw: "\x90\x06%0\x00\x00\x00\x00", want: SUBACK},
	{name: "SUBACK with too many codes", on: on5, act: "sub", raw: "\x90\x06%0\x00\x00\x00\x00", want: SUBACK},
	{name: "SUBACK with too few codes", on: on4, act: "sub", raw: "\x90\x03%0\x00", want: SUBACK},
	{name: "SUBACK without codes", on: onBoth, act: "sub", raw: "\x90\x02%0", want: SUBACK},
	{name: "SUBACK with the code 3", on: on4, act: "sub", raw: "\x90\x04%0\x00\x03", want: SUBACK},
	{name: "SUBACK with the code 3", on: on5, act: "sub", raw: "\x90\x05%0\x00\x00\x03", want: SUBACK},
	{name: "SUBACK with too few properties", on: on5, act: "sub", raw: "\x90\x05%0\x7f\x00\x00", want: SUBACK},
	{name: "UNSUBACK for a SUBSCRIBE", on: on4, act: "sub", raw: "\xb0\x02%0", want: UNSUBACK},
	{name: "PUBACK for a SUBSCRIBE", on: onBoth, act: "sub", raw: "\x40\x02%0", want: PUBACK},
	{name: "UNSUBACK with codes", on: on4, act: "unsub", raw: "\xb0\x03%0\x00", want: UNSUBACK},
	{name: "UNSUBACK with too few codes", on: on5, act: "unsub", raw: "\xb0\x03%0\x00", want: UNSUBACK},
}

// What a broker may do ends the connection at worst, with an error that says what was wrong; and the process does not
// grow by what is only announced.
func TestHostileBrokerEndsTheConnectionOnly(t *testing.T) {
	before := residentMiB(t)
	for _, test := range hostileCases {
		for v, bit := range map[Version]int{V311: on4, V5: on5} {
			if test.on&bit != 0 {
				t.Run(test.name+", MQTT "+v.String(), func(t *testing.T) { test.run(t, v) })
			}
		}
	}
	if grown := residentMiB(t) - before; grown > 128 {
		t.Errorf("memory grew by %d MiB", grown)
	}
}

func (h *hostile) run(t *testing.T, v Version) {
	raw, none := h.raw, string(make([]byte, int(v-V311))) // no properties: nothing, or a 0
	if h.topic != "" {
		raw = pub(0x30, h.topic, "", none, "x")
	}
	broker := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		if _, _, _, err := c.ReadPacket(); err != nil {
			return
		}
		if h.connack != nil {
			c.Write(h.connack)
			return
		}
		c.Write(accepted(v))
		var id []byte
		if h.act != "" {
			kind, _, body, err := c.ReadPacket()
			if err != nil {
				return
			}
			id = body[:2]
			if kind == brokertest.PUBLISH {
				id = body[3:5]
			}
		}
		other := binary.BigEndian.AppendUint16(nil, 4711)
		c.Write([]byte(strings.NewReplacer("%0", string(id), "%9", string(other)).Replace(raw)))
		if h.word != "" && strings.Contains(h.word, "EOF") {
			return
		}
		for {
			kind, _, _, err := c.ReadPacket()
			if err != nil || kind == brokertest.DISCONNECT {
				return
			}
			if kind == brokertest.PINGREQ && h.lives {
				c.Write([]byte(pub(0x30, "end", "", none, "")))
			}
		}
	})
	rec := newRecorder()
	c, err := tryDial(t, broker.URL(), v, func(c *Config) { c.Handler = rec })
	if h.connack == nil {
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		h.provoke(t, c)
		if h.lives {
			c.Ping()
			rec.wait(t, "end", func() bool { return len(rec.messages) > 0 && rec.messages[len(rec.messages)-1].Topic == "end" })
			if got := len(rec.messages) - 1; got != h.handed || c.Err() != nil {
				t.Errorf("got %d messages, %v, want %d", got, c.Err(), h.handed)
			}
			return
		}
		err = ended(t, c)
	}
	h.check(t, err)
	if len(rec.messages) > h.handed {
		t.Errorf("handed over: got %+v", rec.messages)
	}
}

func (h *hostile) provoke(t *testing.T, c *Conn) {
	switch h.act {
	case "pub1", "pub2":
		qos, _ := strconv.Atoi(h.act[3:])
		c.Publish(NewPublication(Message{Topic: "a", QoS: byte(qos)}))
	case "sub":
		go c.Subscribe(within(t), []Filter{{Filter: "a"}, {Filter: "b"}})
	case "unsub":
		go c.Unsubscribe(within(t), []string{"a", "b"})
	}
}

func (h *hostile) check(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	broken, ok := errors.AsType[*ProtocolError](err)
	switch {
	case h.word != "":
		if !strings.Contains(err.Error(), h.word) {
			t.Errorf("got %q, want %q in it", err, h.word)
		}
	case !ok || broken.Packet != h.want || broken.Clause == "":
		t.Errorf("got %v, want a protocol error of %s", err, h.want)
	}
}

func residentMiB(t *testing.T) int {
	stat, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(stat))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}
