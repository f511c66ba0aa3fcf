package api

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// wsKey is the Sec-WebSocket-Key of RFC 6455's example.
const wsKey = "dGhlIHNhbXBsZSBub25jZQ=="

// upgradeHeaders are those of a good handshake.
var upgradeHeaders = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + wsKey}

// rawSocket is a WebSocket client that writes frames as the test wants them.
type rawSocket struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// upgrade sends a handshake with extra header lines.
func (g *rig) upgrade(target string, headers ...string) *reply {
	g.t.Helper()
	return exchange(g.t, g.public, request("GET", target, "", append(append([]string(nil), upgradeHeaders...), headers...)...))
}

// dial opens a WebSocket and reads the welcome.
func (g *rig) dial(t testing.TB, target string, headers ...string) *rawSocket {
	t.Helper()
	a := exchange(t, g.public, request("GET", target, "", append(headers, upgradeHeaders...)...))
	if a.status != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: got %d %s, want 101", a.status, a.body)
	}
	s := &rawSocket{t: t, conn: a.conn, r: a.r}
	if f := s.next(); f["type"] != "welcome" {
		t.Fatalf("got %v, want welcome", f)
	}
	return s
}

// maskedFrame is a client's frame: first is FIN, RSV and opcode.
func maskedFrame(first byte, payload string) []byte {
	b := lengthened(first, 0x80, uint64(len(payload)), 0)
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// lengthened is a frame's header that announces n bytes in a field of the
// given bits (7, 16, 64), or the shortest for 0.
func lengthened(first, maskBit byte, n uint64, bits int) []byte {
	switch {
	case bits == 64 || bits == 0 && n > 0xffff:
		return binary.BigEndian.AppendUint64([]byte{first, maskBit | 127}, n)
	case bits == 16 || bits == 0 && n > 125:
		return binary.BigEndian.AppendUint16([]byte{first, maskBit | 126}, uint16(n))
	}
	return []byte{first, maskBit | byte(n)}
}

// The first bytes of frames.
const (
	textFrame   = 0x81
	binaryFrame = 0x82
	closeFrame8 = 0x88
	pingFrame   = 0x89
	pongFrame   = 0x8a
	textStart   = 0x01 // without FIN
	more        = 0x00
	moreEnd     = 0x80
)

func (s *rawSocket) write(p []byte) {
	s.t.Helper()
	if _, err := s.conn.Write(p); err != nil {
		s.t.Logf("write: %v", err) // the gateway may have closed already
	}
}

// text sends an op.
func (s *rawSocket) text(op string) { s.t.Helper(); s.write(maskedFrame(textFrame, op)) }

// frame reads one frame.
func (s *rawSocket) frame() (first byte, payload []byte, err error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	var h [2]byte
	if _, err = io.ReadFull(s.r, h[:]); err != nil {
		return 0, nil, err
	}
	if h[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("the gateway masks a frame: %x", h)
	}
	n := uint64(h[1])
	var ext [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(s.r, ext[6:])
		n = binary.BigEndian.Uint64(ext[:])
	case 127:
		_, err = io.ReadFull(s.r, ext[:])
		n = binary.BigEndian.Uint64(ext[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(s.r, payload)
	return h[0], payload, err
}

// next reads the next text frame as JSON.
func (s *rawSocket) next() map[string]any {
	s.t.Helper()
	for {
		first, payload, err := s.frame()
		if err != nil {
			s.t.Fatalf("no frame: %v", err)
		}
		if first == pingFrame || first == pongFrame {
			continue
		}
		if first != textFrame {
			s.t.Fatalf("got frame %#x %q, want text", first, payload)
		}
		var v map[string]any
		if err := json.Unmarshal(payload, &v); err != nil {
			s.t.Fatalf("got %q: %v", payload, err)
		}
		return v
	}
}

// until reads frames until one of that type comes.
func (s *rawSocket) until(kind string) map[string]any {
	s.t.Helper()
	for {
		if f := s.next(); f["type"] == kind {
			return f
		}
	}
}

// nextError reads the next frame, which must be an error with this code.
func (s *rawSocket) nextError(code wire.Code) map[string]any {
	s.t.Helper()
	f := s.next()
	b, _ := json.Marshal(f["problem"])
	var p wire.Problem
	if err := json.Unmarshal(b, &p); err != nil || f["type"] != "error" {
		s.t.Errorf("got %v, want an error frame with %s", f, code)
		return f
	}
	checkProblem(s.t, &p, kindOf(code).status, code)
	return f
}

// closed reads until the end and returns the close code on the wire, 0 without
// a close frame.
func (s *rawSocket) closed() (code int, reason string) {
	s.t.Helper()
	defer s.conn.Close()
	for {
		first, payload, err := s.frame()
		if err != nil {
			return 0, err.Error()
		}
		if first != closeFrame8 {
			continue
		}
		if len(payload) < 2 {
			return 1005, ""
		}
		// Behind a close frame nothing comes but the end.
		s.write(maskedFrame(closeFrame8, string(payload[:2])))
		if b, err := io.ReadAll(s.r); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			s.t.Errorf("behind the close frame: %d bytes, %v; want the end of the connection", len(b), err)
		}
		return int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	}
}
