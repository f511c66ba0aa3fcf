package client

import (
	"context"
	"net/http"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// defaultWithin is how long the gateway waits for a reply.
const defaultWithin = 5 * time.Second

// Expect waits for a reply with exactly this payload, so that a Request confirms
// the device's state.
func Expect(v any) Option {
	return func(p *publishing) {
		p.asks = "Expect"
		p.expect, p.wrong = payloadOf(v)
	}
}

// Within is how long to wait for the reply; 5 s, from 10 ms to a minute.
func Within(d time.Duration) Option {
	return func(p *publishing) { p.asks, p.within = "Within", d }
}

// Request publishes a command, and returns the first message that comes on
// reply, a topic or a filter. Of the options it takes QoS, Key, Expect and
// Within. Without a reply the error has the code no_reply: the command was
// published, and the device may have acted.
func (c *Client) Request(ctx context.Context, topic string, payload any, reply string, options ...Option) (*Message, error) {
	p, failure := newPublishing(options, true)
	if failure != nil {
		return nil, failure
	}
	query, failure := p.query()
	if failure != nil {
		return nil, failure
	}
	command, failure := payloadOf(payload)
	if failure != nil {
		return nil, failure
	}
	r := &call{
		method: http.MethodPost, path: "/request/" + escaped(topic), query: query, contentType: "application/octet-stream", body: command.bytes, key: p.key,
		extra: defaultWithin,
	}
	query.Set(wire.FieldReply, reply)
	if p.expect != nil {
		query.Set(wire.FieldExpect, string(p.expect.bytes))
	}
	if p.within != 0 {
		query.Set(wire.FieldTimeout, p.within.String())
		r.extra = p.within
	}
	a, failure := c.do(ctx, r)
	if failure != nil {
		return nil, failure
	}
	m, err := decodeMessage(a.body)
	if err != nil { // published, and the reply broke off
		return nil, broken(err, true)
	}
	return m, nil
}

// Get gives the newest message on a topic: the newest that the gateway has
// received, or the one that the broker keeps. Without one the error is
// ErrNoValue.
func (c *Client) Get(ctx context.Context, topic string) (*Message, error) {
	a, failure := c.do(ctx, &call{method: http.MethodGet, path: "/topics/" + escaped(topic), accept: "application/json", safe: true})
	if failure != nil {
		return nil, failure
	}
	m, err := decodeMessage(a.body)
	return m, understood(err)
}
