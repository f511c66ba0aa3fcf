package api

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

const (
	transportWS = "websocket"
	maxFrame    = 256 << 10 // bytes of one frame from a client
	maxFilters  = 100       // of one connection
	maxInFlight = 64        // publishes of one connection that wait for the broker
	maxErrors   = 10        // malformed frames before the connection is closed
)

// getWS is GET /ws. All errors are answered before the upgrade; then the
// connection belongs to a goroutine that reads ops, and the handler returns so
// that net/http can free its buffers.
func (s *Server) getWS(w http.ResponseWriter, r *http.Request) {
	request, bad := s.checkWS(w, r)
	if bad == nil {
		bad = s.admit()
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	h := &hijacker{ResponseWriter: w}
	conn, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{wire.Subprotocol},
		InsecureSkipVerify: true, // guard has checked the Origin, against Host too
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		s.joined()
		s.release() // Accept has answered
		return
	}
	conn.SetReadLimit(maxFrame)
	ws := &wsSession{server: s, conn: conn, net: h.conn, requestID: requestID(w), inFlight: make(chan struct{}, maxInFlight)}
	ws.client = s.opts.Hub.Attach(h.conn, func(cursor string) []byte {
		return h.conn.AppendFrame(nil, hub.Frame{Kind: wire.TypeWelcome, Body: marshal(&wire.Welcome{
			Type: wire.TypeWelcome, Epoch: s.opts.Hub.Epoch(), Cursor: cursor, Limits: s.limits(),
		})})
	})
	if ws.client == nil {
		_, _ = h.conn.Conn.Write(closeFrame(nil, wire.CloseGoingAway, "shutting down"))
		_ = h.conn.Conn.Close()
		_ = conn.CloseNow()
		s.joined()
		s.release()
		return
	}
	h.conn.client.Store(ws.client)
	go ws.start(request)
}

// checkWS finds everything that is wrong with an upgrade request.
func (s *Server) checkWS(w http.ResponseWriter, r *http.Request) (*hub.Request, *wire.Problem) {
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") || !r.ProtoAtLeast(1, 1) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return nil, problem(wire.CodeUpgradeRequired, "This path speaks WebSocket only; connect with a WebSocket client.")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		return nil, problem(wire.CodeInvalidHandshake, "Sec-WebSocket-Version must be 13.")
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 {
		return nil, problem(wire.CodeInvalidHandshake, "The request needs one Sec-WebSocket-Key.")
	}
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(key) != 16 {
		return nil, problem(wire.CodeInvalidHandshake, "Sec-WebSocket-Key must be 16 bytes in base64.")
	}
	if len(r.Header.Values("Sec-WebSocket-Protocol")) > 0 && !hasToken(r.Header, "Sec-WebSocket-Protocol", wire.Subprotocol) {
		return nil, problem(wire.CodeUnsupportedSubprotocol, "The gateway speaks gateway.v1; offer that, or no subprotocol.")
	}
	return streamRequest(r, false)
}

// hasToken looks for token in a comma-separated header, ignoring case.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// wsBuffer holds any control frame (RFC 6455 section 5.5), and no more: whole
// frames are read past it, and written past it.
const wsBuffer = 128

// hijacker gives coder/websocket our own connection and small buffers.
type hijacker struct {
	http.ResponseWriter
	conn *wsConn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var early []byte // frames that the client sent along with its request
	if n := rw.Reader.Buffered(); n > 0 {
		peeked, _ := rw.Reader.Peek(n)
		early = slices.Clone(peeked)
	}
	h.conn = newWSConn(c, early)
	return h.conn, bufio.NewReadWriter(bufio.NewReaderSize(h.conn, wsBuffer), bufio.NewWriterSize(h.conn, wsBuffer)), nil
}

// wsSession is one WebSocket on the reading side; its goroutine reads frames
// and carries out their ops one after the other.
type wsSession struct {
	server    *Server
	conn      *websocket.Conn
	net       *wsConn
	client    *hub.Client
	requestID string
	inFlight  chan struct{}
	errors    int

	ctx context.Context // ends with the connection; made when something first waits for a reply
	end context.CancelFunc
}

// start carries out what the request asked for, and leaves the rest to a
// goroutine of its own: subscribing needs a larger stack, and most clients only
// wait afterwards.
func (ws *wsSession) start(request *hub.Request) {
	if len(request.Results) > 0 {
		ws.net.while(func() { ws.client.Subscribe(context.Background(), request) })
	}
	ws.server.joined()
	go ws.run()
}

func (ws *wsSession) run() {
	defer ws.server.release()
	code, why := ws.read()
	if ws.end != nil {
		ws.end()
	}
	if code != closeNone {
		ws.client.CloseRaw(ws.net.last(code, why))
	}
	ws.net.linger()
	ws.client.Detach()
	_ = ws.conn.CloseNow() // without it the library's finalizer keeps the connection for ever
	ws.server.metrics.wsClosed(ws.net.closeCode())
}

// read serves frames until the connection ends; a code asks for a close frame.
func (ws *wsSession) read() (code wire.CloseCode, why string) {
	var buf []byte // made for the first message: most clients send none
	for {
		kind, r, err := ws.conn.Reader(context.Background())
		if err == nil && kind == websocket.MessageBinary {
			return wire.CloseBinary, "text frames only"
		}
		if err == nil {
			buf, err = appendAll(buf[:0], r)
		}
		switch {
		case err == nil:
		case errors.Is(err, errFlood):
			return wire.ClosePolicy, "too many frames without a message"
		case ws.net.failed.Load() || ws.net.closeCode() != closeNone:
			return closeNone, "" // the socket ended, or the library has sent a close frame
		default:
			return wire.CloseProtocolError, "malformed frame"
		}
		ws.net.messageRead()
		if !utf8.Valid(buf) {
			return wire.CloseInvalidUTF8, "text is not UTF-8"
		}
		goOn := false
		ws.net.while(func() { goOn = ws.serve(buf) })
		if !goOn {
			return wire.CloseMalformed, "too many malformed frames"
		}
		if cap(buf) > 4096 {
			buf = nil // an idle connection stays small
		}
	}
}

// appendAll reads r to its end onto buf.
func appendAll(buf []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, 512)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}
