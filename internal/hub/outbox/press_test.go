package outbox

import (
	"bytes"
	"fmt"
	"github.com/vulturepi/gateway/internal/hub/message"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever runs come one after the other, each is printed as if it were alone.
func TestPressPrintsEachRunAsIfAlone(t *testing.T) {
	var all []*message.Message
	for i := range 40 {
		all = append(all, &message.Message{Seq: uint64(i + 1), JSON: []byte(fmt.Sprintf(`{"n":%d}`, i)), Topic: "t"})
	}
	rapid.Check(t, func(rt *rapid.T) {
		var p press
		taps := []*Outbox{{codec: lineCodec{}, framing: "a"}, {codec: lineCodec{}, framing: "a"}, {codec: lineCodec{}, framing: "b"}}
		for range rapid.IntRange(1, 30).Draw(rt, "runs") {
			from := rapid.IntRange(0, len(all)-1).Draw(rt, "from")
			to := rapid.IntRange(from+1, len(all)).Draw(rt, "to")
			run := append([]*message.Message(nil), all[from:to]...)
			if len(run) > 2 && rapid.Bool().Draw(rt, "hole") {
				run = append(run[:1], run[2:]...)
			}
			o := rapid.SampledFrom(taps).Draw(rt, "client")
			got := string(p.print(o, run))
			if want := string(o.frameAll(run)); got != want {
				rt.Fatalf("got  %q\nwant %q", got, want)
			}
			if rapid.IntRange(0, 9).Draw(rt, "reset") == 0 {
				p.reset()
			}
		}
	})
}

func TestPressForgetsWhatIsTooMuch(t *testing.T) {
	var p press
	o := &Outbox{codec: lineCodec{}}
	for i := range 1000 {
		m := &message.Message{Seq: uint64(i + 1), JSON: bytes.Repeat([]byte("x"), 10_000)}
		if got := p.print(o, []*message.Message{m}); len(got) != 10_001 {
			t.Fatalf("got %d bytes", len(got))
		}
	}
	big := &message.Message{Seq: 5000, JSON: []byte(strings.Repeat("y", 4*pressBytes))}
	p.print(o, []*message.Message{big})
	p.reset()
	if p.bytes != nil || len(p.run) != 0 {
		t.Errorf("kept %d bytes and %d messages", cap(p.bytes), len(p.run))
	}
}

// lineCodec writes each message on a line of its own.
type lineCodec struct{}

func (lineCodec) Name() string    { return "lines" }
func (lineCodec) Framing() string { return "lines" }
func (lineCodec) AppendMessage(dst []byte, _ *message.Message, body []byte) []byte {
	return append(append(dst, body...), '\n')
}
func (lineCodec) AppendFrame(dst []byte, f Frame) []byte       { return append(append(dst, f.Body...), '\n') }
func (lineCodec) KeepAlive(time.Time) []byte                   { return nil }
func (lineCodec) AppendClose(dst []byte, _ CloseReason) []byte { return append(dst, "bye\n"...) }
