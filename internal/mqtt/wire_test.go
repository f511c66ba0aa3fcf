package mqtt

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// gatedConn is a connection whose writes announce themselves, and end as the test says.
func gatedConn(t *testing.T, framed bool) (*Conn, *gated) {
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	g := &gated{Conn: near, entered: make(chan int), pass: make(chan writeEnd)}
	cfg := Config{Version: V311, KeepAlive: time.Minute, PingTime: time.Minute}.withDefaults()
	c := newConn(cfg, stream{Conn: g, sock: newSock(near, &cfg), framed: framed})
	c.limits, _ = c.codec.connack(&c.cfg, accepted(V311)[2:])
	c.start()
	t.Cleanup(func() {
		c.Fail(ErrClosed)
		<-c.ended
	})
	return c, g
}

type gated struct {
	net.Conn
	entered chan int
	pass    chan writeEnd
}

type writeEnd struct {
	n   int
	err error
}

func (g *gated) Write(p []byte) (int, error) {
	g.entered <- len(p)
	end := <-g.pass
	return end.n, end.err
}

// offer publishes to "a" without payload: 5 bytes at QoS 0, 7 at QoS 1.
func offer(c *Conn, qos byte) *Publication {
	p := NewPublication(Message{Topic: "a", QoS: qos})
	c.TryPublish(p)
	return p
}

// What comes while a write is under way leaves together in the next one.
func TestPacketsShareWrites(t *testing.T) {
	c, g := gatedConn(t, false)
	c.Ping()
	if got := <-g.entered; got != 2 {
		t.Errorf("first write: got %d bytes, want 2", got)
	}
	for range 100 {
		c.Ping()
	}
	g.pass <- writeEnd{2, nil}
	if got := <-g.entered; got != 200 {
		t.Errorf("second write: got %d bytes, want 200", got)
	}
	g.pass <- writeEnd{200, nil}
}

// The outcome depends on how far the bytes got, to the byte.
func TestOutcomeFollowsTheBytes(t *testing.T) {
	for _, framed := range []bool{false, true} {
		c, g := gatedConn(t, framed)
		first := offer(c, 0)
		<-g.entered // alone in the first write
		cut0 := offer(c, 0)
		whole1 := offer(c, 1)
		cut1 := offer(c, 1)
		select {
		case <-first.Done():
			t.Fatal("QoS 0 has an outcome before its bytes have left")
		default:
		}
		g.pass <- writeEnd{5, nil}
		<-first.Done()
		if _, err := first.Outcome(); err != nil {
			t.Errorf("written: got %v, want nil", err)
		}
		<-g.entered
		late := offer(c, 1) // never part of a write
		// The first two packets and all but one byte of the third.
		g.pass <- writeEnd{5 + 7 + 6, errors.New("cut")}
		want := map[*Publication]error{cut0: nil, whole1: ErrUnknown, cut1: ErrNotSent, late: ErrNotSent}
		if framed {
			want[cut1] = ErrUnknown // a frame may have been read in part
		}
		for p, err := range want {
			<-p.Done()
			if _, got := p.Outcome(); got != err {
				t.Errorf("framed %t, ends at %d: got %v, want %v", framed, p.end, got, err)
			}
		}
	}
}

// A packet too many of those that nothing holds back, with a peer that reads nothing.
func TestUnreadAcknowledgementsEndTheConnection(t *testing.T) {
	c, g := gatedConn(t, false)
	ack := make([]byte, 1<<16)
	c.enqueue(ack)
	<-g.entered
	n := 0
	for ; c.enqueue(ack) && n < 1000; n++ {
	}
	if c.Err() != ErrStuck || n > hardPending>>16+2 {
		t.Errorf("after %d packets: got %v", n, c.Err())
	}
	g.pass <- writeEnd{0, io.ErrClosedPipe}
}

// A packet that is alone is written by whoever brings it, as far as the socket takes it at once; the writer does the rest.
func TestAlonePacketNeedsNoWriter(t *testing.T) {
	lost := errors.New("lost")
	for name, row := range map[string]struct {
		qos     byte
		takes   int // at once
		rest    int // for the writer; 0: it has nothing to do
		outcome error
	}{
		"all":           {1, 7, 0, ErrUnknown},
		"a part":        {1, 6, 1, ErrNotSent},
		"nothing":       {1, 0, 7, ErrNotSent},
		"QoS 0, shared": {0, 5, 5, ErrNotSent}, // it has nobody waiting for its answer
	} {
		t.Run(name, func(t *testing.T) {
			c, g := gatedConn(t, false)
			c.mu.Lock()
			c.stream.offer = func([]byte) int { return row.takes }
			c.mu.Unlock()
			p := offer(c, row.qos)
			if row.rest > 0 {
				if got := <-g.entered; got != row.rest {
					t.Fatalf("the writer has %d bytes, want %d", got, row.rest)
				}
				// While it writes, the next one waits for it.
				next := offer(c, 0)
				g.pass <- writeEnd{0, lost}
				if <-next.Done(); next.err != ErrNotSent {
					t.Errorf("the next: got %v, want %v", next.err, ErrNotSent)
				}
			}
			c.Fail(lost)
			<-p.Done()
			if _, err := p.Outcome(); err != row.outcome {
				t.Errorf("got %v, want %v", err, row.outcome)
			}
		})
	}
}

