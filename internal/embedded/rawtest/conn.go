package rawtest

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// Patience is how long an answer may take.
const Patience = 2 * time.Minute

// Conn is a connection that sends bytes and reads packets.
type Conn struct {
	net.Conn
	t       testing.TB
	r       *bufio.Reader
	Version byte // of which answers are expected
}

// Dial connects to addr. The connection is closed at the end of the test.
func Dial(t testing.TB, addr string, version byte) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return Wrap(t, nc, version)
}

// Wrap is Dial with a connection that is there.
func Wrap(t testing.TB, nc net.Conn, version byte) *Conn {
	t.Cleanup(func() { _ = nc.Close() })
	return &Conn{Conn: nc, t: t, r: bufio.NewReader(nc), Version: version}
}

// Client connects and sends a CONNECT with flags, and expects to be accepted.
func Client(t testing.TB, addr string, version byte, id string, flags byte, props ...[]byte) *Conn {
	t.Helper()
	c := Dial(t, addr, version)
	c.Send(Connect(version, flags, Props(props...), id))
	c.Accepted()
	return c
}

// Accepted expects a CONNACK that accepts, and says whether a session is present.
func (c *Conn) Accepted() (present bool) {
	c.t.Helper()
	p := c.Next()
	if p[0] != 0x20 || p[3] != 0 {
		c.t.Fatalf("got %x, want a CONNACK with reason 0", p)
	}
	return p[2] == 1
}

// Send writes packets.
func (c *Conn) Send(packets ...[]byte) {
	c.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(Patience))
	if _, err := c.Write(Join(packets...)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// Next reads one packet, whose form must be right.
func (c *Conn) Next() []byte {
	c.t.Helper()
	p, err := c.TryNext(Patience)
	if err != nil {
		c.t.Fatalf("no packet: %v", err)
	}
	return p
}

// TryNext is Next for a test that expects the end, or nothing.
func (c *Conn) TryNext(limit time.Duration) ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(limit))
	return Read(c.r, c.Version)
}

// Want expects packets, each in hexadecimal.
func (c *Conn) Want(packets ...string) {
	c.t.Helper()
	for _, want := range packets {
		if got := hex.EncodeToString(c.Next()); got != want {
			c.t.Fatalf("got packet %s, want %s", got, want)
		}
	}
}

// WantType expects a packet of that type, and returns it.
func (c *Conn) WantType(first byte) []byte {
	c.t.Helper()
	p := c.Next()
	if p[0] != first {
		c.t.Fatalf("got packet %x, want one that begins with %x", p, first)
	}
	return p
}

// WantEnd expects the end of the connection, and before it a DISCONNECT with that reason if the version has one.
func (c *Conn) WantEnd(reason byte) {
	c.t.Helper()
	if c.Version == 5 {
		if p := c.WantType(0xE0); p[2] != reason {
			c.t.Fatalf("got DISCONNECT with reason %#x (%q), want %#x", p[2], p, reason)
		}
	}
	if p, err := c.TryNext(Patience); err == nil || errors.Is(err, ErrForm) || isTimeout(err) {
		c.t.Fatalf("got packet %x (%v), want the end of the connection", p, err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Ping expects that everything sent before has been handled, and that nothing else comes.
func (c *Conn) Ping() {
	c.t.Helper()
	c.Send([]byte{0xC0, 0})
	c.Want("d000")
}

// Read reads one packet of a server and checks its form.
func Read(r *bufio.Reader, version byte) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	whole, length := []byte{first}, 0
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		whole, length = append(whole, b), length|int(b&0x7F)<<shift
		if b&0x80 == 0 {
			break
		}
		if shift == 21 {
			return nil, fmt.Errorf("%w: length of %x", ErrForm, whole)
		}
	}
	at := len(whole)
	whole = append(whole, make([]byte, length)...)
	if _, err := io.ReadFull(r, whole[at:]); err != nil {
		return nil, err
	}
	if err := check(version, at, whole); err != nil {
		return whole, fmt.Errorf("%w: %x: %w", ErrForm, whole, err)
	}
	return whole, nil
}

// WantEndOfStream expects the end of the connection without a word.
func (c *Conn) WantEndOfStream() {
	c.t.Helper()
	if p, err := c.TryNext(Patience); err == nil || isTimeout(err) {
		c.t.Fatalf("got packet %x (%v), want the end of the connection", p, err)
	}
}
