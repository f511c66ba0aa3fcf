package test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// leanSocket is a WebSocket client that costs next to nothing, for tests with
// hundreds of them on one machine. It shows each text frame to a function and
// forgets it.
type leanSocket struct {
	conn net.Conn
	done chan struct{} // closed when reading has ended; code and err are set before
	code int           // of the close frame, 0 without one
	err  error
}

// dialLean opens a WebSocket. query is what stands behind /ws, with its
// question mark. onText is called from one goroutine; the bytes are valid
// during the call only.
func (g *gateway) dialLean(query string, onText func(frame []byte)) *leanSocket {
	g.t.Helper()
	s, err := g.tryDialLean(query, onText)
	if err != nil {
		g.t.Fatalf("WebSocket %s: %v", query, err)
	}
	g.t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// tryDialLean is dialLean for other goroutines than the test's; the connection
// is the caller's to close.
func (g *gateway) tryDialLean(query string, onText func(frame []byte)) (*leanSocket, error) {
	conn, err := net.DialTimeout("tcp", g.host(), patience)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	_, err = fmt.Fprintf(conn, "GET /ws%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", query, g.host())
	var res *http.Response
	if err == nil {
		res, err = http.ReadResponse(r, nil)
	}
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("got status %s, want 101", res.Status)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	s := &leanSocket{conn: conn, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = s.read(r, onText)
	}()
	return s, nil
}

// read takes frames as a server sends them: whole and without a mask.
func (s *leanSocket) read(r *bufio.Reader, onText func([]byte)) error {
	var big []byte
	for {
		opcode, n, err := readHeader(r)
		if err != nil {
			return err
		}
		if n > r.Size() && cap(big) < n {
			big = make([]byte, n)
		}
		frame := big[:min(n, cap(big))]
		if n > r.Size() {
			_, err = io.ReadFull(r, frame)
		} else {
			frame, err = r.Peek(n)
		}
		if err != nil {
			return err
		}
		switch opcode {
		case 0x81:
			onText(frame)
		case 0x88:
			if n >= 2 {
				s.code = int(binary.BigEndian.Uint16(frame))
			}
			return nil
		case 0x89:
			if _, err := s.conn.Write([]byte{0x8a, 0x80, 0, 0, 0, 0}); err != nil {
				return err
			}
		default:
			return fmt.Errorf("frame starts with %#x", opcode)
		}
		if n <= r.Size() {
			_, _ = r.Discard(n)
		}
	}
}

func readHeader(r *bufio.Reader) (opcode byte, n int, err error) {
	head, err := r.Peek(2)
	if err != nil {
		return 0, 0, err
	}
	opcode, n = head[0], int(head[1])
	size := 2
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if head, err = r.Peek(size); err != nil {
		return 0, 0, err
	}
	switch size {
	case 4:
		n = int(binary.BigEndian.Uint16(head[2:]))
	case 10:
		n = int(binary.BigEndian.Uint64(head[2:]))
	}
	_, err = r.Discard(size)
	return opcode, n, err
}

// ended waits for the end of the connection.
func (s *leanSocket) ended(t testing.TB) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatal("the connection stays open")
	}
}

// leave says goodbye and closes.
func (s *leanSocket) leave() {
	_, _ = s.conn.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8})
	_ = s.conn.Close()
}

// topicAndPayload cuts both out of a message frame; ok is false for any other
// frame. It is for payloads without quotes and commas.
func topicAndPayload(frame []byte) (topic, payload []byte, ok bool) {
	rest, ok := bytes.CutPrefix(frame, []byte(`{"type":"message","topic":"`))
	if !ok {
		return nil, nil, false
	}
	topic, rest, ok = bytes.Cut(rest, []byte(`","payload":`))
	if !ok {
		return nil, nil, false
	}
	payload, _, ok = bytes.Cut(rest, []byte(`,"encoding":`))
	return topic, payload, ok
}
