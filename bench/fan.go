package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// dialer connects a subscriber and lets it read.
type dialer func(i int, filter string, a *audience) error

func viaMQTT(addr string) dialer {
	return func(i int, filter string, a *audience) error {
		c, err := mqttDial(addr, fmt.Sprint("sub", i))
		if err != nil {
			return err
		}
		if err := mqttSubscribe(c, filter); err != nil {
			return err
		}
		go a.add(c).readMQTT()
		return nil
	}
}

func viaWS(g *gateway) dialer {
	return func(_ int, filter string, a *audience) error {
		c, r, err := wsDial(g.http, filter)
		if err != nil {
			return err
		}
		go a.add(c).readWS(r)
		return nil
	}
}

func viaNDJSON(g *gateway) dialer {
	return func(_ int, filter string, a *audience) error {
		c, r, err := eventsDial(g.http, filter)
		if err != nil {
			return err
		}
		go a.add(c).readChunks(r)
		return nil
	}
}

// audience is many subscribers and what all of them have received.
type audience struct {
	total, target atomic.Int64
	signal        chan struct{}
	stamp         func(payload []byte)
	conns         []net.Conn
}

func (a *audience) add(c net.Conn) *subscriber {
	if a.signal == nil {
		a.signal = make(chan struct{}, 1)
		a.target.Store(1 << 62)
	}
	a.conns = append(a.conns, c)
	return &subscriber{conn: c, total: &a.total, target: &a.target, signal: a.signal, stamp: a.stamp}
}

func (a *audience) close() {
	for _, c := range a.conns {
		c.Close()
	}
}

// expect sends, and returns when n messages more have been received.
func (a *audience) expect(n int64, send func() error) error {
	goal := a.total.Load() + n
	a.target.Store(goal)
	if err := send(); err != nil {
		return err
	}
	select {
	case <-a.signal:
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%d of %d arrived", a.total.Load(), goal)
	}
}

// fan is one message to many, in bursts: the next burst starts when everybody
// has the last one.
type fan struct {
	subs  int
	own   bool
	burst int
	time  time.Duration
}

func (f fan) dial(a *audience, dial dialer) error {
	for i := range f.subs {
		filter := "bench/x"
		if f.own {
			filter = fmt.Sprint("bench/", i)
		}
		if err := dial(i, filter, a); err != nil {
			return err
		}
	}
	return nil
}

func (f fan) run(broker string, p *process, dial dialer) (rate, cpuMicros float64, err error) {
	var all audience
	defer all.close()
	if err := f.dial(&all, dial); err != nil {
		return 0, 0, err
	}
	pub, err := mqttDial(broker, "bench-pub")
	if err != nil {
		return 0, 0, err
	}
	defer pub.Close()
	payload := bytes.Repeat([]byte("x"), 100)
	next := 0
	cpu, start := p.cpu(), time.Now()
	for time.Since(start) < f.time {
		var packets []byte
		for range f.burst {
			topic := "bench/x"
			if f.own {
				topic = fmt.Sprint("bench/", next%f.subs)
				next++
			}
			packets = mqttPublish(packets, topic, payload)
		}
		want := int64(f.burst)
		if !f.own {
			want *= int64(f.subs)
		}
		if err := all.expect(want, func() error { _, err := pub.Write(packets); return err }); err != nil {
			return 0, 0, err
		}
	}
	took, used := time.Since(start), p.cpu()-cpu
	n := float64(all.total.Load())
	return n / took.Seconds(), float64(used.Microseconds()) / n, nil
}

// fanout compares mosquitto's own delivery over TCP with the gateway's over
// WebSocket, and as NDJSON.
func (b *bench) fanout(title string, f fan) error {
	fmt.Println("\n" + title)
	f.time = b.time
	broker, addr, g, err := b.start()
	if err != nil {
		return err
	}
	defer broker.stop()
	defer g.stop()
	ways := []struct {
		name string
		of   *process
		dial dialer
	}{{"mosquitto's own, TCP", broker, viaMQTT(addr)}, {"the gateway's, WebSocket", g.process, viaWS(g)}}
	if !f.own {
		ways = append(ways, struct {
			name string
			of   *process
			dial dialer
		}{"the gateway's, NDJSON", g.process, viaNDJSON(g)})
	}
	var base float64
	for _, w := range ways {
		rate, cpu, err := f.run(addr, w.of, w.dial)
		if err != nil {
			return err
		}
		if base == 0 {
			base = rate
		}
		fmt.Printf("  %-28s %9.0f deliveries/s %7.2f us of its CPU each, ratio %.2f\n", w.name, rate, cpu, rate/base)
	}
	return nil
}

// eventsDial opens /events with the filter and reads until the ack.
func eventsDial(addr, filter string) (net.Conn, *bufio.Reader, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	r, err := openEvents(c, addr, filter)
	return c, r, err
}
