package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/vulturepi/gateway/wire"
)

var (
	errSilent   = errors.New("nothing comes any more, not even the answer to a ping")
	errNoAnswer = errors.New("the gateway shows signs of life, and does not answer")
)

// socket is one WebSocket, which tests itself while somebody reads from it. One
// goroutine at a time may read.
type socket struct {
	ws        *websocket.Conn
	heartbeat time.Duration
	ctx       context.Context // ends with the connection, and says why
	cancel    context.CancelCauseFunc
	tests     sync.WaitGroup

	mu      sync.Mutex
	closed  bool        // guarded by mu
	reading bool        // guarded by mu
	tested  bool        // guarded by mu: a ping was sent, and nothing has come since
	heard   time.Time   // guarded by mu
	timer   *time.Timer // guarded by mu
}

// connect opens a WebSocket. ctx is the connection's life.
func (c *Client) connect(ctx context.Context) (*socket, *Error) {
	k := &socket{heartbeat: c.opts.Heartbeat}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	dialing, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	bearer, err := c.bearer(dialing)
	if err != nil {
		k.cancel(nil)
		return nil, broken(err, false)
	}
	header := http.Header{}
	if bearer != "" {
		header.Set("Authorization", bearer)
	}
	ws, res, err := websocket.Dial(dialing, c.base.String()+"/ws", &websocket.DialOptions{
		HTTPClient: c.http, HTTPHeader: header, Subprotocols: []string{wire.Subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { k.hear(); return true },
	})
	if err != nil {
		k.cancel(nil)
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			body, _ := io.ReadAll(res.Body)
			return nil, ofAnswer(res.StatusCode, res.Header, body, false)
		}
		return nil, broken(err, false)
	}
	ws.SetReadLimit(maxAnswer)
	k.ws = ws
	return k, nil
}

func (k *socket) hear() {
	k.mu.Lock()
	k.heard, k.tested = time.Now(), false
	k.mu.Unlock()
}

// watch begins and ends the time in which the connection may not be silent.
func (k *socket) watch(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reading, k.tested, k.heard = on, false, time.Now()
	switch {
	case k.timer == nil:
		k.timer = time.AfterFunc(k.heartbeat, k.test)
	case on:
		k.timer.Reset(k.heartbeat)
	default:
		k.timer.Stop()
	}
}

// test asks a silent connection for a sign of life, and gives up one that has
// shown none for as long again.
func (k *socket) test() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.reading || k.closed {
		return
	}
	quiet := time.Since(k.heard)
	switch {
	case quiet < k.heartbeat:
		k.timer.Reset(k.heartbeat - quiet)
		return
	case k.tested:
		k.cancel(errSilent)
		return
	}
	k.tested = true
	k.tests.Add(1)
	go func() {
		defer k.tests.Done()
		ctx, cancel := context.WithTimeout(k.ctx, k.heartbeat)
		defer cancel()
		_ = k.ws.Write(ctx, websocket.MessageText, []byte(`{"`+wire.FieldOp+`":"`+wire.OpPing+`"}`))
	}()
	k.timer.Reset(k.heartbeat)
}

// answersWithin gives the connection up unless stop is called in time.
func (k *socket) answersWithin(d time.Duration) (stop func() bool) {
	return time.AfterFunc(d, func() { k.cancel(errNoAnswer) }).Stop
}

// read gives the next frame.
func (k *socket) read() ([]byte, *Error) {
	k.watch(true)
	defer k.watch(false)
	_, r, err := k.ws.Reader(k.ctx)
	var frame []byte
	if err == nil {
		frame, err = io.ReadAll(heard{k, r})
	}
	if err != nil {
		return nil, k.lost(err)
	}
	return frame, nil
}

// heard counts every part of a large frame as a sign of life.
type heard struct {
	k *socket
	r io.Reader
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if n > 0 {
		h.k.hear()
	}
	return n, err
}

func (k *socket) send(op map[string]any) *Error {
	b, err := json.Marshal(op)
	if err != nil {
		return k.lost(err)
	}
	return k.write(b)
}

func (k *socket) write(frame []byte) *Error {
	ctx, cancel := context.WithTimeout(k.ctx, 2*k.heartbeat)
	defer cancel()
	if err := k.ws.Write(ctx, websocket.MessageText, frame); err != nil {
		return k.lost(err)
	}
	return nil
}

// lost is why the connection ended; Retryable: it is worth another one.
func (k *socket) lost(err error) *Error {
	e := &Error{Code: CodeNotConnected, Retryable: true, Detail: "The connection to the gateway ended.", cause: err}
	if cause := context.Cause(k.ctx); cause != nil {
		e.cause = cause
	}
	var closed websocket.CloseError
	if !errors.As(err, &closed) {
		return e
	}
	switch code := wire.CloseCode(closed.Code); {
	case code == wire.CloseCredentials || code == wire.CloseUnknown:
		e.Status, e.Code, e.Retryable = http.StatusUnauthorized, wire.CodeUnauthenticated, false
	case code == wire.CloseRights:
		e.Status, e.Code, e.Retryable = http.StatusForbidden, wire.CodeFilterForbidden, false
	case code >= 4500, code >= wire.CloseProtocolError && code <= wire.CloseBinary, code >= wire.CloseInvalidUTF8 && code <= wire.CloseTooBig:
		e.Retryable = false
	}
	e.Detail = fmt.Sprintf("The gateway closed the connection with %d: %s.", closed.Code, closed.Reason)
	e.cause = nil
	return e
}

// close returns when nothing of the connection is left. It may be called at any
// time, and more than once.
func (k *socket) close() {
	k.mu.Lock()
	k.closed = true
	if k.timer != nil {
		k.timer.Stop()
	}
	k.mu.Unlock()
	k.cancel(ErrClosed)
	_ = k.ws.CloseNow()
	k.tests.Wait()
}
