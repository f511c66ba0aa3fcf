package devicecom

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
)

// logged connects with a log that the test can wait for.
func logged(t *testing.T, address string, o Options) (*Values, *logbook) {
	book := newLogbook(t)
	o.Logger = slog.New(book)
	return connect(t, address, o), book
}

func TestPublishWithoutAConnectionIsRefused(t *testing.T) {
	b := startBroker(t)
	vals, book := logged(t, b.Addr(), Options{})
	b.Kill()
	book.wait(t, lostLine, 1)
	for qos := range byte(3) {
		if err := vals.Publish(within(t), "a", "refused", QoS(qos), Retain()); !errors.Is(err, ErrNotConnected) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("QoS %d: got %v, want ErrNotConnected", qos, err)
		}
	}
	if vals.Connected() {
		t.Error("Connected without a broker")
	}
	b.StartAgain()
	book.wait(t, againLine, 1)
	if err := vals.Publish(within(t), "a", "end"); err != nil {
		t.Fatal(err)
	}
	if got, err := vals.Next(within(t)); err != nil || got != "end" {
		t.Errorf("got %v, %v; what was refused must not come later", got, err)
	}
}

// The broker comes back, and so do the subscription and the retained values.
func TestRestartedBrokerIsFoundAgain(t *testing.T) {
	b := startBroker(t)
	vals, book := logged(t, b.Addr(), Options{})
	for i := range 3 {
		if err := vals.Publish(within(t), "kept", i, Retain()); err != nil {
			t.Fatal(err)
		}
		if got := next(t, vals); got.Value != i || got.Retained {
			t.Fatalf("round %d: got %+v, want it live", i, got)
		}
		b.Restart()
		book.wait(t, againLine, i+1)
		if got := next(t, vals); got.Value != i || !got.Retained {
			t.Fatalf("round %d: got %+v, want it retained", i, got)
		}
	}
	if !vals.Connected() {
		t.Error("not Connected")
	}
}

// swallow makes the proxy lose what confirms a publish, and cut the connection
// when cut is true.
func swallow(p *brokertest.Proxy, kind byte, cut bool) {
	action := brokertest.Swallow
	if cut {
		action = brokertest.CutNow
	}
	p.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if dir == brokertest.Down && brokertest.PacketType(packet) == kind {
			return nil, action
		}
		return nil, brokertest.Pass
	})
}

// The connection ends between PUBLISH and PUBACK: the message has arrived, but
// nobody here knows. It is neither a success nor sent again.
func TestLostConfirmationIsAnUnknownOutcome(t *testing.T) {
	for _, tc := range []struct {
		name string
		qos  byte
		kind byte
	}{{"PUBACK", 1, brokertest.PUBACK}, {"PUBREC", 2, brokertest.PUBREC}, {"PUBCOMP", 2, brokertest.PUBCOMP}} {
		t.Run(tc.name, func(t *testing.T) {
			b := startBroker(t)
			p := brokertest.StartProxy(t, b.Addr())
			oracle := brokertest.Dial(t, b.Addr())
			oracle.Subscribe("#", 2)
			vals, book := logged(t, p.Addr(), Options{})
			swallow(p, tc.kind, true)
			err := vals.Publish(within(t), "a", "once", QoS(tc.qos))
			if !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotConnected) {
				t.Fatalf("got %v, want ErrUnknownOutcome", err)
			}
			p.Hook(nil)
			book.wait(t, againLine, 1)
			if err := vals.Publish(within(t), "a", "end", QoS(tc.qos)); err != nil {
				t.Fatal(err)
			}
			oracle.Wait(patience, func(m brokertest.Message) bool { return string(m.Payload) == "end" })
			once := 0
			for _, m := range oracle.Received() {
				if string(m.Payload) == "once" {
					once++
				}
			}
			// Before PUBREL the broker holds a QoS 2 message back, and forgets it
			// with the session.
			if want := map[byte]int{brokertest.PUBACK: 1, brokertest.PUBREC: 0, brokertest.PUBCOMP: 1}[tc.kind]; once != want {
				t.Errorf("arrived %d times, want %d", once, want)
			}
		})
	}
}

