package brokertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// Message is one PUBLISH as it came from the broker.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Dup     bool
	At      time.Time // when it was read
}

type clientOptions struct {
	id             string
	persistent     bool
	user, password string
	noAcks         bool
	auto           bool
	connectTimeout time.Duration
}

// ClientOption changes how Dial connects.
type ClientOption func(*clientOptions)

// ClientID sets the client id; the default is a random one.
func ClientID(id string) ClientOption { return func(o *clientOptions) { o.id = id } }

// PersistentSession asks the broker to keep the session (clean session false),
// so that messages published while the client is away arrive afterwards.
func PersistentSession() ClientOption { return func(o *clientOptions) { o.persistent = true } }

// Credentials sets user and password.
func Credentials(user, password string) ClientOption {
	return func(o *clientOptions) { o.user, o.password = user, password }
}

// NoAcks leaves QoS 1 messages unacknowledged.
func NoAcks() ClientOption { return func(o *clientOptions) { o.noAcks = true } }

// AutoReconnect connects again after a loss until Close. If the broker forgot
// the session, the filters are subscribed again.
func AutoReconnect() ClientOption { return func(o *clientOptions) { o.auto = true } }

// Client is a small MQTT 3.1.1 client, written without the library that the
// gateway uses, so that it can judge it. It reads without limit, acknowledges
// at once, and keeps all it received. All methods may be called concurrently.
type Client struct {
	t       testing.TB
	addr    string
	options clientOptions
	stop    chan struct{} // closed by Close
	wg      sync.WaitGroup

	connecting sync.Mutex // one connect at a time

	mu       sync.Mutex
	link     *link           // guarded by mu; may be dead
	filters  map[string]byte // guarded by mu; what was granted
	received []Message       // guarded by mu; only ever appended to
	read     int             // guarded by mu; how many Next returned
	changed  chan struct{}   // guarded by mu; made by a waiter, closed by deliver
	open2    map[uint16]bool // guarded by mu; QoS 2 ids between PUBLISH and PUBREL
	closed   bool            // guarded by mu
}

// Dial connects to a broker given as host:port or mqtt://host:port. The client
// is closed at the end of the test.
func Dial(t testing.TB, addr string, opts ...ClientOption) *Client {
	t.Helper()
	c, err := TryDial(t, addr, opts...)
	if err != nil {
		t.Fatalf("brokertest: connect to %s: %v", addr, err)
	}
	return c
}

// TryDial is Dial for a test that expects a refusal: a ConnackError tells the
// code.
func TryDial(t testing.TB, addr string, opts ...ClientOption) (*Client, error) {
	c := &Client{
		t: t, addr: strings.TrimPrefix(addr, "mqtt://"), stop: make(chan struct{}),
		filters: map[string]byte{}, open2: map[uint16]bool{},
		options: clientOptions{id: fmt.Sprintf("oracle-%016x", rand.Uint64()), connectTimeout: 5 * time.Second},
	}
	for _, opt := range opts {
		opt(&c.options)
	}
	l, err := connect(c)
	if err != nil {
		return nil, err
	}
	c.link = l
	if c.options.auto {
		c.wg.Add(1)
		go c.keepConnected()
	}
	t.Cleanup(c.Close)
	return c, nil
}

func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// Connected reports whether the connection is up as far as TCP knows.
func (c *Client) Connected() bool {
	select {
	case <-c.current().dead:
		return false
	default:
		return true
	}
}

// Lost is closed when the present connection ends.
func (c *Client) Lost() <-chan struct{} { return c.current().dead }

// SessionPresent is what the last CONNACK said.
func (c *Client) SessionPresent() bool { return c.current().present }

// Subscribe returns the SUBACK code: the granted QoS, or 0x80 for a refusal.
// It is 0xff if the connection ended first.
func (c *Client) Subscribe(filter string, qos byte) byte {
	return c.subscribeOn(c.current(), filter, qos)
}

func (c *Client) subscribeOn(l *link, filter string, qos byte) byte {
	p, err := l.request(SUBACK, func(dst []byte, id uint16) []byte {
		return appendSubscribe(dst, id, filter, qos)
	})
	if err != nil || <-p.done != nil {
		return 0xff
	}
	if p.code < 0x80 {
		c.mu.Lock()
		c.filters[filter] = qos
		c.mu.Unlock()
	}
	return p.code
}

// Unsubscribe returns when the broker confirmed it.
func (c *Client) Unsubscribe(filter string) error {
	p, err := c.current().request(UNSUBACK, func(dst []byte, id uint16) []byte {
		return appendUnsubscribe(dst, id, filter)
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.filters, filter)
	c.mu.Unlock()
	return <-p.done
}

// Publish sends a message and waits for PUBACK (QoS 1) or PUBCOMP (QoS 2). At
// QoS 0 it returns when the bytes are queued for the socket.
func (c *Client) Publish(topic string, payload []byte, qos byte, retain bool) error {
	return <-c.PublishAsync(topic, payload, qos, retain)
}

// PublishAsync sends without waiting for the acknowledgement, which arrives on
// the channel. It waits itself while 500 messages are unacknowledged.
func (c *Client) PublishAsync(topic string, payload []byte, qos byte, retain bool) <-chan error {
	l := c.current()
	if qos == 0 {
		done := make(chan error, 1)
		done <- l.send(func(dst []byte) []byte { return appendPublish(dst, 0, topic, payload, 0, retain) })
		return done
	}
	failed := func(err error) <-chan error {
		done := make(chan error, 1)
		done <- err
		return done
	}
	select {
	case l.window <- struct{}{}:
	case <-l.dead:
		return failed(ErrLost)
	}
	kind := PUBACK
	if qos == 2 {
		kind = PUBCOMP
	}
	p, err := l.request(kind, func(dst []byte, id uint16) []byte {
		return appendPublish(dst, id, topic, payload, qos, retain)
	})
	if err != nil {
		return failed(err)
	}
	return p.done
}

// Close says DISCONNECT and waits for the end of the connection.
func (c *Client) Close() {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if first {
		close(c.stop)
	}
	c.wg.Wait()
	c.connecting.Lock()
	defer c.connecting.Unlock()
	c.current().close()
}

// Drop resets the TCP connection without DISCONNECT.
func (c *Client) Drop() { c.current().drop() }

// Reconnect connects again with the same id; a connection that still lives is
// dropped first. Filters of a persistent session are the broker's to remember.
func (c *Client) Reconnect() error {
	c.connecting.Lock()
	defer c.connecting.Unlock()
	c.mu.Lock()
	closed, old := c.closed, c.link
	c.mu.Unlock()
	if closed {
		return errors.New("client is closed")
	}
	old.drop()
	l, err := connect(c)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.link = l
	if !l.present {
		clear(c.open2)
	}
	c.mu.Unlock()
	return nil
}

// keepConnected serves AutoReconnect.
func (c *Client) keepConnected() {
	defer c.wg.Done()
	for {
		select {
		case <-c.stop:
			return
		case <-c.Lost():
		}
		if err := c.Reconnect(); err != nil {
			select {
			case <-c.stop:
				return
			case <-time.After(20 * time.Millisecond): // the pause between two attempts
				continue
			}
		}
		c.resubscribe()
	}
}

// resubscribe restores the filters if the broker has no session.
func (c *Client) resubscribe() {
	l := c.current()
	if l.present {
		return
	}
	c.mu.Lock()
	filters := make(map[string]byte, len(c.filters))
	for f, q := range c.filters {
		filters[f] = q
	}
	c.mu.Unlock()
	for f, q := range filters {
		c.subscribeOn(l, f, q)
	}
}
