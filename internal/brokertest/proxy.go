package brokertest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Direction tells which way a packet travels.
type Direction int

const (
	Up   Direction = iota // from the client to the broker
	Down                  // from the broker to the client
)

func (d Direction) String() string {
	if d == Up {
		return "up"
	}
	return "down"
}

// Action is what a hook wants done with a packet.
type Action int

const (
	Pass    Action = iota // forward it, or what the hook returned instead
	Swallow               // drop it, keep the connection
	CutNow                // drop it and reset the connection on both sides
)

// HookFunc sees every MQTT packet. It may return other bytes to forward
// instead. It is called from several goroutines at once.
type HookFunc func(dir Direction, packet []byte) (out []byte, action Action)

// Proxy stands between a client and a broker and spoils their connections.
// All methods may be called at any time.
type Proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	accepted atomic.Int64

	mu     sync.Mutex
	faults faults              // guarded by mu
	moved  chan struct{}       // guarded by mu; closed and replaced when faults change
	conns  map[*proxyConn]bool // guarded by mu
	closed bool                // guarded by mu
}

// faults is what the proxy does at the moment.
type faults struct {
	stalled [2]bool
	refuse  bool
	rate    int // bytes per second and direction; 0 is unlimited
	hook    HookFunc
}

// proxyConn is one client's connection and its counterpart.
type proxyConn struct {
	proxy          *Proxy
	client, broker *net.TCPConn
	done           chan struct{}
	once           sync.Once
	raw            atomic.Bool  // not MQTT: bytes are passed as they come
	halves         atomic.Int32 // directions that ended in order
}

// StartProxy listens on a free port of 127.0.0.1 and forwards to target, given
// as host:port or mqtt://host:port. The target need not be up.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("brokertest: proxy: %v", err)
	}
	p := &Proxy{
		listener: l, target: strings.TrimPrefix(target, "mqtt://"),
		moved: make(chan struct{}), conns: map[*proxyConn]bool{},
	}
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(p.close)
	return p
}

// Addr is the proxy's address as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL is the proxy's address as mqtt://host:port.
func (p *Proxy) URL() string { return "mqtt://" + p.Addr() }

// Connections is the number of live connections.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Accepted is the number of connections ever accepted, refused ones included.
func (p *Proxy) Accepted() int { return int(p.accepted.Load()) }

// Cut resets all connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	conns := make([]*proxyConn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	for _, c := range conns {
		c.end()
	}
}

// Stall keeps connections open and passes nothing in the given directions, as
// a network does that drops packets. New connections are accepted and get no
// answer. What was held back goes on after Heal, as TCP would resend it.
func (p *Proxy) Stall(up, down bool) {
	p.change(func(f *faults) { f.stalled = [2]bool{Up: up, Down: down} })
}

// Refuse makes the proxy close new connections at once.
func (p *Proxy) Refuse(on bool) { p.change(func(f *faults) { f.refuse = on }) }

// Slow limits each direction of each connection; 0 removes the limit.
func (p *Proxy) Slow(bytesPerSecond int) { p.change(func(f *faults) { f.rate = bytesPerSecond }) }

// Hook shows all packets to fn; nil removes it.
func (p *Proxy) Hook(fn HookFunc) { p.change(func(f *faults) { f.hook = fn }) }

// Heal ends Stall, Refuse and Slow. A hook stays.
func (p *Proxy) Heal() { p.change(func(f *faults) { *f = faults{hook: f.hook} }) }

func (p *Proxy) change(edit func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	edit(&p.faults)
	close(p.moved)
	p.moved = make(chan struct{})
}

func (p *Proxy) now() (faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.moved
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		client := conn.(*net.TCPConn)
		if f, _ := p.now(); f.refuse {
			reset(client)
			continue
		}
		p.wg.Add(1)
		go p.serve(client)
	}
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func (p *Proxy) serve(client *net.TCPConn) {
	defer p.wg.Done()
	upstream, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	c := &proxyConn{proxy: p, client: client, broker: upstream.(*net.TCPConn), done: make(chan struct{})}
	p.mu.Lock()
	p.conns[c] = true
	closed := p.closed
	p.mu.Unlock()
	if closed {
		c.end()
	}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		c.pump(Down, c.broker, c.client)
	}()
	c.pump(Up, c.client, c.broker)
}

// end closes both sides, with a reset where they were not closed in order.
func (c *proxyConn) end() {
	c.once.Do(func() {
		close(c.done)
		if c.halves.Load() < 2 {
			_ = c.client.SetLinger(0)
			_ = c.broker.SetLinger(0)
		}
		_ = c.client.Close()
		_ = c.broker.Close()
		c.proxy.mu.Lock()
		delete(c.proxy.conns, c)
		c.proxy.mu.Unlock()
	})
}

// pump forwards one direction until either side ends.
func (c *proxyConn) pump(dir Direction, from, to *net.TCPConn) {
	r := bufio.NewReaderSize(from, 32<<10)
	w := bufio.NewWriterSize(to, 32<<10)
	if first, err := r.Peek(1); err == nil && dir == Up && first[0] != CONNECT<<4 {
		c.raw.Store(true) // TLS or WebSocket; the broker speaks second
	}
	for {
		packet, err := c.next(r)
		if err == nil {
			err = c.forward(dir, packet, w)
		}
		if err == nil && r.Buffered() == 0 {
			err = w.Flush()
		}
		if err != nil {
			c.finish(w, to, err)
			return
		}
	}
}

// next reads one MQTT packet, or what there is if the bytes are not MQTT.
func (c *proxyConn) next(r *bufio.Reader) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	if !c.raw.Load() {
		whole, _, err := readPacket(r)
		return whole, err
	}
	chunk, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), chunk...)
	_, err = r.Discard(len(chunk))
	return out, err
}

// finish passes the end of one direction on: an orderly end as such, so that
// the other side still reads what came before it, and anything else as a reset.
func (c *proxyConn) finish(w *bufio.Writer, to *net.TCPConn, cause error) {
	if !errors.Is(cause, io.EOF) {
		c.end()
		return
	}
	_ = w.Flush()
	_ = to.CloseWrite()
	if c.halves.Add(1) == 2 {
		c.end()
	}
}

// forward applies the faults of the moment to one packet.
func (c *proxyConn) forward(dir Direction, packet []byte, w *bufio.Writer) error {
	f, moved := c.proxy.now()
	for f.stalled[dir] {
		_ = w.Flush()
		select {
		case <-moved:
		case <-c.done:
			return net.ErrClosed
		}
		f, moved = c.proxy.now()
	}
	if f.hook != nil && !c.raw.Load() {
		out, action := f.hook(dir, packet)
		switch action {
		case Swallow:
			return nil
		case CutNow:
			// What was passed before still arrives; the error resets the pair.
			_ = w.Flush()
			return net.ErrClosed
		}
		if out != nil {
			packet = out
		}
	}
	if f.rate <= 0 {
		_, err := w.Write(packet)
		return err
	}
	return c.trickle(packet, w)
}

// trickle writes in small pieces at the rate of the moment.
func (c *proxyConn) trickle(packet []byte, w *bufio.Writer) error {
	for len(packet) > 0 {
		f, moved := c.proxy.now()
		n := len(packet)
		if f.rate > 0 {
			n = min(n, max(1, f.rate/50))
		}
		if _, err := w.Write(packet[:n]); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		packet = packet[n:]
		if f.rate <= 0 {
			continue
		}
		select {
		case <-time.After(time.Duration(n) * time.Second / time.Duration(f.rate)): // the fault itself
		case <-moved:
		case <-c.done:
			return net.ErrClosed
		}
	}
	return nil
}
