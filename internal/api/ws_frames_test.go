package api

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/stream"
)

// closing is what a client writes, and the close code that it must get.
type closing struct {
	name  string
	write func(s *rawSocket)
	code  int
}

// raw is a closing that writes these bytes.
func raw(name string, code int, parts ...[]byte) closing {
	return closing{name, func(s *rawSocket) { s.write(bytes.Join(parts, nil)) }, code}
}

// closePayload is the payload of a close frame.
func closePayload(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// refusesFrames runs every row on a connection of its own, while a second
// client goes on as if nothing happened and the memory does not grow.
func (g *rig) refusesFrames(t *testing.T, maxAlloc uint64, rows []closing) {
	t.Helper()
	neighbour := g.dial(t, "/ws?topic=mark")
	neighbour.until("ack")
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := g.dial(t, "/ws")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			row.write(s)
			code, reason := s.closed()
			runtime.ReadMemStats(&after)
			if code != row.code {
				t.Errorf("got close code %d %q, want %d", code, reason, row.code)
			}
			if strings.Contains(reason, canary) || len(reason) > 123 {
				t.Errorf("got reason %q, want a short one without the client's text", reason)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > maxAlloc {
				t.Errorf("%d bytes were allocated, want at most %d", n, maxAlloc)
			}
			g.hub.Ingest(hub.Inbound{Topic: "mark", Payload: []byte("1")})
			if m := neighbour.next(); m["topic"] != "mark" {
				t.Errorf("the second client got %v, want its message", m)
			}
		})
	}
	eventuallyTrue(t, "only the second client is left", func() bool { return g.hub.Stats().Subscribers[stream.NameWebSocket] == 1 })
	g.wantPublishes(t, 0)
	g.cleanLog(t)
}

func TestMalformedFramesAreProtocolErrors(t *testing.T) {
	unmasked := append(lengthened(textFrame, 0, 2, 0), "{}"...)
	long := strings.Repeat("x", 126)
	startRig(t).refusesFrames(t, 16<<20, []closing{
		raw("unmasked text", 1002, unmasked),
		raw("unmasked ping", 1002, []byte{pingFrame, 0}),
		raw("RSV1", 1002, maskedFrame(textFrame|0x40, "{}")),
		raw("RSV2", 1002, maskedFrame(textFrame|0x20, "{}")),
		raw("RSV3", 1002, maskedFrame(textFrame|0x10, "{}")),
		raw("RSV on a ping", 1002, maskedFrame(pingFrame|0x40, "")),
		raw("opcode 3", 1002, maskedFrame(0x83, "{}")),
		raw("opcode 7", 1002, maskedFrame(0x87, "{}")),
		raw("opcode 11", 1002, maskedFrame(0x8b, "")),
		raw("opcode 15", 1002, maskedFrame(0x8f, "")),
		raw("fragmented ping", 1002, maskedFrame(pingFrame&^0x80, "x")),
		raw("fragmented close", 1002, maskedFrame(closeFrame8&^0x80, closePayload(1000, ""))),
		raw("ping of 126 bytes", 1002, maskedFrame(pingFrame, long)),
		raw("pong of 126 bytes", 1002, maskedFrame(pongFrame, long)),
		raw("close of 126 bytes", 1002, maskedFrame(closeFrame8, closePayload(1000, long[:124]))),
		raw("continuation of nothing", 1002, maskedFrame(moreEnd, "{}")),
		raw("new message inside one", 1002, maskedFrame(textStart, "{"), maskedFrame(textFrame, "}")),
		raw("length 2^63", 1002, lengthened(textFrame, 0x80, 1<<63, 64), []byte{1, 2, 3, 4}),
		raw("length 2^64-1", 1002, lengthened(textFrame, 0x80, 1<<64-1, 64), []byte{1, 2, 3, 4}),
		raw("ping of 2^63", 1002, lengthened(pingFrame, 0x80, 1<<63, 64), []byte{1, 2, 3, 4}),
		raw("HTTP instead of frames", 1002, []byte(request("GET", "/livez", ""))),
	})
}

func TestOversizedMessagesAreTooBig(t *testing.T) {
	big := strings.Repeat(" ", stream.MaxFrame)
	quarter := strings.Repeat(" ", stream.MaxFrame/4)
	startRig(t).refusesFrames(t, 32<<20, []closing{
		raw("one byte over", 1009, maskedFrame(textFrame, big+" ")),
		raw("one byte over in fragments", 1009, maskedFrame(textStart, quarter), maskedFrame(more, quarter), maskedFrame(more, quarter),
			maskedFrame(more, quarter), maskedFrame(moreEnd, " ")),
		raw("8 MiB", 1009, maskedFrame(textFrame, strings.Repeat(" ", 8<<20))),
		raw("announced 2^31", 1009, lengthened(textFrame, 0x80, 1<<31, 64), []byte{1, 2, 3, 4}, make([]byte, stream.MaxFrame+1)),
		raw("announced 2^63-1", 1009, lengthened(textFrame, 0x80, 1<<63-1, 64), []byte{1, 2, 3, 4}, make([]byte, stream.MaxFrame+1)),
	})
}

