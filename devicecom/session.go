package devicecom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// session is one connection to the broker, from CONNECT to its end. It never
// connects again: with the library's own reconnects a publish would be reported
// as confirmed though no PUBACK ever came, and with another one as sent though
// it was dropped.
type session struct {
	client mqtt.Client
	conn   *conn
	window chan struct{} // a token for each publish whose outcome is not known yet
	turn   chan struct{} // a token for the one that is being written
	ended  chan struct{} // closed when no publish will be confirmed any more
}

// maxInFlight is how many publishes may wait for their confirmation at once.
const maxInFlight = 100

// place is where the broker is, and how to log in.
type place struct {
	address            string // host:port
	username, password string
	tls                *tls.Config // nil without
}

// openSession connects, publishes the birth, and subscribes. receive is called for each message, one
// after the other, and must not wait.
func openSession(ctx context.Context, p place, o *Options, receive func(*entry), tooLarge func()) (*session, error) {
	raw, err := dial(ctx, p, o.timing.connect)
	if err != nil {
		return nil, err
	}
	s := &session{
		conn: newConn(raw, o, tooLarge), window: make(chan struct{}, maxInFlight), turn: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	unwatch := context.AfterFunc(ctx, func() { _ = s.conn.fail(ctx.Err()) })
	defer unwatch()
	s.client = mqtt.NewClient(s.clientOptions(p, o, receive))
	if err := s.hello(); err != nil {
		_ = s.conn.Close() // nothing else has begun
		return nil, err
	}
	if err = s.announce(ctx, o); err == nil {
		err = s.subscribe(o)
	}
	if !unwatch() {
		err = ctx.Err()
	}
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

func dial(ctx context.Context, p place, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	if p.tls == nil {
		return c, nil
	}
	t := tls.Client(c, p.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, &tlsError{err}
	}
	return t, nil
}

func (s *session) clientOptions(p place, o *Options, receive func(*entry)) *mqtt.ClientOptions {
	m := mqtt.NewClientOptions()
	m.Servers = []*url.URL{{Scheme: "tcp", Host: "broker"}} // never dialled: this has been done
	m.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return s.conn, nil })
	m.SetClientID(o.ClientID).SetUsername(p.username).SetPassword(p.password).SetCleanSession(true)
	m.SetProtocolVersion(4) // said aloud, or a refused CONNECT would be repeated as MQTT 3.1
	m.SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true)
	m.SetKeepAlive(o.KeepAlive).SetPingTimeout(min(o.KeepAlive, 5*time.Second))
	m.SetConnectTimeout(o.timing.connect)
	// conn bounds the writes. This bounds how long a call may hang in a client
	// that is just ending.
	m.SetWriteTimeout(2 * time.Second)
	if w := o.will; w != nil {
		m.SetBinaryWill(w.topic, w.payload, w.qos, w.retain)
	}
	m.SetDefaultPublishHandler(func(_ mqtt.Client, msg mqtt.Message) {
		receive(&entry{topic: msg.Topic(), payload: msg.Payload(), retained: msg.Retained()})
	})
	m.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		if strings.Contains(err.Error(), "pingresp") {
			err = errSilent
		}
		_ = s.conn.fail(err)
	})
	return m
}

// hello says CONNECT and waits for the answer.
func (s *session) hello() error {
	t := s.client.Connect()
	<-t.Done() // conn has a deadline
	if code := s.conn.refusal(); code != 0 {
		return refusal(code)
	}
	if t.Error() == nil {
		return nil
	}
	if err := s.lost(t.Error()); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return errNoAnswer
}

// announce publishes the birth, if there is one, and waits for the confirmation.
func (s *session) announce(ctx context.Context, o *Options) error {
	if o.birth == nil {
		return nil
	}
	if s.publish(ctx, *o.birth, o.timing.answer) != nil {
		return s.lost(errNoAnswer)
	}
	return nil
}

