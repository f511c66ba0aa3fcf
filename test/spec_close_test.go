package spec_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	spec "github.com/vulturepi/gateway/api"
)

// Every close code of asyncapi.yaml happens, when the file says so, and the
// table in its text has the same ones. 4008 is the last word to a slow client,
// see slowGap.
func TestCloseCodes(t *testing.T) {
	provoke := map[int]func(t *testing.T, g *gateway) int{
		1001: func(t *testing.T, g *gateway) int {
			s := g.dial(t, "")
			s.expect(t, "welcome")
			done := make(chan struct{})
			go func() {
				defer close(done)
				g.hub.Shutdown(t.Context())
			}()
			code := s.closed(t)
			<-done
			return code
		},
		1002: func(t *testing.T, g *gateway) int { return g.raw(t, []byte{0x81, 0x01, 'x'}) }, // not masked
		1003: func(t *testing.T, g *gateway) int { return g.written(t, websocket.MessageBinary, "x") },
		1007: func(t *testing.T, g *gateway) int { return g.written(t, websocket.MessageText, "\xff") },
		1008: func(t *testing.T, g *gateway) int {
			pong := append([]byte{0x8a, 0x80 | 125, 0, 0, 0, 0}, make([]byte, 125)...)
			return g.raw(t, bytes.Repeat(pong, (600<<10)/len(pong)))
		},
		1009: func(t *testing.T, g *gateway) int {
			return g.written(t, websocket.MessageText, strings.Repeat(" ", 256<<10+1))
		},
		4509: func(t *testing.T, g *gateway) int {
			s := g.dial(t, "")
			for range 10 {
				s.send(t, `{"op":"jump"}`)
			}
			return s.closed(t)
		},
	}
	for code, f := range provoke {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			g := start(t)
			g.hub.BrokerUp(false)
			if got := f(t, g); got != code {
				t.Errorf("got close code %d, want %d", got, code)
			}
		})
	}
	var listed []string
	for _, code := range asyncAPI(t).at(t, "/channels/gateway/x-close-codes").([]any) {
		listed = append(listed, fmt.Sprint(code))
		if !bytes.Contains(spec.AsyncAPI, fmt.Appendf(nil, "    | %s |", code)) {
			t.Errorf("the text of asyncapi.yaml has no close code %s", code)
		}
	}
	want := []string{"4008"}
	for code := range maps.Keys(provoke) {
		want = append(want, fmt.Sprint(code))
	}
	slices.Sort(want)
	if !slices.Equal(listed, want) {
		t.Errorf("asyncapi.yaml lists the close codes %v, want %v", listed, want)
	}
}

// written sends one message and gives the close code that it gets.
func (g *gateway) written(t *testing.T, kind websocket.MessageType, body string) int {
	t.Helper()
	s := g.dial(t, "")
	if err := s.conn.Write(t.Context(), kind, []byte(body)); err != nil {
		t.Fatal(err)
	}
	return s.closed(t)
}

// raw sends bytes that no library would, and gives the close code.
func (g *gateway) raw(t *testing.T, body []byte) int {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range upgrade {
		req.Header.Set(name, value)
	}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = conn.Write(body) }() // the gateway need not read all of it
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, req)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got no upgrade: %v %v", res, err)
	}
	for {
		first, payload, err := readFrame(r)
		if err != nil {
			t.Fatalf("the connection ended without a close frame: %v", err)
		}
		if first == 0x88 && len(payload) >= 2 {
			return int(binary.BigEndian.Uint16(payload))
		}
	}
}

// readFrame reads one frame of up to 64 KiB (RFC 6455 section 5.2).
func readFrame(r io.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	} else if n > 126 {
		return 0, nil, errors.New("a frame of more than 64 KiB")
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}
