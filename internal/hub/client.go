package hub

import (
	"encoding/json"
	"time"
)

// CloseReason says why the hub ends a connection; the transport turns it into
// its own words.
type CloseReason int

// Reasons.
const (
	CloseShutdown CloseReason = iota // the gateway stops
	CloseSlow                        // the client does not keep up
)

// Frame is a control frame on its way to a transport.
type Frame struct {
	Kind   string // its type: ack, gap, broker, ...; empty: only a cursor, for transports that can say it alone
	Cursor string // the place to resume from after it, if it has one
	Body   []byte // its JSON object
}

// Transport is one client's connection as the hub sees it. The hub calls
// TryWrite and WriteAll from one goroutine at a time; the Append methods are pure.
type Transport interface {
	// Name is the transport's label in metrics: websocket.
	Name() string
	// TryWrite writes what the socket takes at once; less than all of p
	// without an error means that it is full.
	TryWrite(p []byte) (int, error)
	// WriteAll writes all of p, waiting for the socket, or fails when the
	// client takes nothing for the transport's write deadline.
	WriteAll(p []byte) (int, error)
	// Hurry is called when the end is near: from now on the client has to
	// take what is left quickly. It must not block.
	Hurry()
	// Finish is called after the last byte was written: end the connection
	// softly. Abort ends it at once. Either may be called more than once.
	Finish()
	Abort()
	// Silent reports whether the client has shown no life for too long.
	Silent(now time.Time) bool

	// Framing names the way in which AppendMessage frames: where it is the
	// same, so are the bytes, and clients share them. It does not change.
	Framing() string
	// AppendMessage frames a message onto dst; body is its JSON object as
	// this client sees it. AppendFrame does so for a control frame.
	AppendMessage(dst []byte, m *Message, body []byte) []byte
	AppendFrame(dst []byte, f Frame) []byte
	// KeepAlive gives what provokes or shows life, when it is time for it.
	KeepAlive(now time.Time) []byte
	// AppendClose appends the transport's last words.
	AppendClose(dst []byte, why CloseReason) []byte
}

// Client is one connection. Its methods may be called concurrently, except
// that Subscribe and Unsubscribe come from one goroutine at a time.
type Client struct {
	hub   *Hub
	shard *shard
	out   outbox
	id    uint64

	// Guarded by hub.mu.
	subs  map[string]*subscription
	last  uint64 // newest message handed to out, so that overlapping filters deliver once
	gone  bool
	held  int    // messages that min_interval holds back
	floor uint64 // no message that is held back is older than that
	// replaying is the first message that a replay under way has not queued,
	// 0 without one.
	replaying uint64
}

// Attach adds a connection. first, if not nil, gives the bytes that are sent
// before anything else, from the newest cursor. Attach fails (returns nil)
// when the hub is shutting down.
func (h *Hub) Attach(t Transport, first func(cursor string) []byte) *Client {
	id := h.nextID.Add(1)
	c := &Client{hub: h, id: id, shard: h.shards[id%uint64(len(h.shards))]}
	c.out.init(c, t)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return nil
	}
	h.clients[c] = struct{}{}
	h.stats.attach(t.Name())
	c.shard.track(c)
	if first != nil {
		c.out.pushRaw(first(h.cursor(h.seq)))
	}
	if !h.broker.Connected {
		c.send(Frame{Kind: "broker", Body: encode(&h.broker)})
	}
	c.shard.kick()
	return c
}

// Detach removes the connection and everything it held. Safe to call twice.
func (c *Client) Detach() {
	h := c.hub
	c.out.abort() // first, so that what it has delivered is final
	h.mu.Lock()
	if c.gone {
		h.mu.Unlock()
		return
	}
	c.gone = true
	filters := make([]string, 0, len(c.subs))
	for f, s := range c.subs {
		s.end(f)
		filters = append(filters, f)
	}
	c.subs = nil
	delete(h.clients, c)
	delete(h.owed, c)
	h.stats.detach(c.out.transport.Name(), c.out.delivered.Load())
	h.mu.Unlock()
	c.shard.untrack(c)
	h.unwatch(filters)
}

// Send queues a control frame; it keeps its place among the messages.
func (c *Client) Send(kind string, frame any) {
	c.send(Frame{Kind: kind, Body: encode(frame)})
	c.shard.kick()
}

// SendRaw queues bytes that are framed already.
func (c *Client) SendRaw(p []byte) {
	c.out.pushRaw(p)
	c.shard.kick()
}

func (c *Client) send(f Frame) {
	if p := c.out.transport.AppendFrame(nil, f); len(p) > 0 {
		c.out.pushRaw(p)
	}
}

// Close ends the connection for a reason of the hub's; CloseRaw with last
// bytes that the transport framed itself. What is queued in the socket's
// buffer goes out first, what waits behind it is dropped and counted.
func (c *Client) Close(why CloseReason) {
	c.CloseRaw(c.out.transport.AppendClose(nil, why))
}

// CloseRaw: see Close.
func (c *Client) CloseRaw(last []byte) {
	c.out.finish(last)
	c.shard.kick()
}

func (c *Client) abort() { c.out.abort() }

// Filters is the number of filters that the client holds.
func (c *Client) Filters() int {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return len(c.subs)
}

// Has reports whether the client holds filter.
func (c *Client) Has(filter string) bool {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.subs[filter] != nil
}

// ID of an op, echoed in the answer; nil for none.
type ID = json.RawMessage
