package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// maxAnswer bounds an answer and a frame: the largest payloads that a gateway
// may be set to, escaped, are far below.
const maxAnswer = 64 << 20

// call is a request to the gateway.
type call struct {
	method, path string // path is escaped
	query        url.Values
	contentType  string
	accept       string
	body         []byte
	key          string        // Idempotency-Key
	safe         bool          // doing it twice does no harm
	extra        time.Duration // how long the gateway may wait itself
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// do carries out r, and tries again what was certainly not sent.
func (c *Client) do(ctx context.Context, r *call) (*answer, *Error) {
	ctx, done, ok := c.begin(ctx)
	if !ok {
		return nil, closedError()
	}
	defer done()
	end := time.Now().Add(max(0, c.opts.RetryFor))
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	for attempts := 0; ; attempts++ {
		a, failure := c.attempt(ctx, r)
		if failure == nil {
			return a, nil
		}
		pause := max(c.pause(attempts), failure.RetryAfter)
		if !failure.Retryable || ctx.Err() != nil || time.Now().Add(pause).After(end) {
			return nil, failure
		}
		c.waiting(failure, pause)
		if err := sleep(ctx, pause); err != nil {
			failure.cause = err
			return nil, failure
		}
	}
}

// attempt carries out r once.
func (c *Client) attempt(ctx context.Context, r *call) (*answer, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout+r.extra)
	defer cancel()
	// From when a connection is there, bytes may have been sent.
	var begun atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { begun.Store(false) }, // net/http has another go only if nothing was written
		GotConn: func(httptrace.GotConnInfo) { begun.Store(true) },
	})
	req, err := c.request(traced, r)
	if err != nil {
		return nil, &Error{Code: CodeNotConnected, Detail: "The request cannot be made. Nothing was sent.", cause: err}
	}
	res, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, broken(err, begun.Load() && !r.safe)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.StatusCode/100 != 2 || media != "application/json":
		return nil, ofAnswer(res.StatusCode, res.Header, body, !r.safe)
	case err != nil && r.safe:
		return nil, broken(err, false)
	}
	return &answer{res.StatusCode, res.Header, body}, nil // of a publish the status is enough
}

func (c *Client) request(ctx context.Context, r *call) (*http.Request, error) {
	address := c.base.String() + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Content-Type": r.contentType, "Accept": r.accept, "Idempotency-Key": r.key} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if r.key != "" {
		req.GetBody = nil // net/http would send what has a key again by itself
	}
	bearer, err := c.bearer(ctx)
	if bearer != "" {
		req.Header.Set("Authorization", bearer)
	}
	return req, err
}

// broken is a request without an answer.
func broken(cause error, unknown bool) *Error {
	if unknown {
		return &Error{Code: wire.CodeOutcomeUnknown, Detail: "The connection ended before the answer.", unknown: true, cause: cause}
	}
	var certificate *tls.CertificateVerificationError
	return &Error{
		Code: CodeNotConnected, Detail: "The gateway cannot be reached. Nothing was sent.", cause: cause,
		Retryable: !errors.As(cause, &certificate) && !errors.Is(cause, ErrClosed),
	}
}

// pause is how long to wait after so many attempts: by chance, so that those who
// lost the gateway together do not come back together.
func (c *Client) pause(attempts int) time.Duration {
	limit := min(c.opts.MaxWait, 500*time.Millisecond<<min(attempts, 10))
	return time.Duration(rand.Float64() * float64(limit))
}

func (c *Client) waiting(err error, pause time.Duration) {
	if c.opts.Waiting != nil {
		c.opts.Waiting(err, pause)
	}
}

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// escaped is a topic as the rest of a path.
func escaped(topic string) string {
	levels := strings.Split(topic, "/")
	for i, l := range levels {
		levels[i] = url.PathEscape(l)
	}
	return strings.Join(levels, "/")
}
