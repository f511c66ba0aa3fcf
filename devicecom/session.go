package devicecom

import (
	"context"
	"crypto/tls"
	"errors"
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
	ended  chan struct{} // closed when no publish will be confirmed any more
}

// maxInFlight is how many publishes may wait for their confirmation at once.
const maxInFlight = 100

// place is where the broker is, and how to log in.
type place struct {
	address            string // host:port
	host               string // for its certificate
	username, password string
	tls                *tls.Config // nil without
}

// openSession connects and subscribes. receive is called for each message, one
// after the other, and must not wait.
func openSession(ctx context.Context, p place, o *Options, receive func(*entry), tooLarge func()) (*session, error) {
	raw, err := dial(ctx, p, o.timing.connect)
	if err != nil {
		return nil, err
	}
	s := &session{conn: newConn(raw, o, tooLarge), window: make(chan struct{}, maxInFlight), ended: make(chan struct{})}
	unwatch := context.AfterFunc(ctx, func() { _ = s.conn.fail(context.Cause(ctx)) })
	defer unwatch()
	s.client = mqtt.NewClient(s.clientOptions(p, o, receive))
	if err := s.hello(); err != nil {
		_ = s.conn.Close() // nothing else has begun
		return nil, err
	}
	if err := s.subscribe(o); err != nil {
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
	m.SetConnectTimeout(o.timing.connect).SetWriteTimeout(o.timing.write)
	if w := o.Will; w != nil {
		payload, _ := encode(w.Topic, w.Value, w.QoS, o.MaxPacketBytes) // checked with the options
		m.SetBinaryWill(w.Topic, payload, w.QoS, w.Retain)
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
