package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

// dialer opens the byte stream of a link. It asks no proxy: a variable meant for web requests must not lead the
// broker's password elsewhere.
type dialer struct {
	url    *url.URL
	tls    *tls.Config
	timing timing
}

// stream is what MQTT is spoken over, and the socket below it.
type stream struct {
	net.Conn
	sock *sock

	// framed: a failed write may have delivered more than it says. So it is with WebSocket, where a broker can read
	// the beginning of a frame; on TCP the count is exact, and a TLS record that is not complete cannot be read.
	framed bool
}

var defaultPort = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

func (d dialer) open(ctx context.Context) (stream, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timing.connect)
	defer cancel()
	switch d.url.Scheme {
	case "mqtt":
		s, err := d.tcp(ctx)
		if err != nil {
			return stream{}, err
		}
		return stream{Conn: s, sock: s}, nil
	case "mqtts":
		return d.tlsStream(ctx)
	case "ws", "wss":
		return d.webSocket(ctx)
	}
	return stream{}, fmt.Errorf("unknown scheme %q", d.url.Scheme)
}

func (d dialer) host() string {
	port := d.url.Port()
	if port == "" {
		port = defaultPort[d.url.Scheme]
	}
	return net.JoinHostPort(d.url.Hostname(), port)
}

func (d dialer) tcp(ctx context.Context) (*sock, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", d.host())
	if err != nil {
		return nil, err
	}
	return newSock(c, d.timing), nil
}

func (d dialer) tlsConfig() *tls.Config {
	cfg := d.tls.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = d.url.Hostname()
	}
	return cfg
}

func (d dialer) tlsStream(ctx context.Context) (stream, error) {
	s, err := d.tcp(ctx)
	if err != nil {
		return stream{}, err
	}
	c := tls.Client(s, d.tlsConfig())
	if err := c.HandshakeContext(ctx); err != nil {
		s.Close()
		return stream{}, err
	}
	return stream{Conn: c, sock: s}, nil
}

// errNotWebSocket is what is left to say when the network is not to blame.
var errNotWebSocket = errors.New("the broker does not answer as a WebSocket server")

// transport makes one HTTP connection, for a WebSocket, and tells which.
func (d dialer) transport(dialled func(*sock)) *http.Transport {
	return &http.Transport{
		TLSClientConfig: d.tlsConfig(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			s, err := d.tcp(ctx)
			if err != nil {
				return nil, err
			}
			dialled(s)
			return s, nil
		},
	}
}

func (d dialer) webSocket(ctx context.Context) (stream, error) {
	var s *sock
	client := &http.Client{
		Transport:     d.transport(func(dialled *sock) { s = dialled }),
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the broker redirects") },
	}
	u := *d.url
	u.User = nil
	if u.Path == "" {
		u.Path = "/mqtt" // what brokers listen on that care for the path
	}
	c, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient:      client,
		Subprotocols:    []string{"mqtt"}, // MQTT 3.1.1, 6
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return stream{}, fmt.Errorf("%w: %w", errNotWebSocket, err)
	}
	return stream{Conn: websocket.NetConn(context.Background(), c, websocket.MessageBinary), sock: s, framed: true}, nil
}
