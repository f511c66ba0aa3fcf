package mqtt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A request is a SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
type request struct {
	kind  PacketType // of the answer
	asked int        // filters in it
	codes []ReasonCode
	err   error
	done  chan struct{} // closed when codes and err are set
}

func (r *request) answer(codes []ReasonCode, err error) {
	r.codes, r.err = codes, err
	close(r.done)
}

// Subscribe asks for filters, and returns the broker's answer to each, in order. The copies that a broker sends for them
// may reach the Handler before. An error means that there is no answer: that of ctx, whereupon the broker may still
// grant them, or why the connection has ended, with [ErrNotSent] if it had ended before. A broker that does not answer in AnswerTime has ended it.
func (c *Conn) Subscribe(ctx context.Context, filters []Filter) ([]ReasonCode, error) {
	return c.SubscribeThenPublish(ctx, filters, nil)
}

// SubscribeThenPublish is Subscribe with a message right behind it: both leave in one piece, so that the broker reads the
// message before anything that is answered to what the filters bring. The message has its own outcome, and neither waits
// for a place in the broker's window.
func (c *Conn) SubscribeThenPublish(ctx context.Context, filters []Filter, p *Publication) ([]ReasonCode, error) {
	c.mu.Lock()
	if len(filters) > 0 && filters[0].Identifier > 0 {
		if c.limits.SubscriptionIDs {
			c.identified.Store(true)
		} else {
			filters = slices.Clone(filters)
			filters[0].Identifier = 0
		}
	}
	r := c.ask(SUBACK, len(filters), func(id uint16) []byte { return c.codec.subscribe(id, filters) })
	switch {
	case p == nil:
	case c.closed:
		p.settle(ErrNotSent)
	default:
		c.appendPublication(p)
	}
	c.mu.Unlock()
	return c.wait(ctx, r)
}

// Unsubscribe gives filters up, and returns the broker's answer to each, in order. Errors are as with Subscribe.
func (c *Conn) Unsubscribe(ctx context.Context, filters []string) ([]ReasonCode, error) {
	c.mu.Lock()
	r := c.ask(UNSUBACK, len(filters), func(id uint16) []byte { return c.codec.unsubscribe(id, filters) })
	c.mu.Unlock()
	return c.wait(ctx, r)
}

var errNoFilter = errors.New("mqtt: no filter is asked for") // MQTT 3.8.3: there must be one

// ask sends a request. It is called with the lock held.
func (c *Conn) ask(kind PacketType, filters int, encode func(id uint16) []byte) *request {
	r := &request{kind: kind, asked: filters, done: make(chan struct{})}
	if filters == 0 {
		r.answer(nil, errNoFilter)
		return r
	}
	if c.closed {
		r.answer(nil, fmt.Errorf("%w: %w", ErrNotSent, c.err))
		return r
	}
	id := c.nextID()
	packet := encode(id)
	if most := int(c.limits.MaximumPacket); most > 0 && len(packet) > most {
		r.answer(nil, &Refusal{By: CONNACK, Reason: PacketTooLarge, Text: "the broker's limit is too small for the filters"})
		return r
	}
	if c.requests == nil {
		c.requests = make(map[uint16]*request)
	}
	c.requests[id] = r
	c.enqueueLocked(packet)
	return r
}

func (c *Conn) wait(ctx context.Context, r *request) ([]ReasonCode, error) {
	late := time.NewTimer(c.cfg.AnswerTime)
	defer late.Stop()
	select {
	case <-r.done:
		return r.codes, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		c.Fail(ErrSilent)
		<-r.done
		return r.codes, r.err
	}
}

// answered serves a SUBACK or UNSUBACK. It answers as many filters as were asked for.
func (c *Conn) answered(kind PacketType, id uint16, body []byte) error {
	c.in.latest.forget()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.requests[id]
	if r == nil || r.kind != kind {
		return broken(kind, "2.2.1", "answers nothing that was asked")
	}
	var codes []ReasonCode
	var err error
	if kind == SUBACK {
		codes, err = c.codec.suback(body)
	} else {
		codes, err = c.codec.unsuback(body, r.asked)
	}
	if err == nil && len(codes) != r.asked {
		err = broken(kind, "3.9.3", "answers %d filters, and %d were asked for", len(codes), r.asked)
	}
	if err != nil {
		return err // the request is answered with the connection's end
	}
	delete(c.requests, id)
	r.answer(codes, nil)
	return nil
}