// The length alone costs nothing: the connection waits for the bytes, and the
// memory is not taken before they come.
func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	g := startRig(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 50 {
		s := g.dial(t, "/ws")
		s.write(append(lengthened(textFrame, 0x80, 1<<62, 64), 1, 2, 3, 4))
		defer s.conn.Close()
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("50 announcements took %d bytes, want less than 16 MiB", n)
	}
}

func TestLargestMessageIsRead(t *testing.T) {
	g := startRig(t)
	s := g.dial(t, "/ws")
	op := `{"op":"ping","id":1}`
	s.text(op + strings.Repeat(" ", stream.MaxFrame-len(op)))
	if f := s.next(); f["type"] != "pong" {
		t.Errorf("got %v, want a pong", f)
	}
	pieces := [][]byte{maskedFrame(textStart, op[:5]), maskedFrame(pingFrame, "between"), maskedFrame(more, ""), maskedFrame(moreEnd, op[5:])}
	s.write(bytes.Join(pieces, nil))
	if first, payload, err := s.frame(); first != pongFrame || string(payload) != "between" || err != nil {
		t.Errorf("got frame %#x %q %v, want the pong of the ping between the fragments", first, payload, err)
	}
	if f := s.next(); f["type"] != "pong" {
		t.Errorf("got %v, want a pong", f)
	}
}

func TestTextFramesAreUTF8(t *testing.T) {
	pair := "{\"op\":\"ping\",\"id\":\"é\"}" // é is two bytes
	cut := strings.IndexByte(pair, 0xc3) + 1
	startRig(t).refusesFrames(t, 16<<20, []closing{
		raw("0xff", 1007, maskedFrame(textFrame, "{\"op\":\"\xff\"}")),
		raw("overlong", 1007, maskedFrame(textFrame, "\xc0\xaf")),
		raw("surrogate", 1007, maskedFrame(textFrame, "\xed\xa0\x80")),
		raw("beyond U+10FFFF", 1007, maskedFrame(textFrame, "\xf4\x90\x80\x80")),
		raw("cut off", 1007, maskedFrame(textFrame, "\xe2\x82")),
		raw("wrong only in the second fragment", 1007, maskedFrame(textStart, pair[:cut]), maskedFrame(moreEnd, "\x28")),
		raw("binary", 1003, maskedFrame(binaryFrame, `{"op":"ping"}`)),
		raw("empty binary", 1003, maskedFrame(binaryFrame, "")),
		raw("binary start", 1003, maskedFrame(binaryFrame&^0x80, "{")),
	})
	g := startRig(t)
	s := g.dial(t, "/ws")
	s.write(append(maskedFrame(textStart, pair[:cut]), maskedFrame(moreEnd, pair[cut:])...))
	if f := s.next(); f["id"] != "é" {
		t.Errorf("a character split over two fragments: got %v, want the pong with id é", f)
	}
}

func TestCloseCodesOfClientsAreChecked(t *testing.T) {
	rows := []closing{
		raw("no code", 1005, maskedFrame(closeFrame8, "")),
		raw("half a code", 1002, maskedFrame(closeFrame8, "\x03")),
		raw("reason that is not UTF-8", 1007, maskedFrame(closeFrame8, closePayload(1000, "\xff"))),
		raw("1000", 1000, maskedFrame(closeFrame8, closePayload(1000, "bye"))),
		raw("1001", 1001, maskedFrame(closeFrame8, closePayload(1001, ""))),
		raw("4999", 4999, maskedFrame(closeFrame8, closePayload(4999, ""))),
	}
	for name, code := range map[string]int{"0": 0, "999": 999, "1004": 1004, "1005": 1005, "1006": 1006, "1015": 1015, "1016": 1016, "2999": 2999, "5000": 5000, "65535": 65535} {
		rows = append(rows, raw(name, 1002, maskedFrame(closeFrame8, closePayload(code, ""))))
	}
	startRig(t).refusesFrames(t, 16<<20, rows)
}

func TestFloodsWithoutMessagesAreCut(t *testing.T) {
	flood := func(frame []byte) func(s *rawSocket) {
		return func(s *rawSocket) {
			many := bytes.Repeat(frame, 1000)
			for sent := 0; sent < 4<<20; sent += len(many) {
				if _, err := s.conn.Write(many); err != nil {
					return
				}
			}
		}
	}
	startRig(t).refusesFrames(t, 256<<20, []closing{
		{"a million empty fragments", func(s *rawSocket) {
			s.write(maskedFrame(textStart, ""))
			flood(maskedFrame(more, ""))(s)
		}, 1008},
		{"pongs", flood(maskedFrame(pongFrame, "")), 1008},
		{"pings whose pongs are read", func(s *rawSocket) { go flood(maskedFrame(pingFrame, canary))(s) }, 1008},
	})
}
