package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/wire"
)

// frame is any frame from the gateway.
type frame struct {
	wire.Message
	ID        json.RawMessage
	Results   []wire.Result
	Status    int
	Delivery  string
	Problem   *wire.Problem
	Reason    string
	Certain   bool
	After     string
	Before    string
	Connected bool
	Epoch     string
	Resumed   *bool
	Limits    wire.Limits
	raw       string
}

// socket is a WebSocket client that reads into memory as fast as it can.
type socket struct {
	t      testing.TB
	conn   *websocket.Conn
	header http.Header // of the answer to the handshake

	mu     sync.Mutex // guards all below
	frames []frame
	err    error // why reading ended
	change chan struct{}
}

// dial opens a WebSocket and waits for the welcome. query is what stands
// behind /ws, with its question mark.
func (g *gateway) dial(query string) *socket {
	g.t.Helper()
	s, err := g.tryDial(query)
	if err != nil {
		g.t.Fatalf("WebSocket %s: %v", query, err)
	}
	s.wait("welcome", func(f frame) bool { return f.Type == "welcome" })
	return s
}

func (g *gateway) tryDial(query string) (*socket, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, g.ws+query, &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", err, res)
	}
	conn.SetReadLimit(-1)
	s := &socket{t: g.t, conn: conn, header: res.Header, change: make(chan struct{})}
	go s.read()
	g.t.Cleanup(func() { _ = conn.CloseNow() })
	return s, nil
}

func (s *socket) read() {
	for {
		_, b, err := s.conn.Read(context.Background())
		f := frame{raw: string(b)}
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		s.mu.Lock()
		if err == nil {
			s.frames = append(s.frames, f)
		} else {
			s.err = err
		}
		close(s.change)
		s.change = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send writes one op.
func (s *socket) send(op string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, []byte(op)); err != nil {
		s.t.Fatalf("send %s: %v", op, err)
	}
}

// subscribe subscribes and waits for the ack.
func (s *socket) subscribe(filters ...string) frame {
	s.t.Helper()
	b, _ := json.Marshal(map[string]any{"op": "subscribe", "id": "sub " + strings.Join(filters, " "), "topics": filters})
	id, _ := json.Marshal("sub " + strings.Join(filters, " "))
	s.send(string(b))
	return s.wait("ack", func(f frame) bool { return f.Type == "ack" && bytes.Equal(f.ID, id) })
}

// all returns the frames so far.
func (s *socket) all() []frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames[:len(s.frames):len(s.frames)]
}

// messages returns the message frames so far.
func (s *socket) messages() []frame {
	var m []frame
	for _, f := range s.all() {
		if f.Type == "message" {
			m = append(m, f)
		}
	}
	return m
}

// wait waits for a frame and returns it.
func (s *socket) wait(what string, match func(frame) bool) frame {
	s.t.Helper()
	var found frame
	s.until(what, func(frames []frame) bool {
		for _, f := range frames {
			if match(f) {
				found = f
				return true
			}
		}
		return false
	})
	return found
}

// waitMessages waits for n messages and returns them.
func (s *socket) waitMessages(n int) []frame {
	s.t.Helper()
	have, seen := 0, 0
	s.until(fmt.Sprintf("%d messages", n), func(frames []frame) bool {
		for ; seen < len(frames); seen++ {
			if frames[seen].Type == "message" {
				have++
			}
		}
		return have >= n
	})
	return s.messages()
}

// until waits until the frames so far please done.
func (s *socket) until(what string, done func([]frame) bool) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		frames, err, change := s.frames, s.err, s.change
		s.mu.Unlock()
		if done(frames) {
			return
		}
		if err != nil {
			s.t.Fatalf("waiting for %s: the connection ended: %v; frames: %s", what, err, lastFrames(frames))
		}
		select {
		case <-change:
		case <-timeout:
			s.t.Fatalf("waiting for %s: timed out; %d frames: %s", what, len(frames), lastFrames(frames))
		}
	}
}

func lastFrames(frames []frame) string {
	var b strings.Builder
	for _, f := range frames[max(0, len(frames)-10):] {
		b.WriteString("\n  " + f.raw)
	}
	return b.String()
}

// sync sends a ping op and waits for its pong: everything that the gateway
// queued for this socket before is here then.
func (s *socket) sync() {
	s.t.Helper()
	id := fmt.Sprintf("%q", fmt.Sprint("sync ", time.Now().UnixNano()))
	s.send(`{"op":"ping","id":` + id + `}`)
	s.wait("pong", func(f frame) bool { return f.Type == "pong" && string(f.ID) == id })
}

// closed waits for the end of the connection and returns its close code, -1
// without one.
func (s *socket) closed() int {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		err, change := s.err, s.change
		s.mu.Unlock()
		if err != nil {
			return int(websocket.CloseStatus(err))
		}
		select {
		case <-change:
		case <-timeout:
			s.t.Fatalf("the connection stays open; frames: %s", lastFrames(s.all()))
		}
	}
}
