package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options are what a program may want to choose. The zero value is for a
// gateway that asks nobody who they are.
type Options struct {
	// Token is a key or a token. It goes in a header, never into an address.
	Token string
	// NewToken, if set, is asked for a token in the place of Token, for each
	// request and for each connection of a subscription.
	NewToken func(context.Context) (string, error)
	// HTTP carries everything, the WebSockets too: for a private CA, a client
	// certificate or a proxy. Close leaves its idle connections alone.
	HTTP *http.Client

	// Timeout is how long one attempt may wait for the gateway's answer; 30 s.
	Timeout time.Duration
	// RetryFor is how long a call goes on trying what was certainly not sent;
	// 30 s. Negative: it is not tried again.
	RetryFor time.Duration
	// Heartbeat is how long a subscription's connection may be silent before it
	// is tested. When no answer comes in as much time again, it is given up; 15 s.
	Heartbeat time.Duration
	// MaxWait is the longest pause between two attempts; 20 s. Pauses are drawn
	// between nothing and a limit, which doubles from half a second up to it.
	MaxWait time.Duration
	// Waiting, if set, is told why there is a pause before the next attempt. It
	// may be called from several goroutines at once.
	Waiting func(err error, pause time.Duration)
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&o.Timeout, 30 * time.Second}, {&o.RetryFor, 30 * time.Second}, {&o.Heartbeat, 15 * time.Second}, {&o.MaxWait, 20 * time.Second}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
}

// Client is a gateway, as a program sees it. All methods may be called at any
// time from any goroutine.
type Client struct {
	base    *url.URL // without a slash at its end
	opts    Options
	http    *http.Client
	release func() // lets idle connections go

	ctx    context.Context // the client's life
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool                   // guarded by mu
	subs   map[*Subscription]bool // guarded by mu
	calls  sync.WaitGroup         // Add only under mu, while not closed
}

// Dial asks the gateway at address, such as http://localhost:8080, whether it is
// there and our credentials are good; without any it is let in, perhaps with no
// rights. It tries once: an error that is Retryable says that the gateway cannot
// be reached at the moment. ctx bounds Dial, not the client.
func Dial(ctx context.Context, address string, options Options) (*Client, error) {
	base, err := baseURL(address)
	if err != nil {
		return nil, err
	}
	options.setDefaults()
	c := &Client{base: base, opts: options, subs: map[*Subscription]bool{}, release: func() {}}
	if c.http = options.HTTP; c.http == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 64
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: options.Heartbeat, PingTimeout: options.Heartbeat}
		c.http, c.release = &http.Client{Transport: t}, t.CloseIdleConnections
	}
	if c.http.CheckRedirect == nil {
		own := *c.http
		// A redirected POST may become a GET, which would publish nothing.
		own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		c.http = &own
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	ctx, cancel := context.WithTimeout(ctx, options.Timeout)
	defer cancel()
	if _, failure := c.attempt(ctx, &call{method: http.MethodGet, path: "/auth/whoami", safe: true}); failure != nil {
		c.Close()
		return nil, failure
	}
	return c, nil
}

// baseURL takes the address of the gateway, or of its WebSocket.
func baseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err == nil {
		u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	}
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, &Error{Code: CodeInvalidAddress, Detail: "The gateway's address must be like http://localhost:8080."}
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, &Error{Code: CodeInvalidAddress, Detail: "The gateway's address must have no credentials, query or fragment; a token is an option."}
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/ws"), "/")
	u.RawPath = ""
	return u, nil
}

// Close ends all subscriptions, breaks off what is under way, and returns when
// that has ended. Loops over Events end without an error.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	subs := c.subs
	c.subs = nil
	c.mu.Unlock()
	c.cancel()
	for s := range subs {
		s.Close()
	}
	c.calls.Wait()
	c.release()
}

// begin gives a call a context that ends with the client, too. The call ends
// with done.
func (c *Client) begin(ctx context.Context) (_ context.Context, done func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, false
	}
	c.calls.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil); c.calls.Done() }, true
}

// bearer is the Authorization header's value, empty without a token.
func (c *Client) bearer(ctx context.Context) (string, error) {
	token := c.opts.Token
	if c.opts.NewToken != nil {
		var err error
		if token, err = c.opts.NewToken(ctx); err != nil {
			return "", err
		}
	}
	if token == "" {
		return "", nil
	}
	return "Bearer " + token, nil
}
