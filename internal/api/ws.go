package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/wire"
)

const (
	maxFilters  = 100 // of one connection
	maxInFlight = 64  // publishes of one connection that wait for the broker
	maxErrors   = 10  // malformed frames before the connection is closed
)

// getWS is GET /ws. All errors are answered before the upgrade; then the
// connection belongs to a goroutine that reads ops, and the handler returns so
// that net/http can free its buffers.
func (s *Server) getWS(w http.ResponseWriter, r *http.Request) {
	request, bad := s.checkWS(w, r)
	ws := &wsSession{server: s, held: hold{budget: s.bodies}, requestID: requestID(w), inFlight: make(chan struct{}, maxInFlight)}
	c := callerOf(w)
	if bad == nil {
		ws.guest.leave, bad = s.takeStream(c)
	}
	if bad == nil {
		admit := s.admit
		if ws.stranger = c.stranger(); ws.stranger {
			admit = s.admitStranger
		}
		if bad = admit(); bad != nil {
			ws.guest.leave()
		}
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	conn, err := stream.AcceptWebSocket(w, r, s.opts.Stream)
	if err != nil {
		s.joined()
		ws.release()
		ws.guest.leave()
		return
	}
	codec := conn.Codec()
	client := s.opts.Hub.Attach(conn, codec, s.readable(c.principal), func(cursor string) []byte {
		return codec.AppendFrame(nil, outbox.Frame{Kind: wire.TypeWelcome, Body: marshal(&wire.Welcome{
			Type: wire.TypeWelcome, Epoch: s.opts.Hub.Epoch(), Cursor: cursor, Limits: s.limits(),
		})})
	})
	if client == nil {
		conn.Refuse(wire.CloseGoingAway, "shutting down")
		s.joined()
		ws.release()
		ws.guest.leave()
		return
	}
	ws.conn, ws.client, ws.guest.client = conn, client, client
	conn.Start(client, &ws.held)
	go ws.start(request, c.quiet())
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
	request, bad := streamRequest(r, false)
	if c := callerOf(w); bad == nil && c.principal.Via != access.ViaAnonymous { // who is nobody yet may be an operator soon
		for _, res := range request.Results {
			if bad := s.mayReadSystem(c, res.Topic, "/topic"); bad != nil {
				return nil, bad
			}
		}
	}
	return request, bad
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

// wsSession is one WebSocket on the reading side; its goroutine reads frames
// and carries out their ops one after the other.
type wsSession struct {
	server    *Server
	conn      *stream.WebSocket
	client    *hub.Client
	requestID string
	inFlight  chan struct{}
	errors    int
	overs     int // ops in a row that were over a limit
	guest     guest
	stranger  bool     // has its place among those who have to say who they are
	unknown   *unknown // nil: the caller is known, or may be anybody
	held      hold     // of a message that is not read to its end

	ctx context.Context // ends with the connection; made when something first waits for a reply
	end context.CancelFunc

	stopDevices func() // nil: no changes of devices are sent
}

// start carries out what the request asked for, and leaves the rest to a
// goroutine of its own: subscribing needs a larger stack, and most clients only
// wait afterwards.
func (ws *wsSession) start(request *hub.Request, c *caller) {
	ws.server.enter(&ws.guest, c)
	switch {
	case ws.stranger:
		ws.awaitAuth(request)
	case len(request.Results) > 0:
		ws.conn.While(func() { ws.subscribe(request) })
	}
	ws.server.joined()
	go ws.run()
}

// run carries out ops until the connection ends.
func (ws *wsSession) run() {
	defer ws.release()
	code, reason := ws.ops()
	if ws.end != nil {
		ws.end()
	}
	ws.conn.End(code, reason)
	ws.guest.exit()
	ws.client.Detach()
	ws.endDevices()
	ws.server.metrics.wsClosed(ws.conn.CloseCode())
}

// release gives its place back.
func (ws *wsSession) release() {
	ws.met()
	ws.server.release()
}

// ops reads frames and carries them out. A code says how to close the
// connection; 0: it has ended.
func (ws *wsSession) ops() (code wire.CloseCode, reason string) {
	for {
		frame, code, reason := ws.conn.Read()
		if frame == nil {
			return code, reason
		}
		ws.conn.While(func() { code, reason = ws.carryOut(frame) })
		if code != 0 {
			return code, reason
		}
	}
}
