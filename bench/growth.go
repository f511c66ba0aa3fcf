package main

import (
	"fmt"
	"time"
)

// point is one line of a growth table: the gateway with one number of
// something, and mosquitto's own delivery of the same where it is the same
// work.
type point struct {
	x                   int
	rate, own, cpu, rss float64
}

// growth is a table and a plot of points.
type growth struct {
	x      string // what grows
	rate   string // the unit of the rate
	points []point
}

// section makes the table and the plot. mosquitto's rate is left out where
// there is none.
func (g growth) section() *section {
	s := &section{head: []string{g.x, "Gateway, " + g.rate, "mosquitto's own, " + g.rate, "Gateway's CPU per delivery, us", "Gateway resident, MiB"}}
	for _, p := range g.points {
		own := "-"
		if p.own > 0 {
			own = number(p.own)
		}
		s.row(whole(p.x), number(p.rate), own, number(p.cpu), number(p.rss))
	}
	s.growth = &g
	return s
}

// growSubscribers is one topic for more and more WebSocket subscribers, in
// bursts that mosquitto delivers to 10 000 of them in some seconds.
func growSubscribers(st *stage) (*section, error) {
	g := growth{x: "Subscribers", rate: "deliveries/s"}
	steps := []int{1, 10, 100, 1000, 10_000}
	if st.quick {
		steps = []int{1, 10, 100}
	}
	for _, n := range steps {
		p, err := st.beside(n, audience{burst: 16, size: 100, topic: everybody}, oneTopic)
		if err != nil {
			return nil, fmt.Errorf("%d subscribers: %w", n, err)
		}
		p.x = n
		g.points = append(g.points, p)
	}
	return g.section(), nil
}

// growTopics is ten subscribers of everything, and messages to more and more
// topics in turn: each topic takes room in the table of newest values. Each
// has had a message before the rounds begin.
func growTopics(st *stage) (*section, error) {
	const subscribers, burst = 10, 500
	g := growth{x: "Topics", rate: "deliveries/s"}
	steps := []int{1, 10, 100, 1000, 10_000, 100_000}
	if st.quick {
		steps = []int{1, 10, 100}
	}
	for _, n := range steps {
		a := audience{burst: burst, fill: n, size: 100, topic: func(i int) (string, []int) { return numbered("bench/", i%n), nil }}
		p, err := st.beside(subscribers, a, func(int) []string { return []string{"bench/#"} })
		if err != nil {
			return nil, fmt.Errorf("%d topics: %w", n, err)
		}
		p.x = n
		g.points = append(g.points, p)
	}
	return g.section(), nil
}

// growPayload is one topic for 100 subscribers, and larger and larger
// payloads. A burst stays below half of what may wait for one client, which
// is 1 MiB.
func growPayload(st *stage) (*section, error) {
	g := growth{x: "Payload, bytes", rate: "deliveries/s"}
	steps := []int{10, 100, 1 << 10, 10 << 10, 64 << 10, 256 << 10}
	subscribers := 100
	if st.quick {
		steps, subscribers = []int{10, 256 << 10}, 10
	}
	for _, n := range steps {
		burst := min(64, max(1, 512<<10/n))
		p, err := st.beside(subscribers, audience{burst: burst, size: n, topic: everybody}, oneTopic)
		if err != nil {
			return nil, fmt.Errorf("%d bytes: %w", n, err)
		}
		p.x = n
		g.points = append(g.points, p)
	}
	return g.section(), nil
}

// beside measures one point with a fresh mosquitto, and then with a fresh
// gateway: not in turn, so that the tool needs sockets for one of them only.
func (st *stage) beside(n int, a audience, filters func(int) []string) (p point, err error) {
	own, err := st.alone((*stage).mosquittoSide, n, a, filters)
	if err != nil {
		return p, err
	}
	gateway, err := st.alone(func(st *stage) (*side, error) {
		// Without a history: it would hold more the faster the run is.
		s, _, err := st.gatewaySide("GATEWAY_HISTORY_BYTES=0")
		return s, err
	}, n, a, filters)
	if err != nil {
		return p, err
	}
	return point{rate: gateway.rate.median(), own: own.rate.median(), cpu: gateway.cpu.median(), rss: mib(gateway.rss)}, nil
}

// alone measures one side on a stage of its own.
func (st *stage) alone(begin func(*stage) (*side, error), n int, a audience, filters func(int) []string) (*contestant, error) {
	inner := &stage{options: st.options, dir: st.dir}
	defer inner.close()
	// A growth table has many points; a shape shows with shorter rounds.
	inner.time = min(st.time, time.Second)
	s, err := begin(inner)
	if err != nil {
		return nil, err
	}
	audiences, err := inner.seatAll([]*side{s}, n, filters, a)
	if err != nil {
		return nil, err
	}
	for audiences[0].sent < a.fill {
		if _, err := audiences[0].once(); err != nil {
			return nil, err
		}
	}
	cs, err := inner.compare(audiences)
	if err != nil {
		return nil, err
	}
	return cs[0], inner.crashed()
}
