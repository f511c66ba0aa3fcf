package embedded

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// free is an address that nobody has.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// reach connects to addr and checks that places hands the connection over.
func reach(t *testing.T, p *places, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("%s: %v", addr, err)
	}
	defer c.Close()
	got, err := p.Accept()
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	defer got.Close()
	if got.LocalAddr().String() != addr {
		t.Errorf("accepted: got a connection to %s, want %s", got.LocalAddr(), addr)
	}
}

func refused(t *testing.T, addr string) {
	t.Helper()
	if c, err := net.DialTimeout("tcp", addr, 10*time.Second); err == nil {
		c.Close()
		t.Errorf("%s: still open, want it closed", addr)
	}
}

func TestPlacesFollowTheirAddresses(t *testing.T) {
	p := newPlaces()
	defer p.Close()
	first, second, third := free(t), free(t), free(t)
	if err := p.set(first, second); err != nil {
		t.Fatal(err)
	}
	reach(t, p, first)
	reach(t, p, second)
	stays, err := net.Dial("tcp", second)
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	if err := p.set(third, second); err != nil {
		t.Fatal(err)
	}
	refused(t, first)
	got, err := p.Accept() // what waited at an address that stays is not lost
	if err != nil || got.LocalAddr().String() != second {
		t.Fatalf("Accept: got %v, %v, want the connection to %s", got, err, second)
	}
	got.Close()
	reach(t, p, third)
	reach(t, p, second)
}

func TestPlacesKeepTheOldAfterAnError(t *testing.T) {
	p := newPlaces()
	defer p.Close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first, second := free(t), free(t)
	if err := p.set(first); err != nil {
		t.Fatal(err)
	}
	if err := p.set(second, taken.Addr().String()); err == nil || !strings.Contains(err.Error(), "taken by another program") {
		t.Errorf("got %v, want it taken", err)
	}
	reach(t, p, first)
	refused(t, second)
}

func TestPlacesEndWithClose(t *testing.T) {
	p := newPlaces()
	addr := free(t)
	if err := p.set(addr); err != nil {
		t.Fatal(err)
	}
	if got := p.Addr().String(); got != addr {
		t.Errorf("Addr: got %s, want %s", got, addr)
	}
	accepted := make(chan error)
	go func() {
		_, err := p.Accept()
		accepted <- err
	}()
	for range 2 { // the broker closes it, too
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: got %v, want net.ErrClosed", err)
	}
	refused(t, addr)
}
