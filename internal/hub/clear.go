package hub

import "time"

// clearWait is how long the message that clears a topic may take to come back
// from the broker.
const clearWait = 10 * time.Second

// maxClears is how many clears may be expected at once. What comes beyond is an
// empty message like any other.
const maxClears = 1 << 16

// clears are the empty messages on their way that delete a topic's retained
// one. Guarded by hub.mu.
type clears struct {
	byTopic map[string][]*expected
	count   int
}

// expected is one message that clears and has not come yet.
type expected struct {
	over  bool // it has come, or will not
	timer *time.Timer
}

// ExpectClear announces an empty message that deletes the retained one of a
// topic: when it comes, the topic has no value any more. With MQTT 3.1.1 other
// empty messages are values like any, because nothing tells them apart. The caller says what
// became of the message with the function that it gets.
func (h *Hub) ExpectClear(name string) (settle func(sent bool)) {
	e := new(expected)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clears.count >= maxClears {
		return func(bool) {}
	}
	h.clears.byTopic[name] = append(h.clears.byTopic[name], e)
	h.clears.count++
	end := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		e.over = true
		h.clears.trim(name)
	}
	return func(sent bool) {
		if !sent {
			end()
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if !e.over {
			e.timer = time.AfterFunc(clearWait, end)
		}
	}
}

// trim forgets those at the front that are over: each is looked at once.
func (c *clears) trim(name string) {
	all := c.byTopic[name]
	for len(all) > 0 && all[0].over {
		all = all[1:]
		c.count--
	}
	if c.byTopic[name] = all; len(all) == 0 {
		delete(c.byTopic, name)
	}
}

// take reports whether a clear was expected, and ends it.
func (c *clears) take(name string) bool {
	c.trim(name)
	if len(c.byTopic[name]) == 0 {
		return false
	}
	e := c.byTopic[name][0]
	if e.over = true; e.timer != nil {
		e.timer.Stop()
	}
	c.trim(name)
	return true
}