func TestMissingConfirmationDoesNotWaitForEver(t *testing.T) {
	b := startBroker(t)
	p := brokertest.StartProxy(t, b.Addr())
	short := usual
	short.confirm = 200 * time.Millisecond
	vals := connect(t, p.Addr(), Options{timing: short})
	swallow(p, brokertest.PUBACK, false)
	if err := vals.Publish(t.Context(), "a", 1); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("without a deadline: got %v, want ErrUnknownOutcome", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := vals.Publish(ctx, "a", 2); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: got %v, want ErrUnknownOutcome and the deadline", err)
	}
	// What nobody waits for any more still counts as in flight.
	for range maxInFlight - 2 {
		go func() { _ = vals.Publish(context.Background(), "a", 3) }()
	}
	s := vals.session.Load()
	until(t, "full", func() bool { return len(s.window) == maxInFlight })
	if err := vals.Publish(t.Context(), "a", 4); err == nil || errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("with a full window: got %v, want that nothing was sent", err)
	}
}

// A broker that is frozen, or a cable that is pulled: nothing closes the
// connection, and it must be found dead.
func TestSilentBrokerIsGivenUp(t *testing.T) {
	b := startBroker(t)
	vals, book := logged(t, b.Addr(), Options{KeepAlive: time.Second})
	b.Pause()
	book.wait(t, lostLine, 1)
	// With so short a time a busy machine may have lost the connection before.
	until(t, "given up", func() bool { return errors.Is(vals.Publish(within(t), "a", 1), ErrNotConnected) })
	b.Continue()
	book.wait(t, againLine, 1)
	until(t, "works again", func() bool { return vals.Publish(within(t), "a", 2) == nil })
}

// A peer that takes no bytes any more: the write has a deadline.
func TestStalledWriteEndsTheConnection(t *testing.T) {
	b := startBroker(t)
	short := usual
	short.write = 300 * time.Millisecond
	vals, book := logged(t, b.Addr(), Options{timing: short, KeepAlive: time.Hour, MaxPacketBytes: 64 << 20})
	b.Pause()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- vals.Publish(ctx, "a", make([]byte, 32<<20)) }()
	book.wait(t, lostLine, 1)
	if err := await(t, result); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome", err)
	}
}

// Of many that publish at once, only those whose message has left, or begun to,
// are left in doubt.
func TestMessagesThatWaitedAreRefused(t *testing.T) {
	b := startBroker(t)
	short := usual
	short.write = 300 * time.Millisecond
	vals, book := logged(t, b.Addr(), Options{timing: short, KeepAlive: time.Hour, MaxPacketBytes: 64 << 20})
	s := vals.session.Load()
	b.Pause()
	const n = 20
	results := make(chan error, n)
	payload := make([]byte, 4<<20)
	for range n {
		go func() { results <- vals.Publish(within(t), "a", payload) }()
	}
	book.wait(t, lostLine, 1)
	refused := 0
	for range n {
		switch err := await(t, results); {
		case errors.Is(err, ErrNotConnected):
			refused++
		case !errors.Is(err, ErrUnknownOutcome):
			t.Errorf("got %v, want ErrNotConnected or ErrUnknownOutcome", err)
		}
	}
	if refused < n/2 { // no kernel takes half of it
		t.Errorf("got %d refused of %d, want most", refused, n)
	}
	<-s.ended
}

func TestCloseIsQuickWithAStalledBroker(t *testing.T) {
	b := startBroker(t)
	vals := connect(t, b.Addr(), Options{MaxPacketBytes: 64 << 20})
	b.Pause()
	result := make(chan error, 1)
	go func() { result <- vals.Publish(context.Background(), "a", make([]byte, 32<<20)) }()
	s := vals.session.Load()
	until(t, "in flight", func() bool { return len(s.window) == 1 })
	if err := vals.Close(); err != nil {
		t.Error(err)
	}
	if err := await(t, result); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome", err)
	}
}