// subscribe says SUBSCRIBE and waits for the answer.
func (s *session) subscribe(o *Options) error {
	filters := make(map[string]byte)
	for _, filter := range o.Filters {
		filters[filter] = 0
	}
	// Without a callback no filter becomes one of the library's routes, which it
	// would scan for every message.
	sub := s.client.SubscribeMultiple(filters, nil)
	select {
	case <-sub.Done():
	case <-s.conn.dead:
		return s.lost(nil)
	case <-time.After(o.timing.answer):
		return errNoAnswer
	}
	if err := sub.Error(); err != nil {
		return s.lost(err)
	}
	for filter, code := range sub.(*mqtt.SubscribeToken).Result() {
		if code > 2 { // no error to the library
			return &filterRefused{filter}
		}
	}
	return nil
}

// publish sends on this connection and waits for the outcome. When it gives up
// waiting, the goroutine that it leaves behind keeps the token of the window
// until the outcome is known or the connection ends.
func (s *session) publish(ctx context.Context, p publication, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for i, gate := range []chan struct{}{s.window, s.turn} {
		err := s.enter(ctx, gate, timer.C)
		if err != nil && i > 0 {
			<-s.window
		}
		if err != nil {
			return err
		}
	}
	outcome := make(chan error, 1)
	go func() {
		outcome <- s.send(p)
		<-s.window
	}()
	var why error
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		why = ctx.Err()
	case <-timer.C:
		why = fmt.Errorf("within %v", patience)
	}
	select {
	case err := <-outcome: // both were ready
		return err
	default:
		return fmt.Errorf("%w (%w)", ErrUnknownOutcome, why)
	}
}

// enter waits for a token. With an error nothing was sent.
func (s *session) enter(ctx context.Context, gate chan struct{}, timeout <-chan time.Time) error {
	select {
	case gate <- struct{}{}:
		return nil
	case <-s.conn.dead:
		return ErrNotConnected
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout:
		return errors.New("nothing was sent: others before it still wait for the broker")
	}
}

// send hands the message to the library and waits for what becomes of it.
func (s *session) send(p publication) error {
	t := s.write(p)
	if t == nil {
		return ErrNotConnected
	}
	select {
	case <-t.Done():
	case <-s.ended: // a token that was taken at the very end would stay open
		select {
		case <-t.Done():
		default:
			return ErrUnknownOutcome
		}
	}
	switch err := t.Error(); {
	case err == nil:
		return nil
	case errors.Is(err, mqtt.ErrNotConnected):
		return ErrNotConnected
	default:
		return fmt.Errorf("%w (%w)", ErrUnknownOutcome, s.lost(err))
	}
}

// write has the library write the message and gives the turn back when that is
// done. So nobody is in the queue of the library, which nobody empties once the
// connection is lost. It returns nil when the connection was lost before.
func (s *session) write(p publication) mqtt.Token {
	defer func() { <-s.turn }()
	select {
	case <-s.conn.dead:
		return nil
	default:
	}
	t := s.client.Publish(p.topic, p.qos, p.retain, p.payload)
	select {
	case <-s.conn.wrote:
	case <-s.conn.dead:
	case <-t.Done():
		if t.Error() == nil {
			<-s.conn.wrote // it comes first
		}
	}
	return t
}

// lost is the cause as conn knows it, which is more than the library does.
func (s *session) lost(err error) error {
	if cause := s.conn.cause(); cause != nil && !errors.Is(cause, net.ErrClosed) {
		return cause
	}
	if err == nil {
		return net.ErrClosed
	}
	return err
}

// end says DISCONNECT if the connection lives, and returns when nothing runs any
// more. It may be called once, and only after hello.
func (s *session) end() {
	const patience = 5 * time.Second
	select {
	case <-s.conn.dead:
	default:
		// The deadline of a write is longer than anybody wants to wait here.
		defer time.AfterFunc(time.Second, func() { _ = s.conn.Close() }).Stop()
	}
	s.client.Disconnect(uint(patience.Milliseconds()))
	_ = s.conn.Close()
	close(s.ended)
	for range cap(s.window) { // when all tokens are here, no publish runs any more
		s.window <- struct{}{}
	}
}
