package devicecom

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestTooLargeMessagesAreLeftOutAndCounted(t *testing.T) {
	b := startBroker(t)
	c := brokertest.Dial(t, b.Addr())
	publish(t, c, "large", strings.Repeat("x", 2000), true) // it comes with every connection
	vals, book := logged(t, b.Addr(), Options{MaxPacketBytes: 1000})
	fits := strings.Repeat("y", 1000-2-2-len("small")-1)
	publish(t, c, "large", strings.Repeat("x", 900_000), false)
	publish(t, c, "small", fits, false)
	if got := next(t, vals); got.Topic != "small" || got.Value != fits {
		t.Errorf("got %.50v on %s, want what fits", got.Value, got.Topic)
	}
	if got := vals.Drops(); got.TooLarge != 2 {
		t.Errorf("Drops: got %+v, want 2 too large", got)
	}
	book.wait(t, "was left out", 1)
	if n := b.Connections(); n != 2 {
		t.Errorf("got %d connections, want 2: none was lost", n)
	}
}

// What a broker may send to do harm. None of it reaches the library, which would
// panic at some and reserve what others announce; the client connects again.
func TestHostilePacketsEndTheConnectionOnly(t *testing.T) {
	for name, packet := range map[string]string{
		"SUBACK with two codes":    "\x90\x04\x00\x01\x00\x00",
		"SUBACK again":             "\x90\x03\x12\x34\x00",
		"CONNACK again":            "\x20\x02\x00\x00",
		"UNSUBACK":                 "\xb0\x02\x00\x01",
		"CONNECT":                  "\x10\x00",
		"type 0":                   "\x00\x00",
		"type 15":                  "\xf0\x00",
		"length without end":       "\x30\xff\xff\xff\xff\x7f",
		"256 MB PUBACK":            "\x40\xff\xff\xff\x7f",
		"topic beyond the packet":  "\x30\x04\xff\xff\x61\x62",
		"PUBLISH without a topic":  "\x30\x01\x00",
		"PUBLISH with QoS 3":       "\x36\x05\x00\x01\x61\x00\x01",
		"PUBLISH without its id":   "\x32\x03\x00\x01\x61",
		"PUBACK of half an id":     "\x40\x01\x00",
		"PUBACK of nobody":         "\x40\x02\x12\x34",
		"PUBREL of nobody":         "\x62\x02\x12\x34",
		"half a packet, then none": "\x30\x10\x00\x01a",
	} {
		t.Run(name, func(t *testing.T) {
			var connections atomic.Int32
			fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
				connections.Add(1)
				_ = c.AcceptConnect(0)
				_ = c.Serve(func(kind, _ byte, body []byte) bool {
					if kind != brokertest.SUBSCRIBE || c.Number > 1 {
						return false
					}
					if strings.HasPrefix(name, "SUBACK with") {
						_ = c.Write([]byte(packet))
					} else {
						_ = c.Suback(uint16(body[0])<<8|uint16(body[1]), 0)
						_ = c.Write([]byte(packet))
					}
					if strings.HasSuffix(name, "of nobody") || strings.HasPrefix(name, "half") {
						c.Close() // these are no fault of the protocol
					}
					return true
				})
			})
			vals := connect(t, fake.Addr(), Options{})
			until(t, "connected again", func() bool {
				return connections.Load() > 1 && vals.Publish(t.Context(), "a", 1) == nil
			})
		})
	}
}

// 256 MB that never come: nothing is reserved for them.
func TestAnnouncedBytesAreNotReserved(t *testing.T) {
	o := Options{MaxPacketBytes: 1000, Filters: []string{"#"}, timing: usual}
	left := 0
	c := newConn(&scripted{Reader: io.MultiReader(
		strings.NewReader("\x20\x02\x00\x00\x90\x03\x00\x01\x00\x30\xff\xff\xff\x7f"),
		io.LimitReader(zeros{}, 268435455), strings.NewReader("\xd0\x00"))}, &o, func() { left++ })
	var got bytes.Buffer
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = io.CopyBuffer(onlyWriter{&got}, onlyReader{c}, make([]byte, 100))
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if want := "\x20\x02\x00\x00\x90\x03\x00\x01\x00\xd0\x00"; got.String() != want || left != 1 || allocated > 1<<20 {
		t.Errorf("got %q, %d left out, %d bytes allocated; want %q, 1 and little", got.String(), left, allocated, want)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// scripted is a net.Conn that gives bytes.
type scripted struct {
	io.Reader
	closed bool
}

func (s *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s *scripted) Close() error                     { s.closed = true; return nil }
func (s *scripted) LocalAddr() net.Addr              { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// Whatever comes, what is handed to the library is a sequence of whole packets
// of the kinds and sizes that are due, and a fault ends the connection.
func FuzzConn(f *testing.F) {
	f.Add([]byte("\x20\x02\x00\x00\x90\x03\x00\x01\x00\x30\x04\x00\x01ab\xd0\x00"))
	f.Add([]byte("\x20\x02\x00\x05"))
	f.Add([]byte("\x20\x02\x00\x00\x30\xff\xff\xff\xff\x01"))
	f.Add([]byte("HTTP/1.1 400"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := Options{MaxPacketBytes: 300, Filters: []string{"#"}, timing: usual}
		under := &scripted{Reader: bytes.NewReader(data)}
		c := newConn(under, &o, func() {})
		var got bytes.Buffer
		_, err := io.CopyBuffer(onlyWriter{&got}, onlyReader{c}, make([]byte, 7))
		if !under.closed || c.cause() == nil {
			t.Fatalf("not closed at the end: %v", err)
		}
		r := bytes.NewReader(got.Bytes())
		for first := true; r.Len() > 0; first = false {
			kind, body, err := readPacket(r)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return // cut short, as the input was
			}
			if err != nil {
				t.Fatal(err)
			}
			if (kind == typeConnack) != first || kind == typeConnack && len(body) != 2 || kind == typeSuback && len(body) != 3 || len(body) > 300 {
				t.Fatalf("packet of type %d with %d bytes was handed over", kind, len(body))
			}
		}
	})
}

// readPacket is the plain reading of a packet, as the library does it.
func readPacket(r *bytes.Reader) (kind byte, body []byte, err error) {
	first, _ := r.ReadByte()
	length := 0
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, nil, io.ErrUnexpectedEOF
		}
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	body = make([]byte, min(length, r.Len()))
	_, _ = r.Read(body)
	if len(body) < length {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return first >> 4, body, nil
}
