package stream

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

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
	Timing  Timing
}

// Codec frames the response's body. It is one client's.
func (r Response) Codec() outbox.Codec {
	body := chunked(r.Chunked)
	switch r.Format {
	case FormatSSE:
		return &sse{chunked: body, every: r.Timing.withDefaults().KeepAlive}
	case FormatText:
		return text{body}
	default:
		return ndjson{body}
	}
}

// Head is the response's head, with more headers, and the first bytes of the
// body.
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
	return r.first([]byte(b.String()))
}

// describe sets the header fields that say what the body is.
func (r Response) describe(h http.Header) {
	h.Set("Content-Type", r.Format.MediaType())
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx passes it on at once
}

// first appends the first bytes of the body, if it has any of its own.
func (r Response) first(dst []byte) []byte {
	if r.Format != FormatSSE {
		return dst
	}
	// Spread the reconnects of many clients.
	body := chunked(r.Chunked)
	dst, start := body.begin(dst)
	return body.end(fmt.Appendf(dst, "retry: %d\n\n", 1000+rand.IntN(4000)), start)
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
