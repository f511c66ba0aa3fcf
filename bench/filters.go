package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"
)

// filters compares what a message costs when clients hold 10 000 filters with
// what it costs when they hold 10: one message at a time, on a random topic
// among them, to the one client that has subscribed to it.
func (b *bench) filters() error {
	fmt.Println("\n1000 clients, one message at a time on a random topic")
	broker, addr, g, err := b.start()
	if err != nil {
		return err
	}
	defer broker.stop()
	defer g.stop()
	var cost [2]float64
	for i, each := range []int{0, 10} { // of which the first ten clients hold one at least
		if cost[i], err = b.random(addr, g, each); err != nil {
			return err
		}
	}
	fmt.Printf("  ratio %.2f\n", cost[1]/cost[0])
	return nil
}

// random publishes to clients that hold so many filters each; with none, the
// first ten hold one.
func (b *bench) random(addr string, g *gateway, each int) (cpuMicros float64, err error) {
	const clients = 1000
	topics := max(10, each*clients)
	var all audience
	defer all.close()
	for i := range clients {
		var filters []string
		for j := range each {
			filters = append(filters, fmt.Sprint("bench/", i*each+j))
		}
		if each == 0 {
			filters = []string{fmt.Sprint("idle/", i)}
			if i < topics {
				filters = []string{fmt.Sprint("bench/", i)}
			}
		}
		c, r, err := wsDial(g.http, filters...)
		if err != nil {
			return 0, err
		}
		s := all.add(c)
		go s.readWS(r)
	}
	pub, err := mqttDial(addr, "bench-pub")
	if err != nil {
		return 0, err
	}
	defer pub.Close()
	payload := bytes.Repeat([]byte("x"), 100)
	cpu, start, n := g.cpu(), time.Now(), 0
	for ; time.Since(start) < b.time; n++ {
		topic := fmt.Sprint("bench/", rand.IntN(topics))
		if err := all.expect(1, func() error {
			_, err := pub.Write(mqttPublish(nil, topic, payload))
			return err
		}); err != nil {
			return 0, err
		}
	}
	took, used := time.Since(start), g.cpu()-cpu
	cpuMicros = float64(used.Microseconds()) / float64(n)
	fmt.Printf("  %6d filters               %9.0f messages/s   %7.2f us of its CPU each\n", topics, float64(n)/took.Seconds(), cpuMicros)
	return cpuMicros, nil
}
