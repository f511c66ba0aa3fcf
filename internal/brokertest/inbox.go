package brokertest

import (
	"context"
	"time"
)

// deliver appends what one read brought.
func (c *Client) deliver(batch []Message) {
	if len(batch) == 0 {
		return
	}
	c.mu.Lock()
	c.received = append(c.received, batch...)
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
	c.mu.Unlock()
}

// firstOf reports whether a QoS 2 id is new, and remembers it until PUBREL.
func (c *Client) firstOf(id uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open2[id] {
		return false
	}
	c.open2[id] = true
	return true
}

func (c *Client) released(id uint16) {
	c.mu.Lock()
	delete(c.open2, id)
	c.mu.Unlock()
}

// Received is all that came so far. The result is never changed afterwards.
func (c *Client) Received() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.received[:len(c.received):len(c.received)]
}

// Count is the number of messages received so far.
func (c *Client) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.received)
}

// Forget empties what Received, Count, Next, Wait and WaitCount see.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received, c.read = nil, 0
}

// look returns the messages and a channel that is closed when more arrive.
func (c *Client) look() ([]Message, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.received[:len(c.received):len(c.received)], c.changed
}

// Next returns the messages one by one, in the order of arrival.
func (c *Client) Next(ctx context.Context) (Message, error) {
	for {
		c.mu.Lock()
		if c.read < len(c.received) {
			m := c.received[c.read]
			c.read++
			c.mu.Unlock()
			return m, nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// WaitCount waits until n messages have come and returns all there are.
func (c *Client) WaitCount(n int, timeout time.Duration) []Message {
	c.t.Helper()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		messages, changed := c.look()
		if len(messages) >= n {
			return messages
		}
		select {
		case <-changed:
		case <-timer.C:
			c.t.Fatalf("brokertest: got %d messages in %v, want %d", len(messages), timeout, n)
		}
	}
}

// Wait returns the first message for which match is true, among those that
// came already and those to come.
func (c *Client) Wait(timeout time.Duration, match func(Message) bool) Message {
	c.t.Helper()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for seen := 0; ; {
		messages, changed := c.look()
		for ; seen < len(messages); seen++ {
			if match(messages[seen]) {
				return messages[seen]
			}
		}
		select {
		case <-changed:
		case <-timer.C:
			c.t.Fatalf("brokertest: no such message among %d in %v", seen, timeout)
			return Message{}
		}
	}
}
