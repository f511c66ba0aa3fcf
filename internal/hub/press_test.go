package hub

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever runs come one after the other, each is printed as if it were alone.
func TestPressPrintsEachRunAsIfAlone(t *testing.T) {
	var all []*Message
	for i := range 40 {
		all = append(all, &Message{Seq: uint64(i + 1), JSON: []byte(fmt.Sprintf(`{"n":%d}`, i)), Topic: "t"})
	}
	rapid.Check(t, func(rt *rapid.T) {
		var p press
		taps := []*outbox{{transport: newTap(), framing: "a"}, {transport: newTap(), framing: "a"}, {transport: newTap(), framing: "b"}}
		for range rapid.IntRange(1, 30).Draw(rt, "runs") {
			from := rapid.IntRange(0, len(all)-1).Draw(rt, "from")
			to := rapid.IntRange(from+1, len(all)).Draw(rt, "to")
			run := append([]*Message(nil), all[from:to]...)
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
	o := &outbox{transport: newTap()}
	for i := range 1000 {
		m := &Message{Seq: uint64(i + 1), JSON: bytes.Repeat([]byte("x"), 10_000)}
		if got := p.print(o, []*Message{m}); len(got) != 10_001 {
			t.Fatalf("got %d bytes", len(got))
		}
	}
	big := &Message{Seq: 5000, JSON: []byte(strings.Repeat("y", 4*pressBytes))}
	p.print(o, []*Message{big})
	p.reset()
	if p.bytes != nil || len(p.run) != 0 {
		t.Errorf("kept %d bytes and %d messages", cap(p.bytes), len(p.run))
	}
}