// What the socket has no room for at once arrives all the same, whole and in order.
func TestAlonePacketsArriveInOrder(t *testing.T) {
	cfg := Config{Version: V311, KeepAlive: time.Hour, PingTime: time.Hour}.withDefaults()
	s, far := pair(t, cfg)
	s.Conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
	far.(*net.TCPConn).SetReadBuffer(64 << 10)
	c := newConn(cfg, stream{Conn: s, sock: s, offer: s.offer})
	c.limits, _ = c.codec.connack(&c.cfg, accepted(V311)[2:])
	c.start()
	defer c.Fail(ErrClosed)
	const messages, size = 3000, 3000
	go func() {
		for n := range messages {
			c.Publish(NewPublication(Message{Topic: "a", QoS: 1, Payload: bytes.Repeat([]byte{byte(n)}, size)}))
		}
	}()
	packet := make([]byte, 3+2+1+2+size) // first byte, length, topic, identifier
	for n := range messages {
		if _, err := io.ReadFull(far, packet); err != nil {
			t.Fatal(err)
		}
		if packet[0] != byte(PUBLISH)<<4|2 || !bytes.Equal(packet[8:], bytes.Repeat([]byte{byte(n)}, size)) {
			t.Fatalf("message %d: got % x…", n, packet[:12])
		}
		far.Write([]byte{byte(PUBACK) << 4, 2, packet[6], packet[7]})
	}
}

// pair is a connected TCP pair, with a sock at one end.
func pair(t *testing.T, cfg Config) (*sock, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return newSock(near, &cfg), far
}

func TestStuckWriteEndsAndSlowWriteDoesNot(t *testing.T) {
	s, far := pair(t, Config{WriteTime: time.Second, PingTime: time.Minute})
	payload := make([]byte, 32<<20) // more than the kernel's buffers take
	n, err := s.Write(payload)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(payload) {
		t.Fatalf("a peer that does not read: got %d bytes, %v", n, err)
	}
	drained := make(chan struct{})
	go func() { // for longer than a deadline it reads too little for all to be written, but goes on
		defer close(drained)
		buf := make([]byte, 128<<10)
		for start := time.Now(); time.Since(start) < 2*time.Second; time.Sleep(20 * time.Millisecond) { // which is how slow it is
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
		go io.Copy(io.Discard, far)
	}()
	start := time.Now()
	if n, err := s.Write(payload); n != len(payload) || err != nil {
		t.Errorf("a slow peer: got %d bytes, %v", n, err)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("the peer was not slow: %v", took)
	}
	<-drained
}

// script is a connection whose other side says what is in the reader, and whose writes are kept.
type script struct {
	net.Conn
	in  io.Reader
	out *bytes.Buffer
}

func (s script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s script) Close() error                { return nil }

// serve lets a connection read what is in the reader, in this goroutine, and returns what ended it and the answers.
func serve(v Version, in io.Reader, h Handler) (answers []byte, err error) {
	near, far := net.Pipe()
	far.Close()
	cfg := Config{Version: v, MaxPayload: 1000, Handler: h}.withDefaults()
	out := new(bytes.Buffer)
	c := newConn(cfg, stream{Conn: script{near, in, out}, sock: newSock(near, &cfg)})
	c.limits, _ = c.codec.connack(&c.cfg, accepted(v)[2:])
	c.readLoop()
	return c.out.pending, c.err
}

// What is read ahead is read once, in order, however it is cut; and the bound holds.
func TestReadingAheadKeepsOrderAndBound(t *testing.T) {
	s, far := pair(t, Config{WriteTime: time.Minute, PingTime: time.Minute, ReadAhead: 1 << 20})
	const size = 20 << 20
	go func() {
		piece := make([]byte, 1<<16)
		for n := 0; n < size; n += len(piece) {
			for i := range piece {
				piece[i] = byte((n + i) % 251)
			}
			far.Write(piece)
		}
		far.Close()
	}()
	buf := make([]byte, 70_001)
	n := 0
	for turn := 0; ; turn++ {
		if turn%3 == 0 {
			s.drain()
		}
		if s.ahead.size > 1<<20+aheadChunk {
			t.Fatalf("read ahead: got %d bytes", s.ahead.size)
		}
		got, err := s.Read(buf[:1+turn*7919%len(buf)])
		for i, b := range buf[:got] {
			if b != byte((n+i)%251) {
				t.Fatalf("byte %d: got %d", n+i, b)
			}
		}
		if n += got; err != nil {
			if err != io.EOF || n != size {
				t.Errorf("end: got %v after %d bytes", err, n)
			}
			return
		}
	}
}

// Reading ahead takes memory once, however often it is used up.
func TestReadingAheadUsesItsMemoryAgain(t *testing.T) {
	s, far := pair(t, Config{WriteTime: time.Minute, PingTime: time.Minute, ReadAhead: 1 << 20})
	piece, buf := make([]byte, 100), make([]byte, 200)
	turn := func() {
		far.Write(piece)
		for n := 0; n < len(piece); {
			s.drain()
			if s.ahead.size == 0 {
				continue // it is still under way
			}
			got, err := s.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			n += got
		}
	}
	turn()
	if got := testing.AllocsPerRun(100, turn); got > 0 {
		t.Errorf("allocations each time: got %v, want none", got)
	}
}
