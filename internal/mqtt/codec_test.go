package mqtt

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	packets5 "github.com/eclipse/paho.golang/packets"
	packets4 "github.com/eclipse/paho.mqtt.golang/packets"
	"pgregory.net/rapid"
)

func drawMessage(t *rapid.T, v Version) Message {
	m := Message{
		Topic: rapid.SampledFrom([]string{"a", "b/c", strings.Repeat("x", 200), "é", strings.Repeat("y", 40_000)}).Draw(t, "topic"),
		QoS:   rapid.ByteRange(0, 2).Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain"),
		Payload: bytes.Repeat([]byte{7}, rapid.SampledFrom([]int{0, 1, 100, 127, 128, 16_384, 200_000}).Draw(t, "size")),
	}
	if v == V5 && rapid.Bool().Draw(t, "properties") {
		p := &Properties{
			Text: rapid.Bool().Draw(t, "text"), Expires: rapid.Bool().Draw(t, "expires"),
			ContentType: rapid.StringMatching(`[a-z/]{0,20}`).Draw(t, "type"), ResponseTopic: rapid.StringMatching(`[a-z/é]{0,20}`).Draw(t, "response"),
		}
		if p.Expires {
			p.Expiry = rapid.Uint32().Draw(t, "expiry")
		}
		if c := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "correlation"); len(c) > 0 {
			p.Correlation = c
		}
		for range rapid.IntRange(0, 5).Draw(t, "users") {
			p.User = append(p.User, UserProperty{rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "name"), rapid.StringMatching(`[a-zé]{0,9}`).Draw(t, "value")})
		}
		if !reflect.DeepEqual(p, &Properties{}) {
			m.Properties = p
		}
	}
	return m
}

// pahoPublish is what the libraries make of a message.
func pahoPublish(v Version, m Message, id uint16) []byte {
	var b bytes.Buffer
	if v == V311 {
		p := packets4.NewControlPacket(packets4.Publish).(*packets4.PublishPacket)
		p.Qos, p.Retain, p.TopicName, p.MessageID, p.Payload = m.QoS, m.Retain, m.Topic, id, m.Payload
		p.Write(&b)
		return b.Bytes()
	}
	p := &packets5.Publish{QoS: m.QoS, Retain: m.Retain, Topic: m.Topic, PacketID: id, Payload: m.Payload, Properties: &packets5.Properties{}}
	if have := m.Properties; have != nil {
		to := p.Properties
		if have.Text {
			one := byte(1)
			to.PayloadFormat = &one
		}
		if have.Expires {
			to.MessageExpiry = &have.Expiry
		}
		to.ContentType, to.ResponseTopic, to.CorrelationData = have.ContentType, have.ResponseTopic, have.Correlation
		for _, u := range have.User {
			to.User = append(to.User, packets5.User{Key: u.Name, Value: u.Value})
		}
	}
	p.WriteTo(&b)
	return b.Bytes()
}

// The packets that are encoded by hand are, to the byte, what the libraries make.
func TestHandMadePacketsAreTheLibraries(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		rapid.Check(t, func(t *rapid.T) {
			m, id := drawMessage(t, v), rapid.Uint16Range(1, 65535).Draw(t, "id")
			if got, want := appendPublish(nil, v, &m, id), pahoPublish(v, m, id); !bytes.Equal(got, want) {
				t.Fatalf("got %x\nwant %x", got[:min(len(got), 400)], want[:min(len(want), 400)])
			}
		})
		for kind, four := range map[PacketType]byte{PUBACK: packets4.Puback, PUBREC: packets4.Pubrec, PUBREL: packets4.Pubrel, PUBCOMP: packets4.Pubcomp} {
			p := packets4.NewControlPacket(four)
			reflect.ValueOf(p).Elem().FieldByName("MessageID").SetUint(0x1234)
			var want bytes.Buffer
			p.Write(&want)
			got := appendAck(nil, kind, 0x1234)
			if !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s: got %x, want %x", kind, got, want.Bytes())
			}
			five, err := packets5.ReadPacket(bytes.NewReader(got))
			if v == V5 && kind == PUBACK && (err != nil || five.PacketID() != 0x1234) {
				t.Errorf("%s in MQTT 5: got %v, %v", kind, five, err)
			}
		}
	})
}

