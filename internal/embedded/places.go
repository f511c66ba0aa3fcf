package embedded

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// places listens on several addresses, which may change while it is open. Any
// goroutine may call its methods.
type places struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex // guards open
	open map[string]net.Listener
}

func newPlaces() *places {
	return &places{conns: make(chan net.Conn), closed: make(chan struct{}), open: make(map[string]net.Listener)}
}

// set makes these the addresses to listen on. Those that are open stay so.
// After an error nothing has changed.
func (p *places) set(addrs ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	opened := make(map[string]net.Listener)
	for _, addr := range addrs {
		if p.open[addr] != nil {
			continue
		}
		l, err := Listen(addr)
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return err
		}
		opened[addr] = l
	}
	for addr, l := range p.open {
		if !slices.Contains(addrs, addr) {
			l.Close()
			delete(p.open, addr)
		}
	}
	for addr, l := range opened {
		p.open[addr] = l
		go p.accept(l)
	}
	return nil
}

// retry is how long to wait after a failed accept, as when the process has too
// many open files.
const retry = 50 * time.Millisecond

// accept hands over connections until l is closed.
func (p *places) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-time.After(retry):
				continue
			case <-p.closed:
				return
			}
		}
		select {
		case p.conns <- conn:
		case <-p.closed:
			conn.Close()
			return
		}
	}
}

// Accept returns the next connection on any of the addresses.
func (p *places) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close closes all of them.
func (p *places) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.set()
}

// Addr is one of the addresses.
func (p *places) Addr() net.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.open {
		return l.Addr()
	}
	return &net.TCPAddr{}
}