// Close in the middle of publishes: each ends, in one of the ways it may.
func TestCloseEndsPublishes(t *testing.T) {
	b := startBroker(t)
	for range 20 {
		vals := connect(t, b.Addr(), Options{Filters: []string{"nothing"}})
		const n = 20
		first, results := make(chan struct{}, n), make(chan error, n)
		for range n {
			go func() {
				for {
					err := vals.Publish(context.Background(), "a", 1)
					if err != nil {
						results <- err
						return
					}
					select {
					case first <- struct{}{}:
					default:
					}
				}
			}()
		}
		await(t, first)
		_ = vals.Close()
		for range n {
			if err := await(t, results); !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotConnected) && !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want unknown, not connected or closed", err)
			}
		}
	}
}

func TestCloseWhileConnectingAgainReturns(t *testing.T) {
	b := startBroker(t)
	vals, book := logged(t, b.Addr(), Options{})
	b.Kill()
	book.wait(t, "no connection to the broker yet", 1)
	if err := vals.Close(); err != nil {
		t.Error(err)
	}
}

// An attempt that hangs does not hold up Close, nor a context that ends.
func TestAttemptsThatHangCanBeEnded(t *testing.T) {
	var attempts atomic.Int32
	fake := brokertest.StartFake(t, func(c *brokertest.FakeConn) {
		n := attempts.Add(1)
		if n == 1 {
			_ = c.AcceptConnect(0)
			_ = c.Serve(func(kind, _ byte, _ []byte) bool {
				if kind == brokertest.PUBLISH {
					c.Reset()
				}
				return false
			})
			return
		}
		for { // swallows everything
			if _, _, _, err := c.ReadPacket(); err != nil {
				return
			}
		}
	})
	vals := connect(t, fake.Addr(), Options{})
	_ = vals.Publish(within(t), "a", 1)
	until(t, "connecting again", func() bool { return attempts.Load() > 1 })
	if err := vals.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	before := attempts.Load()
	path := settingsFor(t, fake.Addr())
	go func() {
		_, err := ConnectBrokerContext(ctx, quick(t, Options{SettingsFile: path}))
		ended <- err
	}()
	until(t, "connecting", func() bool { return attempts.Load() > before })
	cancel()
	if err := await(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context canceled", err)
	}
}

// Attempts come after random pauses whose bound doubles, and start over after a
// connection that held.
func TestPausesDoubleUpToTheirBound(t *testing.T) {
	o := Options{timing: timing{minPause: time.Microsecond, maxPause: 3 * time.Microsecond}}
	b := backoff{o: &o}
	for range 100 {
		if !b.wait(t.Context()) {
			t.Fatal("the wait was cut short")
		}
	}
	for attempts, want := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		b := backoff{o: &Options{timing: usual}, attempts: attempts}
		if got := b.limit(); got != want {
			t.Errorf("attempt %d: got %v, want %v", attempts, got, want)
		}
	}
	if got := (&backoff{o: &Options{timing: usual}, attempts: 1 << 40}).limit(); got != usual.maxPause {
		t.Errorf("after very many attempts: got %v, want %v", got, usual.maxPause)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if (&backoff{o: &Options{timing: usual}}).wait(ctx) {
		t.Error("an ended context: got true, want false")
	}
}

func TestNoGoroutineSurvivesRefusals(t *testing.T) {
	b := startBroker(t, brokertest.Set("allow_anonymous", "false"))
	for range 5 {
		_, err := ConnectBrokerContext(t.Context(), quick(t, Options{SettingsFile: settingsFor(t, b.Addr())}))
		if err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("got %v, want a refusal", err)
		}
	} // TestMain looks at the goroutines
}
