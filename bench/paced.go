package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// latencies collects how long messages took, from before they were written to
// where a subscriber has read them.
type latencies struct {
	mu   sync.Mutex
	took []time.Duration
}

var epoch = time.Now()

// stamp is a payload of n bytes that says when it was made.
func stamp(n int) []byte {
	s := strconv.FormatInt(int64(time.Since(epoch)), 10) + " "
	return []byte(s + strings.Repeat("x", max(0, n-len(s))))
}

func (l *latencies) read(payload []byte) {
	now := time.Since(epoch)
	digits, _, _ := strings.Cut(string(payload[:min(len(payload), 24)]), " ")
	if sent, err := strconv.ParseInt(digits, 10, 64); err == nil {
		l.mu.Lock()
		l.took = append(l.took, now-time.Duration(sent))
		l.mu.Unlock()
	}
}

func (l *latencies) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.took) == 0 {
		return "nothing arrived"
	}
	slices.Sort(l.took)
	at := func(q float64) time.Duration {
		return l.took[int(q*float64(len(l.took)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %v, p99 %v, worst %v", at(0.5), at(0.99), at(1))
}

// paced compares latencies at 200 messages a second for 200 subscribers.
func (b *bench) paced() error {
	fmt.Println("\n200 subscribers of one topic, 200 messages/s")
	broker, addr, g, err := b.start()
	if err != nil {
		return err
	}
	defer broker.stop()
	defer g.stop()
	for _, way := range []struct {
		name string
		dial dialer
	}{{"mosquitto's own, TCP", viaMQTT(addr)}, {"the gateway's, WebSocket", viaWS(g)}} {
		var took latencies
		if err := b.pace(addr, 200, &took, way.dial); err != nil {
			return err
		}
		fmt.Printf("  %-28s %s\n", way.name, &took)
	}
	return nil
}

func (b *bench) pace(addr string, subs int, took *latencies, dial dialer) error {
	f := fan{subs: subs}
	var all audience
	defer all.close()
	all.stamp = took.read
	if err := f.dial(&all, dial); err != nil {
		return err
	}
	pub, err := mqttDial(addr, "bench-pub")
	if err != nil {
		return err
	}
	defer pub.Close()
	return pacedPublish(pub, b.time)
}

func pacedPublish(pub net.Conn, span time.Duration) error {
	tick := time.NewTicker(time.Second / 200)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < span; <-tick.C {
		if _, err := pub.Write(mqttPublish(nil, "bench/x", stamp(100))); err != nil {
			return err
		}
	}
	return nil
}
