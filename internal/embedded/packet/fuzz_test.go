package packet

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"testing"

	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

// FuzzReader reads anything as what a client sends. It must not panic; what it takes for a PUBLISH must come out of the
// writer as a packet that other decoders read, and that it takes for the same again.
func FuzzReader(f *testing.F) {
	for _, p := range brokenPackets() {
		f.Add(raw.Join(raw.Connect(p.version, 2, raw.Props(), "c"), p.packet))
	}
	for _, p := range brokenConnects() {
		f.Add(p.packet)
	}
	for _, version := range []byte{3, 4, 5} {
		var props []byte
		if version == 5 {
			props = raw.Props(raw.User("a", "b"))
		}
		f.Add(raw.Join(raw.Connect(version, 0xC6, props, "c", props, raw.Text("w"), raw.Text("x"), raw.Text("u"), raw.Text("p")),
			raw.Subscribe(1, props, "a/+/#", 1), raw.Publish(2, "a/b", 1, props, "x"), []byte{0x40, 2, 0, 1, 0xC0, 0},
			raw.Packet(0xA2, raw.U16(2), props, raw.Text("a/+/#")), []byte{0xE0, 0}))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream), testLimit, NewBudget(math.MaxInt64))
		_, err := r.Connect()
		for err == nil {
			var p any
			if p, err = r.Next(); err == nil {
				checkPublish(t, p, r.Version())
			}
		}
		var bad *Error
		if !errors.As(err, &bad) && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("got error %v, want an Error or the end of the stream", err)
		}
		if bad != nil && (bad.Reason < Unspecified || bad.Text == "") {
			t.Fatalf("got %+v, want a failure with a text", bad)
		}
	})
}

func checkPublish(t *testing.T, p any, v Version) {
	in, ok := p.(*Publish)
	if !ok {
		return
	}
	d := &Delivery{Message: &in.Message, QoS: in.QoS, Retain: in.Retain, Dup: in.Dup, ID: in.ID, Expiry: in.Expiry}
	out := append(AppendPublish(nil, v, d), in.Payload...)
	if len(out) != PublishSize(v, d) {
		t.Fatalf("got %d bytes, want %d", len(out), PublishSize(v, d))
	}
	if _, err := raw.Read(bufio.NewReader(bytes.NewReader(out)), byte(v)); err != nil {
		t.Fatalf("%+v: %v", in, err)
	}
	again, err := next(byte(v), out)
	if err != nil || !reflect.DeepEqual(again, p) {
		t.Fatalf("got %+v, error %v, want the same as before: %+v", again, err, p)
	}
}

func BenchmarkReadPublish(b *testing.B) {
	for name, p := range map[string][]byte{
		"3.1.1":                raw.Publish(2, "sensors/kitchen/temperature", 1, nil, "21.5"),
		"5":                    raw.Publish(2, "sensors/kitchen/temperature", 1, raw.Props(), "21.5"),
		"5 with user property": raw.Publish(2, "sensors/kitchen/temperature", 1, raw.Props(raw.User("unit", "celsius")), "21.5"),
		"3.1.1 100 KB":         raw.Publish(2, "sensors/kitchen/temperature", 1, nil, string(make([]byte, 100_000))),
	} {
		b.Run(name, func(b *testing.B) {
			version := byte(4)
			if name[0] == '5' {
				version = 5
			}
			src := &repeat{packet: p}
			r := NewReader(io.MultiReader(bytes.NewReader(raw.Connect(version, 2, nil, "c")), src), testLimit, NewBudget(math.MaxInt64))
			if _, err := r.Connect(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// repeat is a stream of one packet again and again.
type repeat struct {
	packet []byte
	at     int
}

func (r *repeat) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.packet[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.packet)
	}
	return n, nil
}
