package stream

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// Format is how a response writes a stream.
type Format string

// Formats.
const (
	FormatNDJSON Format = "ndjson"
	FormatSSE    Format = "sse"
	FormatText   Format = "text"
)

// Formats are all of them.
var Formats = []Format{FormatNDJSON, FormatSSE, FormatText}

// MediaType is the response's Content-Type.
func (f Format) MediaType() string {
	switch f {
	case FormatSSE:
		return "text/event-stream; charset=utf-8"
	case FormatText:
		return "text/plain; charset=utf-8"
	default:
		return "application/x-ndjson"
	}
}

// Response is the HTTP response that a stream is written as.
type Response struct {
	Format Format
	// Chunked: the body comes in chunks, and so has an end of its own. Clients
	// of HTTP/1.0 see it end with the connection.
	Chunked bool
	// KeepAlive is how often the stream shows life while it is quiet. 0: as
	// Timing says for server-sent events, never for others.
	KeepAlive time.Duration
	// Notes writes what is no payload into FormatText, too.
	Notes  bool
	Timing Timing
}

// Codec frames the response's body. It is one client's.
func (r Response) Codec() outbox.Codec {
	body, quiet := chunked(r.Chunked), life{every: r.KeepAlive, shown: time.Now()}
	switch r.Format {
	case FormatSSE:
		quiet.every = cmp.Or(r.KeepAlive, r.Timing.withDefaults().KeepAlive)
		return &sse{chunked: body, life: quiet, retry: 1000 + rand.IntN(4000)} // spreads the reconnects of many clients
	case FormatText:
		return &text{chunked: body, life: quiet, notes: r.Notes}
	default:
		return &ndjson{chunked: body, life: quiet}
	}
}

// Head is the response's head, with more headers.
func (r Response) Head(more http.Header) []byte {
	h := more.Clone()
	r.describe(h)
	if r.Chunked {
		h.Set("Transfer-Encoding", "chunked")
	} else {
		h.Set("Connection", "close")
	}
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&b)
	b.WriteString("\r\n")
	return []byte(b.String())
}

// life is when a quiet stream shows that it lives. Its client's shard uses it.
type life struct {
	every time.Duration // 0: never
	shown time.Time
}

// due reports whether it is time, and notes that it was.
func (l *life) due(now time.Time) bool {
	if l.every == 0 || now.Sub(l.shown) < l.every {
		return false
	}
	l.shown = now
	return true
}

// describe sets the header fields that say what the body is.
func (r Response) describe(h http.Header) {
	h.Set("Content-Type", r.Format.MediaType())
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx passes it on at once
}

// expired is the last frame of a response whose reader is let in no longer.
var expired = outbox.Frame{Kind: wire.TypeExpired, Body: []byte(`{"type":"` + wire.TypeExpired + `"}`)}

// ofReader reports whether a stream ends because of who reads it.
func ofReader(why outbox.CloseReason) bool {
	return why == outbox.CloseExpired || why == outbox.CloseRights
}

// chunked says whether a body is framed in chunks (RFC 9112 section 7.1).
type chunked bool

// sizeDigits is the room for a chunk's size, which is known only afterwards.
const sizeDigits = 8

// begin begins a chunk; its content is appended, and end called with start.
func (c chunked) begin(dst []byte) (out []byte, start int) {
	if c {
		dst = append(dst, "00000000\r\n"...)
	}
	return dst, len(dst)
}

// end ends the chunk. One without content is none: it would end the body.
func (c chunked) end(dst []byte, start int) []byte {
	if !c {
		return dst
	}
	size := start - len("\r\n")
	if len(dst) == start {
		return dst[:size-sizeDigits]
	}
	digits := strconv.AppendInt(make([]byte, 0, 16), int64(len(dst)-start), 16)
	copy(dst[size-len(digits):], digits)
	return append(dst, "\r\n"...)
}

// framing names the way in which messages are framed as f.
func (c chunked) framing(f Format) string {
	if c {
		return string(f) + " in chunks"
	}
	return string(f)
}

// last ends the body in order.
func (c chunked) last(dst []byte) []byte {
	if c {
		return append(dst, "0\r\n\r\n"...)
	}
	return dst
}
