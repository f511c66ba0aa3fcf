package api

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/wire"
)

// getEvents is GET /events: the same stream as the WebSocket's, for curl and
// EventSource. All errors are answered before the first byte; then the
// connection is taken over, so that it can be written without a goroutine.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	request, bad := streamRequest(r, true, "format")
	var format streamFormat
	if bad == nil {
		format, bad = chooseFormat(r)
	}
	if bad == nil {
		bad = s.reach(r.Context(), request)
	}
	if bad == nil {
		bad = s.admit()
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.joined()
		s.release()
		writeProblem(w, problem(wire.CodeInternalError, "Streams need HTTP/1.1."))
		return
	}
	stream := &eventStream{socket: newSocket(conn), format: format, chunked: r.ProtoAtLeast(1, 1)}
	head := stream.head(w.Header())
	client := s.opts.Hub.Attach(stream, func(string) []byte { return head })
	if client == nil { // the gateway is going down
		_, _ = conn.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: " + retryAfter + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		_ = conn.Close()
		s.joined()
		s.release()
		return
	}
	go func() {
		defer s.release()
		client.Subscribe(context.Background(), request)
		s.joined()
		stream.watch()
		client.Detach()
	}()
}

// reach finds out what the broker says to the filters while there still is a
// status to tell it with.
func (s *Server) reach(ctx context.Context, r *hub.Request) *wire.Problem {
	for _, res := range r.Results {
		if code, detail := s.opts.Hub.Reach(ctx, res.Topic); code != "" {
			return fieldProblem(wire.Code(code), "/topic", detail)
		}
	}
	return nil
}

// chooseFormat reads ?format= and Accept.
func chooseFormat(r *http.Request) (streamFormat, *wire.Problem) {
	if query := r.URL.Query(); query.Has("format") {
		for _, f := range []streamFormat{formatSSE, formatNDJSON, formatText} {
			if f.String() == query.Get("format") {
				return f, nil
			}
		}
		return 0, fieldProblem(wire.CodeInvalidParameter, "/format", "format must be sse, ndjson or text.")
	}
	switch choose(r, typeNDJSON, "application/ndjson", typeText, "text/event-stream") {
	case "text/event-stream":
		return formatSSE, nil
	case typeText:
		return formatText, nil
	case "":
		return 0, problem(wire.CodeNotAcceptable, "The stream comes as text/event-stream, application/x-ndjson or text/plain.")
	}
	return formatNDJSON, nil
}

// streamFormat is how /events writes.
type streamFormat int

const (
	formatNDJSON streamFormat = iota
	formatSSE
	formatText
)

func (f streamFormat) String() string { return [...]string{"ndjson", "sse", "text"}[f] }

func (f streamFormat) mediaType() string {
	return [...]string{"application/x-ndjson", "text/event-stream; charset=utf-8", "text/plain; charset=utf-8"}[f]
}

// head is the response's head, and the stream's first bytes.
func (e *eventStream) head(more http.Header) []byte {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\n")
	more = more.Clone()
	more.Set("Content-Type", e.format.mediaType())
	more.Set("Cache-Control", "no-cache, no-transform")
	more.Set("X-Accel-Buffering", "no") // nginx passes it on at once
	if e.chunked {
		more.Set("Transfer-Encoding", "chunked")
	} else {
		more.Set("Connection", "close")
	}
	_ = more.Write(&b)
	b.WriteString("\r\n")
	out := []byte(b.String())
	if e.format == formatSSE {
		// Spread the reconnects of many clients.
		out = e.appendChunk(out, func(dst []byte) []byte {
			return fmt.Appendf(dst, "retry: %d\n\n", 1000+rand.IntN(4000))
		})
	}
	return out
}

// maxTalk is how many bytes a client may send on a stream for nothing.
const maxTalk = 64 << 10

// watch returns when the client is gone or the stream has ended. A client has
// nothing to say on a stream; what it sends is thrown away.
func (e *eventStream) watch() {
	_, _ = io.CopyN(io.Discard, e.Conn, maxTalk)
	e.failed.Store(true)
	_ = e.Conn.Close()
}

// appendChunk frames what write appends as one chunk (RFC 9112 section 7.1).
func (e *eventStream) appendChunk(dst []byte, write func([]byte) []byte) []byte {
	if !e.chunked {
		return write(dst)
	}
	// Room for the size first; it is written when it is known.
	const digits = 8
	start := len(dst)
	dst = append(dst, "00000000\r\n"...)
	body := len(dst)
	dst = write(dst)
	n := len(dst) - body
	if n == 0 {
		return dst[:start] // an empty chunk would end the stream
	}
	size := strconv.AppendInt(make([]byte, 0, 16), int64(n), 16)
	copy(dst[start+digits-len(size):], size)
	return append(dst, "\r\n"...)
}
