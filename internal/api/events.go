package api

import (
	"context"
	"net/http"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/internal/stream"
	"github.com/vulturepi/gateway/wire"
)

// getEvents is GET /events: the same stream as the WebSocket's, for curl and
// EventSource. All errors are answered before the first byte.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has(wire.FieldDevices) {
		s.getDeviceEvents(w, r)
		return
	}
	request, bad := streamRequest(r, true, eventsParams...)
	var response stream.Response
	if bad == nil {
		response, bad = responseOptions(r)
	}
	if bad == nil {
		bad = s.maySubscribeAll(callerOf(w), request)
	}
	if bad == nil {
		request.Holder = callerOf(w).client()
		bad = s.reach(r.Context(), request)
	}
	s.respond(w, r, response, bad, func(ctx context.Context, g *guest) (stop func()) {
		g.client.Subscribe(ctx, request)
		return func() {}
	})
}

// respond makes a stream of the response, unless something is bad. Join begins
// what it is for, and is called in a goroutine; stop ends that. The connection is
// taken over, so that it can be written without a goroutine.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, response stream.Response, bad *wire.Problem, join func(context.Context, *guest) (stop func())) {
	c := callerOf(w)
	g := &guest{response: true}
	if bad == nil {
		g.leave, bad = s.takeStream(c)
	}
	if bad == nil {
		if bad = s.admit(); bad != nil {
			g.leave()
		}
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	if r.ProtoMajor >= 2 {
		response.Timing = s.opts.Stream
		s.flow(w, r, g, response, join)
		return
	}
	hijacked, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.joined()
		s.release()
		g.leave()
		writeProblem(w, problem(wire.CodeInternalError, "Streams need HTTP/1.1."))
		return
	}
	socket := stream.NewSocket(hijacked, s.opts.Stream)
	response.Chunked, response.Timing = r.ProtoAtLeast(1, 1), s.opts.Stream
	head := response.Head(w.Header())
	client := s.opts.Hub.Attach(socket, response.Codec(), s.readable(c.principal), func(string) []byte { return head })
	if client == nil { // the gateway is going down
		socket.Refuse([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: " + retryAfter + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		s.joined()
		s.release()
		g.leave()
		return
	}
	g.client = client
	go func() {
		defer s.release()
		defer g.exit()
		granted := c.quiet()
		s.enter(g, granted)
		stop := join(context.Background(), g)
		s.joined()
		g.settle(granted)
		socket.Watch()
		client.Detach()
		stop()
	}()
}

// flow is the rest of respond for HTTP/2, where the handler stays until the
// stream ends.
func (s *Server) flow(w http.ResponseWriter, r *http.Request, g *guest, response stream.Response, join func(context.Context, *guest) (stop func())) {
	c := callerOf(w)
	defer s.release()
	openEnded(w, s.opts.Timing.Stall)
	flow := response.Open(w)
	client := s.opts.Hub.Attach(flow, response.Codec(), s.readable(c.principal), func(string) []byte { return nil })
	if client == nil { // the gateway is going down
		s.joined()
		g.leave()
		return
	}
	g.client = client
	defer client.Detach()
	defer g.exit()
	granted := c.quiet()
	s.enter(g, granted)
	stop := join(r.Context(), g)
	s.joined()
	g.settle(granted)
	flow.Watch(r.Context().Done(), s.closing, func() { client.Close(outbox.CloseShutdown) })
	client.Detach() // or who waits for it to be drained would wait for ever
	stop()
}

// maySubscribeAll is maySubscribe for all filters of a request.
func (s *Server) maySubscribeAll(c *caller, r *hub.Request) *wire.Problem {
	for _, res := range r.Results {
		if bad := s.maySubscribe(c, res.Topic, "/topic"); bad != nil {
			return bad
		}
	}
	return nil
}

// reach finds out what the broker says to the filters while there still is a
// status to tell it with.
func (s *Server) reach(ctx context.Context, r *hub.Request) *wire.Problem {
	for _, res := range r.Results {
		if err := s.opts.Hub.Reach(ctx, res.Topic, r.Holder); err != nil {
			return problemAt("/topic", err)
		}
	}
	return nil
}

// chooseFormat reads ?format= and Accept.
func chooseFormat(r *http.Request) (stream.Format, *wire.Problem) {
	if query := r.URL.Query(); query.Has(paramFormat) {
		for _, f := range stream.Formats {
			if string(f) == query.Get(paramFormat) {
				return f, nil
			}
		}
		return "", fieldProblem(wire.CodeInvalidParameter, "/format", "format must be sse, ndjson or text.")
	}
	switch choose(r, typeNDJSON, "application/ndjson", typeText, "text/event-stream") {
	case "text/event-stream":
		return stream.FormatSSE, nil
	case typeText:
		return stream.FormatText, nil
	case "":
		return "", problem(wire.CodeNotAcceptable, "The stream comes as text/event-stream, application/x-ndjson or text/plain.")
	}
	return stream.FormatNDJSON, nil
}
