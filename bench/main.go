// Command bench measures the gateway against its rivals on this machine, in
// one run, and prints ratios.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"sync/atomic"
	"time"
)

func main() {
	binary := flag.String("gateway", "bin/gateway", "gateway binary")
	seconds := flag.Float64("seconds", 3, "time per measurement")
	only := flag.String("only", "", "run one of: fanout, own, memory")
	clients := flag.Int("clients", 10_000, "connections of the memory measurement")
	flag.Parse()
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b := bench{binary: *binary, dir: dir, time: time.Duration(*seconds * float64(time.Second))}
	for _, part := range []struct {
		name string
		run  func() error
	}{
		{"fanout", func() error { return b.fanout("200 subscribers of one topic, bursts of 64", fan{subs: 200, burst: 64}) }},
		{"own", func() error {
			return b.fanout("1000 subscribers, each its own topic", fan{subs: 1000, burst: 1000, own: true})
		}},
		{"memory", func() error { return b.memory(*clients) }},
	} {
		if *only != "" && *only != part.name {
			continue
		}
		if err := part.run(); err != nil {
			log.Fatalf("%s: %v", part.name, err)
		}
	}
}

// bench runs each measurement with processes of its own.
type bench struct {
	binary, dir string
	time        time.Duration
}

// start runs a broker and a gateway in front of it.
func (b *bench) start(env ...string) (broker *process, addr string, g *gateway, err error) {
	if broker, addr, err = startMosquitto(b.dir); err != nil {
		return nil, "", nil, err
	}
	if g, err = startGateway(b.binary, addr, env...); err != nil {
		broker.stop()
		return nil, "", nil, err
	}
	return broker, addr, g, nil
}

// fanout compares mosquitto's own delivery over TCP with the gateway's over
// WebSocket.
func (b *bench) fanout(title string, f fan) error {
	fmt.Println("\n" + title)
	f.time = b.time
	broker, addr, g, err := b.start()
	if err != nil {
		return err
	}
	defer broker.stop()
	defer g.stop()
	own, ownCPU, err := f.run(addr, broker, func(i int, filter string, s *subscriber) error {
		var err error
		if s.conn, err = mqttDial(addr, fmt.Sprint("sub", i)); err != nil {
			return err
		}
		if err := mqttSubscribe(s.conn, filter); err != nil {
			return err
		}
		go s.readMQTT()
		return nil
	})
	if err != nil {
		return err
	}
	ours, ourCPU, err := f.run(addr, g.process, func(_ int, filter string, s *subscriber) error {
		c, r, err := wsDial(g.http, filter)
		if err != nil {
			return err
		}
		s.conn = c
		go s.readWS(r)
		return nil
	})
	if err != nil {
		return err
	}
	const row = "  %-28s %9.0f deliveries/s %7.2f us of its CPU each\n"
	fmt.Printf(row, "mosquitto's own, TCP", own, ownCPU)
	fmt.Printf(row, "the gateway's, WebSocket", ours, ourCPU)
	fmt.Printf("  ratio %.2f\n", ours/own)
	return nil
}

// fan is one message to many, in bursts: the next burst starts when everybody
// has the last one.
type fan struct {
	subs  int
	own   bool
	burst int
	time  time.Duration
}

func (f fan) run(broker string, p *process, dial func(int, string, *subscriber) error) (rate, cpuMicros float64, err error) {
	var total, target atomic.Int64
	target.Store(1 << 62)
	signal := make(chan struct{}, 1)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range f.subs {
		s := &subscriber{total: &total, target: &target, signal: signal}
		filter := "bench/x"
		if f.own {
			filter = fmt.Sprint("bench/", i)
		}
		if err := dial(i, filter, s); err != nil {
			return 0, 0, err
		}
		conns = append(conns, s.conn)
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
		goal := total.Load() + want
		target.Store(goal)
		if _, err := pub.Write(packets); err != nil {
			return 0, 0, err
		}
		select {
		case <-signal:
		case <-time.After(20 * time.Second):
			return 0, 0, fmt.Errorf("%d of %d arrived", total.Load(), goal)
		}
	}
	took, used := time.Since(start), p.cpu()-cpu
	n := float64(total.Load())
	return n / took.Seconds(), float64(used.Microseconds()) / n, nil
}