// pieces gives what it has a few bytes at a time.
type pieces struct {
	rest  []byte
	sizes []int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(p.sizes) > 0 {
		n, p.sizes = p.sizes[0], append(p.sizes[1:], p.sizes[0])
	}
	n = copy(b, p.rest[:min(n, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// list is a Handler that keeps what it is given as text, and the messages.
type list struct {
	got      []string
	messages []Message
	unrested bool
	refuse   bool
}

func describe(m Message) string {
	return fmt.Sprintf("%s %d %t %x %+v", m.Topic, m.QoS, m.Retain, m.Payload, m.Properties)
}

func (l *list) Message(m Message) bool {
	l.got, l.messages, l.unrested = append(l.got, describe(m)), append(l.messages, m), true
	return !l.refuse
}
func (l *list) Skipped(s Skipped) bool {
	l.got, l.unrested = append(l.got, fmt.Sprintf("skipped %+v", s)), true
	return !l.refuse
}
func (l *list) Rest() { l.unrested = false }

// However the bytes arrive, every message is handed over once and in order, and each acknowledgement follows its message.
func TestMessagesAreHandedOverOnceAndInOrder(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		rapid.Check(t, func(t *rapid.T) {
			var sent, acks []byte
			var want []string
			for i := range rapid.IntRange(0, 40).Draw(t, "packets") {
				id := uint16(i + 1)
				if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
					sent = append(sent, 0xd0, 0)
					continue
				}
				m := drawMessage(t, v)
				packet := pahoPublish(v, m, id)
				sent = append(sent, packet...)
				if len(m.Payload) > 1000 {
					want = append(want, fmt.Sprintf("skipped %+v", Skipped{m.Topic, len(m.Payload), m.QoS, m.Retain}))
				} else {
					want = append(want, describe(m))
				}
				switch m.QoS {
				case 1:
					acks = appendAck(acks, PUBACK, id)
				case 2:
					packet[0] |= 8 // sent again, and not handed over a second time
					sent = appendAck(append(sent, packet...), PUBREL, id)
					acks = appendAck(appendAck(appendAck(acks, PUBREC, id), PUBREC, id), PUBCOMP, id)
				}
			}
			l := new(list)
			answers, err := serve(v, &pieces{rest: sent, sizes: rapid.SliceOfN(rapid.IntRange(1, 30_000), 1, 5).Draw(t, "sizes")}, l)
			if !slices.Equal(l.got, want) {
				t.Errorf("messages: got %d %.2000q\nwant %d %.2000q", len(l.got), l.got, len(want), want)
			}
			if !bytes.Equal(answers, acks) || err != io.EOF {
				t.Errorf("got %x, %v\nwant %x", answers, err, acks)
			}
			if l.unrested {
				t.Error("no rest after the last message")
			}
		})
	})
}

// A message that was not taken is the broker's to send again.
func TestWhatIsNotTakenIsNotAcknowledged(t *testing.T) {
	in := bytes.Repeat([]byte(pub(0x32, "a", "\x00\x07", "", "")), 5)
	if answers, _ := serve(V311, bytes.NewReader(in), &list{refuse: true}); len(answers) > 0 {
		t.Errorf("got %x", answers)
	}
}

// The budget of a message is its payload, and of a publication itself and its channel.
func TestHotPathsAllocateLittle(t *testing.T) {
	const n = 1000
	bothVersions(t, func(t *testing.T, v Version) {
		m := Message{Topic: "a/bc", QoS: 1, Payload: make([]byte, 8)}
		in := bytes.Repeat(appendPublish(nil, v, &m, 7), n)
		allocs := testing.AllocsPerRun(10, func() { serve(v, bytes.NewReader(in), forget{}) })
		if each := allocs / n; each > 1.2 {
			t.Errorf("in: got %.2f allocations a message, want 1: its payload", each)
		}
		c := &Conn{cfg: Config{Version: v}, limits: Connack{MaximumQoS: 2, Retain: true}, codec: codec4{}}
		c.moved.L, c.pubs.window = &c.mu, 0xffff
		allocs = testing.AllocsPerRun(10, func() {
			c.out.pending = c.out.pending[:0]
			for i := range n {
				c.Publish(NewPublication(m))
				c.completed(PUBACK, uint16(c.lastID), 0, "")
				_ = i
			}
		})
		if each := allocs / n; each > 2.2 {
			t.Errorf("out: got %.2f allocations a message, want 2", each)
		}
	})
}

// fuzz is what holds for whatever a broker sends: no panic, nothing larger than what came, and what was understood means
// the same when it is written again.
func fuzz(t *testing.T, v Version, in []byte) {
	l := new(list)
	serve(v, bytes.NewReader(in), l)
	size := 0
	var again []byte
	for i, m := range l.messages {
		size += len(m.Payload)
		m.QoS = 0 // so that no identifier is needed
		again = appendPublish(again, v, &m, 0)
		l.messages[i] = m
	}
	if size > len(in) {
		t.Errorf("payloads of %d bytes out of %d", size, len(in))
	}
	second := new(list)
	if _, err := serve(v, bytes.NewReader(again), second); err != io.EOF || !reflect.DeepEqual(l.messages, second.messages) {
		t.Errorf("written again: got %+v, %v\nwant %+v", second.messages, err, l.messages)
	}
}

func corpus(f *testing.F, v Version) {
	on := map[Version]int{V311: on4, V5: on5}[v]
	for _, h := range hostileCases {
		if h.on&on != 0 && h.connack == nil {
			f.Add([]byte(strings.NewReplacer("%0", "\x00\x01", "%9", "\x00\x02").Replace(h.raw)))
		}
	}
	m := Message{Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true}
	f.Add(appendPublish(nil, v, &m, 1))
	m.Properties = &Properties{Text: true, Expires: true, Expiry: 1, ContentType: "t", ResponseTopic: "r", Correlation: []byte{1}, User: []UserProperty{{"k", "v"}}}
	f.Add(appendAck(appendPublish(nil, v, &Message{Topic: "q", QoS: 2}, 3), PUBREL, 3))
}

func FuzzRead311(f *testing.F) {
	corpus(f, V311)
	f.Fuzz(func(t *testing.T, in []byte) { fuzz(t, V311, in) })
}

func FuzzRead5(f *testing.F) {
	corpus(f, V5)
	f.Fuzz(func(t *testing.T, in []byte) { fuzz(t, V5, in) })
}

func fuzzConnack(t *testing.T, v Version, in []byte) {
	cfg := Config{Version: v, KeepSession: true}.withDefaults()
	c := newConn(cfg, stream{Conn: script{in: bytes.NewReader(in)}, sock: &sock{}})
	if ack, err := c.in.connack(); err == nil && (ack.ReceiveMaximum == 0 || ack.MaximumQoS > 2) {
		t.Errorf("accepted: got %+v", ack)
	}
}

func FuzzConnack(f *testing.F) {
	for _, h := range hostileCases {
		if h.connack != nil {
			f.Add(h.connack)
		}
	}
	f.Add(accepted(V5))
	f.Fuzz(func(t *testing.T, in []byte) {
		fuzzConnack(t, V311, in)
		fuzzConnack(t, V5, in)
	})
}

func BenchmarkInbound(b *testing.B) {
	for _, v := range []Version{V311, V5} {
		b.Run(v.String(), func(b *testing.B) {
			m := Message{Topic: "bench/x", QoS: 1, Payload: make([]byte, 100)}
			packet := appendPublish(nil, v, &m, 7)
			b.ReportAllocs()
			b.SetBytes(int64(len(packet)))
			serve(v, io.LimitReader(endless{packet: bytes.Repeat(packet, 100), at: new(int)}, int64(b.N*len(packet))), forget{})
		})
	}
}

type endless struct {
	packet []byte
	at     *int
}

func (e endless) Read(p []byte) (int, error) {
	n := copy(p, e.packet[*e.at:])
	*e.at = (*e.at + n) % len(e.packet)
	return n, nil
}
