package mqtt

import (
	"context"
	"time"
)

var pingreq = []byte{byte(PINGREQ) << 4, 0}

// Ping sends a PINGREQ, whatever else is under way. Nobody waits for the answer; but one that does not come ends the
// connection, like any.
func (c *Conn) Ping() { c.ping(nil) }

// RoundTrip waits for the answer to a PINGREQ. Whatever was sent before it has been served by the broker then. The errors
// are that of ctx, and why the connection ended.
func (c *Conn) RoundTrip(ctx context.Context) error {
	back := make(chan struct{})
	c.ping(back)
	select {
	case <-back:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.Err()
	}
}

func (c *Conn) ping(back chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.enqueueLocked(pingreq) {
		c.pings = append(c.pings, back)
	}
}

// pong serves a PINGRESP. One that nobody has asked for is none of ours.
func (c *Conn) pong() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pings) == 0 {
		return
	}
	if back := c.pings[0]; back != nil {
		close(back)
	}
	c.pings = c.pings[1:]
}

// keepAlive sends a PINGREQ where nothing was sent or heard for KeepAlive, and ends a connection on which nothing at all
// is heard for PingTime after that. The true PINGRESP can queue behind megabytes of messages, and they prove as well that
// the broker lives.
func (c *Conn) keepAlive() {
	idle := c.cfg.KeepAlive
	if at := time.Duration(c.limits.KeepAlive) * time.Second; at > 0 && at < idle {
		idle = at // the broker's own, MQTT 3.2.2.3.14
	}
	// Looked at in steps, one of which is the most that the moments below are off: a broker waits for one and a half
	// times KeepAlive, MQTT 3.1.2.10.
	step := max(min(idle, c.cfg.PingTime)/5, time.Millisecond)
	tick := time.NewTicker(step)
	defer tick.Stop()
	var sent uint64
	now := time.Now()
	lastHeard, lastSent := now, now
	var pinged time.Time // and nothing was heard since
	for {
		select {
		case <-c.done:
			return
		case now = <-tick.C:
		}
		if h := c.Heard(); h.After(lastHeard) {
			lastHeard, pinged = h, time.Time{}
		}
		if s := c.writes(); s != sent {
			sent, lastSent = s, now
		}
		switch {
		case !pinged.IsZero() && now.Sub(pinged) >= c.cfg.PingTime:
			c.Fail(ErrSilent)
			return
		case pinged.IsZero() && (now.Sub(lastHeard) >= idle || now.Sub(lastSent) >= idle-step):
			pinged = now
			c.Ping()
		}
	}
}

func (c *Conn) writes() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.writes
}
