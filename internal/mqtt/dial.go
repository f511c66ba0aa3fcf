package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/coder/websocket"
)

// stream is what MQTT is spoken over, and the socket below it.
type stream struct {
	net.Conn
	sock *sock

	// framed: a failed write may have delivered more than it says. So it is with WebSocket, where a broker can read
	// the beginning of a frame; on TCP the count is exact, and a TLS record that is not complete cannot be read.
	framed bool

	offer func(p []byte) int // a write that does not wait, and returns how much was taken; or nil
}

var defaultPort = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// open makes the byte stream. It asks no proxy: a variable meant for web requests must not lead the broker's password
// elsewhere.
func (c *Config) open(ctx context.Context) (stream, error) {
	switch c.URL.Scheme {
	case "mqtt":
		s, err := c.tcp(ctx)
		if err != nil {
			return stream{}, err
		}
		return stream{Conn: s, sock: s, offer: s.offer}, nil
	case "mqtts":
		return c.secure(ctx)
	case "ws", "wss":
		return c.webSocket(ctx)
	}
	return stream{}, fmt.Errorf("unknown scheme %q", c.URL.Scheme)
}

func (c *Config) host() string {
	port := c.URL.Port()
	if port == "" {
		port = defaultPort[c.URL.Scheme]
	}
	return net.JoinHostPort(c.URL.Hostname(), port)
}

func (c *Config) tcp(ctx context.Context) (*sock, error) {
	d := net.Dialer{}
	if c.ReceiveBuffer > 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			receiveBuffer(raw, c.ReceiveBuffer)
			return nil
		}
	}
	conn, err := d.DialContext(ctx, "tcp", c.host())
	if err != nil {
		return nil, err
	}
	return newSock(conn, c), nil
}

func (c *Config) tlsConfig() *tls.Config {
	cfg := c.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = c.URL.Hostname()
	}
	return cfg
}

func (c *Config) secure(ctx context.Context) (stream, error) {
	s, err := c.tcp(ctx)
	if err != nil {
		return stream{}, err
	}
	conn := tls.Client(s, c.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		s.Close()
		return stream{}, notTLS(err)
	}
	return stream{Conn: conn, sock: s}, nil
}

// notTLS tells a peer that does not speak TLS from one that has another complaint. An MQTT broker without TLS takes the
// first bytes for a bad packet and closes the connection.
func notTLS(err error) error {
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		return fmt.Errorf("%w: %w", ErrHTTP, err)
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: %w", ErrNoTLS, err)
	}
	return err
}

// transport makes one HTTP connection, for a WebSocket, and tells which.
func (c *Config) transport(dialled func(*sock)) *http.Transport {
	return &http.Transport{
		TLSClientConfig: c.tlsConfig(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			s, err := c.tcp(ctx)
			if err != nil {
				return nil, err
			}
			dialled(s)
			return s, nil
		},
	}
}

func (c *Config) webSocket(ctx context.Context) (stream, error) {
	var s *sock
	client := &http.Client{
		Transport:     c.transport(func(dialled *sock) { s = dialled }),
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the broker redirects") },
	}
	u := *c.URL
	u.User = nil
	if u.Path == "" {
		u.Path = "/mqtt" // what brokers listen on that care for the path
	}
	conn, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient:      client,
		Subprotocols:    []string{"mqtt"}, // MQTT 6
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return stream{}, fmt.Errorf("%w: %w", ErrNoWebSocket, err)
	}
	conn.SetReadLimit(-1) // packets have their own limits, and a frame may hold many
	return stream{Conn: websocket.NetConn(context.Background(), conn, websocket.MessageBinary), sock: s, framed: true}, nil
}
