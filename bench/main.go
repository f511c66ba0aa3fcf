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
	subs := flag.Int("subs", 200, "subscribers")
	topics := flag.Bool("own", false, "each subscriber on its own topic")
	burst := flag.Int("burst", 64, "messages in a burst")
	seconds := flag.Float64("seconds", 3, "time per measurement")
	flag.Parse()
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	m, broker, err := startMosquitto(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer m.stop()
	run := func(name string, p *process, dial func(i int, filter string, s *subscriber) error) float64 {
		f := fan{subs: *subs, own: *topics, burst: *burst, time: time.Duration(*seconds * float64(time.Second))}
		rate, cpu, err := f.run(broker, p, dial)
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		fmt.Printf("%-12s %10.0f deliveries/s  %6.2f us server CPU per delivery  %d MB\n", name, rate, cpu, p.rss()>>20)
		return rate
	}
	own := run("mosquitto", m, func(i int, filter string, s *subscriber) error {
		c, err := mqttDial(broker, fmt.Sprint("sub", i))
		if err != nil {
			return err
		}
		s.conn = c
		if err := mqttSubscribe(c, filter); err != nil {
			return err
		}
		go s.readMQTT()
		return nil
	})
	g, err := startGateway(*binary, broker)
	if err != nil {
		log.Fatal(err)
	}
	defer g.stop()
	ours := run("gateway", g.process, func(_ int, filter string, s *subscriber) error {
		c, r, err := wsDial(g.http, filter)
		if err != nil {
			return err
		}
		s.conn = c
		go s.readWS(r)
		return nil
	})
	fmt.Printf("ratio %.2f\n", ours/own)
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
