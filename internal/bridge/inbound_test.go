package bridge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"pgregory.net/rapid"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// script is a connection whose other side says what is in the reader, and whose writes are kept.
type script struct {
	net.Conn
	in  io.Reader
	out *bytes.Buffer
}

func (s script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s script) Close() error                { return nil }

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

// scriptedWire is a wire that reads from in and hands messages to the inlet.
func scriptedWire(t rapid.TB, in io.Reader, inlet inlet) (w *wire, out *bytes.Buffer) {
	near, far := net.Pipe()
	far.Close()
	out = &bytes.Buffer{}
	w = newWire(stream{Conn: script{near, in, out}, sock: newSock(near, defaultTiming(time.Minute))}, 1000)
	w.in.inlet = inlet
	return w, out
}

func encoded(p packets.ControlPacket) []byte {
	var b bytes.Buffer
	p.Write(&b)
	return b.Bytes()
}

func greeting() []byte { return []byte{typeConnack << 4, 2, 0, 0} }

// However the bytes arrive, every message is handed over once and in order, what is for the library reaches it
// unchanged, and each acknowledgement follows its message.
func TestMessagesAreTakenOutOfTheStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := slices.Clone(greeting())
		pass := slices.Clone(greeting())
		var want []string
		var acks []byte
		for i := range rapid.IntRange(0, 40).Draw(t, "packets") {
			id := uint16(i + 1)
			switch rapid.SampledFrom([]string{"publish", "publish", "publish", "large", "unreadable", "pingresp", "unsuback"}).Draw(t, "kind") {
			case "publish":
				p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
				p.Qos, p.MessageID = rapid.ByteRange(0, 2).Draw(t, "qos"), id
				p.Retain, p.TopicName = rapid.Bool().Draw(t, "retain"), rapid.SampledFrom([]string{"a", "b/c", strings.Repeat("x", 200), "é"}).Draw(t, "topic")
				p.Payload = bytes.Repeat([]byte{byte(i)}, rapid.IntRange(0, 1000).Draw(t, "size"))
				sent = append(sent, encoded(p)...)
				want = append(want, fmt.Sprintf("%s %d %t %x", p.TopicName, p.Qos, p.Retain, p.Payload))
				switch p.Qos {
				case 1:
					acks = append(acks, encoded(&packets.PubackPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Puback}, MessageID: id})...)
				case 2:
					again := *p
					again.Dup = true // not handed over a second time
					sent = append(sent, encoded(&again)...)
					sent = append(sent, encoded(&packets.PubrelPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Pubrel, Qos: 1}, MessageID: id})...)
					acks = append(acks, typePubrec<<4, 2, byte(id>>8), byte(id), typePubrec<<4, 2, byte(id>>8), byte(id), typePubcomp<<4, 2, byte(id>>8), byte(id))
				}
			case "large":
				name := rapid.SampledFrom([]string{"big", strings.Repeat("y", 40_000)}).Draw(t, "long name")
				p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
				p.TopicName, p.Payload = name, make([]byte, rapid.IntRange(1001, 100_000).Draw(t, "size"))
				sent = append(sent, encoded(p)...)
				want = append(want, fmt.Sprintf("%s 0 false %x", oversizeTopic, name))
			case "unreadable":
				sent = append(sent, typePublish<<4, 6, 0, 2, 0xff, 'a', 'x', 'y')
				want = append(want, unreadableTopic+" 0 false ff61")
			case "pingresp":
				sent, pass = append(sent, typePingresp<<4, 0), append(pass, typePingresp<<4, 0)
			case "unsuback":
				p := []byte{typeUnsuback << 4, 2, byte(id >> 8), byte(id)}
				sent, pass = append(sent, p...), append(pass, p...)
			}
		}
		var got []string
		unrested := false
		in := &pieces{rest: sent, sizes: rapid.SliceOfN(rapid.IntRange(1, 3000), 1, 5).Draw(t, "sizes")}
		w, out := scriptedWire(t, in, inlet{
			got: func(m Message) bool {
				got = append(got, fmt.Sprintf("%s %d %t %x", m.Topic, m.QoS, m.Retain, m.Payload))
				unrested = true
				return true
			},
			rest: func() { unrested = false },
		})
		library, _ := io.ReadAll(w)
		<-w.ended
		if !slices.Equal(got, want) {
			t.Errorf("messages: got %d %q\nwant %d %q", len(got), got, len(want), want)
		}
		if !bytes.Equal(library, pass) {
			t.Errorf("the library got %x\nwant %x", library, pass)
		}
		// What the end of the connection has cut off is not acknowledged; the rest is, in order.
		if !bytes.HasPrefix(acks, out.Bytes()) {
			t.Errorf("acknowledgements: got %x\nwant %x", out.Bytes(), acks)
		}
		if unrested {
			t.Error("no rest after the last message")
		}
	})
}

