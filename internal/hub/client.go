package hub

import (
	"encoding/json"

	"github.com/vulturepi/gateway/internal/hub/outbox"
	"github.com/vulturepi/gateway/wire"
)

// Client is one connection. Its methods may be called concurrently, except
// that Subscribe and Unsubscribe come from one goroutine at a time.
type Client struct {
	// Static after Attach.
	hub       *Hub
	out       outbox.Outbox // has a lock of its own
	id        uint64
	transport string

	// Guarded by hub.mu.
	place     int // in hub.clients
	subs      map[string]*subscription
	catchup   *catchup    // nil: not needed yet, or its subscriptions have changed
	throttles []*throttle // of its subscriptions
	last      uint64      // newest message handed to out, so that overlapping filters deliver once
	told      uint64      // newest gap for everybody that was queued
	gone      bool
	class     *class // of its rights
	// replaying is the first message that a replay under way has not queued,
	// 0 without one.
	replaying uint64
}

// ID of an op, echoed in the answer; nil for none.
type ID = json.RawMessage

// Attach adds a connection of somebody with these rights. first, if not nil, gives the bytes that are sent
// before anything else, from the newest cursor. Attach fails (returns nil)
// when the hub is shutting down.
func (h *Hub) Attach(conn outbox.Conn, codec outbox.Codec, rights *Rights, first func(cursor string) []byte) *Client {
	c := &Client{hub: h, id: h.nextID.Add(1), transport: codec.Name()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return nil
	}
	c.out.Init(h.shared, h.writers, c.id, conn, codec, c, h.deliveredBy(c.transport))
	c.class = h.enter(rights)
	h.clients.add(c)
	h.subscribers[c.transport]++
	c.told = h.seq
	if first != nil {
		c.out.PushPlaced(first(h.cursor(h.seq)), h.seq)
	}
	if !h.broker.Connected {
		c.send(outbox.Frame{Kind: "broker", Body: wire.Encode(&h.broker)})
	}
	c.out.Kick()
	return c
}

// Detach removes the connection and everything it held. Safe to call twice.
func (c *Client) Detach() {
	h := c.hub
	c.out.Detach()
	h.mu.Lock()
	if c.gone {
		h.mu.Unlock()
		return
	}
	c.gone = true
	filters := make([]string, 0, len(c.subs))
	for f, s := range c.subs {
		s.end()
		filters = append(filters, f)
	}
	c.subs, c.catchup = nil, nil
	h.clients.remove(c)
	h.subscribers[c.transport]--
	h.forgetOwed(c, filters)
	h.quit(c.class)
	c.class = nil
	h.mu.Unlock()
	h.unwatch(filters)
}

// Send queues a control frame. It comes behind the messages that are queued; of
// a client that is behind, others may follow it that are older.
func (c *Client) Send(kind string, frame any) {
	c.send(outbox.Frame{Kind: kind, Body: wire.Encode(frame)})
	c.out.Kick()
}

// Acknowledge answers an op that changes none of the client's subscriptions.
func (c *Client) Acknowledge(ack *wire.Ack) {
	c.hub.mu.Lock()
	c.sendAck(ack, c.hub.seq, false)
	c.hub.mu.Unlock()
	c.out.Kick()
}

// WaitDrained returns when nothing waits for the client behind what its socket
// takes now; false when the client is being ended.
func (c *Client) WaitDrained() bool { return c.out.WaitDrained() }

// SendRaw queues bytes that are framed already.
func (c *Client) SendRaw(p []byte) {
	c.out.PushRaw(p)
	c.out.Kick()
}

func (c *Client) send(f outbox.Frame) {
	if p := c.out.Codec().AppendFrame(nil, f); len(p) > 0 {
		c.out.PushRaw(p)
	}
}

// sendAt queues a frame behind which the client resumes from seq, or, while it
// does not have everything up to there, from before that. Called under hub.mu.
func (c *Client) sendAt(seq uint64, frame func(cursor string) outbox.Frame) {
	for {
		place := c.safe(seq)
		p := c.out.Codec().AppendFrame(nil, frame(c.hub.cursor(place)))
		if c.out.PushPlaced(p, place) {
			return
		}
	}
}

// sendAck is sendAt for an ack. Its cursor stands in its body; with early the
// frame itself has none, because something older follows.
func (c *Client) sendAck(ack *wire.Ack, seq uint64, early bool) {
	c.sendAt(seq, func(cursor string) outbox.Frame {
		ack.Type, ack.Cursor = "ack", cursor
		f := outbox.Frame{Kind: "ack", Cursor: cursor, Body: wire.Encode(ack)}
		if early {
			f.Cursor = ""
		}
		return f
	})
}

// Close ends the connection for a reason of the hub's; CloseRaw with last
// bytes that the transport framed itself. What is queued in the socket's
// buffer goes out first, what waits behind it is dropped and counted.
func (c *Client) Close(why outbox.CloseReason) {
	c.CloseRaw(c.out.Codec().AppendClose(nil, why))
}

// CloseRaw: see Close.
func (c *Client) CloseRaw(last []byte) {
	c.out.Finish(last)
	c.out.Kick()
}

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
