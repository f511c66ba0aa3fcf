package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// memory measures what the gateway holds: idle, with a full history, with many
// topics' newest values, and with connections that only wait.
func (b *bench) memory(clients int) error {
	fmt.Println("\nmemory")
	broker, addr, g, err := b.start("GATEWAY_HISTORY_BYTES=67108864")
	if err != nil {
		return err
	}
	defer broker.stop()
	defer g.stop()
	idle := g.rss()
	fmt.Printf("  idle gateway: %.1f MiB\n", mib(idle))

	if err := b.connections(g, clients); err != nil {
		return err
	}
	pub, err := mqttDial(addr, "memory")
	if err != nil {
		return err
	}
	defer pub.Close()
	const topics, messages = 100_000, 400_000
	before := g.rss()
	if err := publish(g, pub, messages, topics); err != nil {
		return err
	}
	m := metrics(g)
	fmt.Printf("  history and newest values of %d topics, %d messages of 100 bytes: %.1f MiB resident more (history %.1f, values %.1f MiB by the gateway's count)\n",
		topics, messages, mib(g.rss()-before), m["gateway_history_bytes"]/(1<<20), m["gateway_values_bytes"]/(1<<20))
	return nil
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

// connections opens idle subscribers, measures, and closes them.
func (b *bench) connections(g *gateway, clients int) error {
	before := g.rss()
	conns := make([]net.Conn, clients)
	start := time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	places := make(chan struct{}, 64)
	for i := range clients {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			c, _, err := wsDial(g.http, fmt.Sprint("idle/", i))
			if err != nil {
				errs <- err
				return
			}
			conns[i] = c
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return err
	default:
	}
	fmt.Printf("  %d idle WebSocket subscribers: %.1f KiB resident each; %.0f connected/s\n",
		clients, float64(g.rss()-before)/1024/float64(clients), float64(clients)/took.Seconds())
	for _, c := range conns {
		c.Close()
	}
	for metrics(g)[`gateway_subscribers{transport="websocket"}`] > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// publish sends messages to topics in turn and waits until the gateway has
// them. It pauses so that the broker queues nothing away.
func publish(g *gateway, pub net.Conn, messages, topics int) error {
	payload := bytes.Repeat([]byte("x"), 100)
	start := metrics(g)["gateway_messages_received_total"]
	for sent := 0; sent < messages; {
		var packets []byte
		for range 1000 {
			packets = mqttPublish(packets, fmt.Sprint("memory/", sent%topics), payload)
			sent++
		}
		if _, err := pub.Write(packets); err != nil {
			return err
		}
		for deadline := time.Now().Add(20 * time.Second); metrics(g)["gateway_messages_received_total"] < start+float64(sent); {
			if time.Now().After(deadline) {
				return fmt.Errorf("of %d messages %.0f arrived", sent, metrics(g)["gateway_messages_received_total"]-start)
			}
		}
	}
	return nil
}

// metrics reads the gateway's samples.
func metrics(g *gateway) map[string]float64 {
	res, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(res.Body)
	m := map[string]float64{}
	for line := range strings.Lines(b.String()) {
		var v float64
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			name += "}"
		} else {
			name, value, ok = strings.Cut(strings.TrimSpace(line), " ")
		}
		if ok && !strings.HasPrefix(name, "#") {
			if _, err := fmt.Sscan(value, &v); err == nil {
				m[name] = v
			}
		}
	}
	return m
}
