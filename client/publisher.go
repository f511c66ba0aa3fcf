package client

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/vulturepi/gateway/wire"
)

// maxUnderWay is how many messages of a Publisher may be without an outcome.
const maxUnderWay = 1000

// Publisher publishes many messages over one connection, in order, and waits
// for none of them: the outcome of each is told when it is known. One goroutine
// at a time may call its methods.
//
// When the connection is lost, what was under way is ErrUnknownOutcome, and the
// next message takes a new one. Nothing is sent twice.
type Publisher struct {
	client *Client
	ctx    context.Context // ends with that of NewPublisher, with Close and with the client
	cancel context.CancelFunc
	stop   func() bool
	room   chan struct{} // a place for each that is under way
	last   int           // id
	conn   *pipe         // nil: none
}

// pipe is one connection, and what is under way on it.
type pipe struct {
	*socket
	room     chan struct{}
	maxFrame int
	ended    chan struct{}

	mu       sync.Mutex
	dead     bool                         // guarded by mu
	underWay map[int]func(Outcome, error) // guarded by mu; by id
}

// NewPublisher makes a Publisher, which must be closed. It connects when it is
// first needed.
func (c *Client) NewPublisher(ctx context.Context) *Publisher {
	p := &Publisher{client: c, room: make(chan struct{}, maxUnderWay)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.stop = context.AfterFunc(c.ctx, p.cancel)
	return p
}

// Publish sends one message, as [Client.Publish] does, and calls done once, when
// its outcome is known: maybe at once, or from another goroutine, which must not
// be held up. It waits while very many messages are under way, or while there is
// no connection, for Options.RetryFor. A message that is too large for a frame
// goes by itself, behind all others. [Key] cannot be given.
func (p *Publisher) Publish(topic string, payload any, done func(Outcome, error), options ...Option) {
	frame, failure := p.frame(topic, payload, options)
	if failure == nil {
		select {
		case p.room <- struct{}{}:
		case <-p.ctx.Done():
			failure = broken(context.Cause(p.ctx), false)
		}
	}
	if failure != nil {
		done(Outcome{}, failure)
		return
	}
	for sent := false; !sent; {
		conn, failure := p.connected()
		switch {
		case failure != nil:
			done(Outcome{}, failure)
			<-p.room
			return
		case len(frame) > conn.maxFrame:
			<-p.room
			p.Wait()
			done(p.client.Publish(p.ctx, topic, payload, options...))
			return
		}
		sent = conn.publish(p.last, frame, done)
	}
}

func (p *Publisher) frame(topic string, payload any, options []Option) ([]byte, *Error) {
	o, failure := newPublishing(options, false)
	if failure == nil && o.key != "" {
		failure = &Error{Code: wire.CodeInvalidParameter, Detail: "Key is an option of Client.Publish. Nothing was sent."}
	}
	if failure != nil {
		return nil, failure
	}
	bytes, failure := payloadOf(payload)
	if failure != nil {
		return nil, failure
	}
	p.last++
	o.fields[wire.FieldOp], o.fields[wire.FieldID] = wire.OpPublish, p.last
	return o.body(topic, bytes)
}

// connected gives the connection, a new one where the last has ended.
func (p *Publisher) connected() (*pipe, *Error) {
	if p.conn != nil {
		select {
		case <-p.conn.ended:
			p.conn = nil
		default:
			return p.conn, nil
		}
	}
	end := time.Now().Add(max(0, p.client.opts.RetryFor))
	for attempts := 0; ; attempts++ {
		conn, failure := p.open()
		if failure == nil {
			p.conn = conn
			return conn, nil
		}
		pause := max(p.client.pause(attempts), failure.RetryAfter)
		if !failure.Retryable || p.ctx.Err() != nil || time.Now().Add(pause).After(end) {
			return nil, failure
		}
		p.client.waiting(failure, pause)
		if err := sleep(p.ctx, pause); err != nil {
			return nil, broken(err, false)
		}
	}
}

func (p *Publisher) open() (*pipe, *Error) {
	k, failure := p.client.connect(p.ctx)
	if failure != nil {
		return nil, failure
	}
	conn := &pipe{socket: k, room: p.room, ended: make(chan struct{}), underWay: map[int]func(Outcome, error){}}
	var hello wire.Welcome
	stop := k.answersWithin(p.client.opts.Timeout)
	b, failure := k.read()
	stop()
	if failure == nil && (json.Unmarshal(b, &hello) != nil || hello.Type != wire.TypeWelcome) {
		failure = &Error{Code: CodeForeignAnswer, Detail: "The answer is not the gateway's."}
	}
	if failure != nil {
		k.close()
		return nil, failure
	}
	conn.maxFrame = hello.Limits.MaxFrame
	go conn.outcomes()
	return conn, nil
}

// publish sends a frame, and done will be called; or the connection has ended.
func (c *pipe) publish(id int, frame []byte, done func(Outcome, error)) (sent bool) {
	c.mu.Lock()
	if sent = !c.dead; sent {
		c.underWay[id] = done
	}
	c.mu.Unlock()
	if !sent {
		<-c.ended
		return false
	}
	if failure := c.write(frame); failure != nil {
		c.cancel(failure) // and outcomes says what became of it
	}
	return true
}

// outcomes reads until the connection ends.
func (c *pipe) outcomes() {
	defer close(c.ended)
	var end *Error
	for end == nil {
		var b []byte
		if b, end = c.read(); end == nil {
			c.settle(b)
		}
	}
	c.close()
	c.mu.Lock()
	c.dead = true
	left := c.underWay
	c.underWay = nil
	c.mu.Unlock()
	for _, done := range left {
		done(Outcome{}, broken(end, true))
		<-c.room
	}
}

// settle takes a frame: an outcome, or something that does not matter here.
func (c *pipe) settle(b []byte) {
	var f struct {
		Type    string        `json:"type"`
		ID      int           `json:"id"`
		Status  int           `json:"status"`
		Problem *wire.Problem `json:"problem"`
		wire.PublishResult
	}
	if json.Unmarshal(b, &f) != nil || f.ID == 0 || f.Type != wire.TypePublished && f.Problem == nil {
		return
	}
	c.mu.Lock()
	done := c.underWay[f.ID]
	delete(c.underWay, f.ID)
	c.mu.Unlock()
	switch {
	case done == nil:
		return
	case f.Problem != nil:
		done(Outcome{}, ofProblem(f.Problem, true))
	default:
		done(Outcome{
			Status: max(f.Status, http.StatusOK), QoS: f.QoS, NoSubscribers: f.Subscribers == wire.SubscribersNone,
			Took: time.Duration(f.TookMS * float64(time.Millisecond)),
		}, nil)
	}
	<-c.room
}

// Wait returns when the outcome of every message is known.
func (p *Publisher) Wait() {
	for range maxUnderWay {
		p.room <- struct{}{}
	}
	for range maxUnderWay {
		<-p.room
	}
}

// Close breaks off what is under way, and returns when nothing is left of it.
func (p *Publisher) Close() {
	p.stop()
	p.cancel()
	if p.conn != nil {
		<-p.conn.ended
	}
}