// A message that was not taken is the broker's to send again.
func TestWhatIsNotTakenIsNotAcknowledged(t *testing.T) {
	var rested []int
	n := 0
	w, out := scriptedWire(t, bytes.NewReader(append(greeting(), bytes.Repeat(publishPacket(1, 7), 5)...)), inlet{
		got:  func(Message) bool { n++; return n <= 3 },
		rest: func() { rested = append(rested, n) },
	})
	io.ReadAll(w)
	<-w.ended
	if want := bytes.Repeat([]byte{typePuback << 4, 2, 0, 7}, 3); !bytes.HasPrefix(want, out.Bytes()) {
		t.Errorf("acknowledgements: got %x", out.Bytes())
	}
	if !slices.Equal(rested, []int{5}) {
		t.Errorf("rests: got %v, want one after all five, which came together", rested)
	}
}

// A library that waits for a PINGRESP gets one while messages come, and never hears of them.
func TestMessagesProveThatTheBrokerLives(t *testing.T) {
	w, _ := scriptedWire(t, bytes.NewReader(append(greeting(), publishPacket(0, 0)...)), nowhere)
	head := make([]byte, 4)
	if _, err := io.ReadFull(w, head); err != nil {
		t.Fatal(err)
	}
	w.pinged.Store(true)
	got, _ := io.ReadAll(w)
	if want := []byte{typePingresp << 4, 0}; !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestMessageBeforeTheGreetingEndsTheLink(t *testing.T) {
	w, _ := scriptedWire(t, bytes.NewReader(publishPacket(0, 0)), inlet{got: func(Message) bool { t.Error("handed over"); return true }})
	if got, _ := io.ReadAll(w); len(got) > 0 {
		t.Errorf("the library got %x", got)
	}
}

// The budget of a message is four; the hub needs two or three.
func TestReceivingAllocatesLittle(t *testing.T) {
	const n = 1000
	stream := append(greeting(), bytes.Repeat(binary.BigEndian.AppendUint64(
		append([]byte{typePublish<<4 | 2, 2 + 4 + 2 + 8, 0, 4}, "a/bc\x00\x07"...), 1), n)...)
	buf := make([]byte, 64)
	allocs := testing.AllocsPerRun(10, func() {
		w, _ := scriptedWire(t, bytes.NewReader(stream), nowhere)
		for {
			if _, err := w.Read(buf); err != nil {
				return
			}
		}
	})
	if each := allocs / n; each > 1.2 {
		t.Errorf("got %.2f allocations a message, want 1: its payload", each)
	}
}

func BenchmarkInbound(b *testing.B) {
	packet := encoded(&packets.PublishPacket{
		FixedHeader: packets.FixedHeader{MessageType: packets.Publish, Qos: 1}, TopicName: "bench/x", MessageID: 7, Payload: make([]byte, 100),
	})
	in := io.MultiReader(bytes.NewReader(greeting()), endless{packet: bytes.Repeat(packet, 100), at: new(int)})
	n := 0
	done := make(chan struct{})
	w, _ := scriptedWire(b, in, inlet{got: func(Message) bool {
		if n++; n == b.N {
			close(done)
		}
		return n <= b.N
	}, rest: func() {}})
	b.ReportAllocs()
	b.SetBytes(int64(len(packet)))
	buf := make([]byte, 64)
	go func() {
		<-done
		w.fail(errLeft)
	}()
	for {
		if _, err := w.Read(buf); err != nil {
			break
		}
	}
	<-w.ended
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

// What a hostile broker may say ends the link at worst.
func FuzzInbound(f *testing.F) {
	f.Add([]byte{typePublish << 4, 3, 0, 1, 'a'})
	f.Add(publishPacket(1, 1))
	f.Add(append(publishPacket(2, 1), typePubrel<<4|2, 2, 0, 1))
	f.Add([]byte{typePublish << 4, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a'})
	f.Add([]byte{brokertest.SUBACK << 4, 3, 0, 1, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		w, _ := scriptedWire(t, bytes.NewReader(append(greeting(), in...)), inlet{
			got: func(m Message) bool {
				if len(m.Topic)+len(m.Payload) > len(in)+len(unreadableTopic) {
					t.Errorf("a message of %d bytes out of %d", len(m.Payload), len(in))
				}
				return true
			},
			rest: func() {},
		})
		io.Copy(io.Discard, w)
		<-w.ended
	})
}
