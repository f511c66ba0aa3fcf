package main

import (
	"fmt"
	"time"
)

// idle is 10 000 WebSocket subscribers that wait, each with a topic of its
// own: what one costs, how fast they connect, and how they are sent away.
func idle(st *stage) (*section, error) {
	n := st.small(10_000, 200)
	s := &section{head: []string{"Round", "Resident each, KiB", "The same after 5 s, KiB", "Connected/s", "Gateway's CPU per connection, us", "The tool's, us", "SIGTERM to exit, s", "Close frames 1001"}}
	var each, rate, stop, told series
	for round := range st.rounds {
		g, err := st.startGateway()
		if err != nil {
			return nil, err
		}
		r, err := st.idleRound(g, n)
		if err != nil {
			return nil, err
		}
		each, rate = append(each, r.settled), append(rate, r.rate)
		stop, told = append(stop, r.stop.Seconds()), append(told, float64(r.told))
		s.row(fmt.Sprint(round+1), number(r.each), number(r.settled), number(r.rate), number(r.cpu), number(r.tool), number(r.stop.Seconds()), whole(r.told)+" of "+whole(n))
		st.forget(g.process)
		st.forget(g.mosquitto)
	}
	s.verdicts = []verdict{
		atMost(12, "KiB", "resident for each, after 5 s", each),
		atLeast(4000, "/s", "connections made", rate),
		{what: "SIGTERM until exit", value: stop, op: "<", limit: 5, unit: "s"},
		atLeast(float64(n), "clients", "got close code 1001", told),
	}
	return s, nil
}

type idleResult struct {
	each, settled, rate, cpu, tool float64
	stop                           time.Duration
	told                           int
}

func (st *stage) idleRound(g *gateway, n int) (r idleResult, err error) {
	before, cpu, tool := g.rss(), g.cpu(), ownCPU()
	began := time.Now()
	c, err := gather(n, func(i int) (dialed, error) {
		return subscribeGatewayWebSocket(g.http, []string{fmt.Sprintf("idle/%d", i)})
	})
	if err != nil {
		return r, err
	}
	defer c.close()
	r.rate = float64(n) / time.Since(began).Seconds()
	r.tool = float64((ownCPU() - tool).Microseconds()) / float64(n)
	r.cpu = float64((g.cpu() - cpu).Microseconds()) / float64(n)
	perClient := func() float64 { return float64(g.rss()-before) / 1024 / float64(n) }
	r.each = perClient()
	if !st.quick {
		time.Sleep(5 * time.Second) // the collector gives memory back
	}
	r.settled = perClient()

	c.sync(func() { c.closing, err = true, c.err })
	if err != nil {
		return r, err
	}
	began = time.Now()
	g.terminate()
	select {
	case <-g.done:
	case <-time.After(patience):
		return r, fmt.Errorf("the gateway does not stop in %v", patience)
	}
	r.stop = time.Since(began)
	return r, c.gone(&r.told)
}

// gone waits until all connections have ended and counts the close frames that
// say that the gateway goes away.
func (c *crowd) gone(told *int) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		var closed int
		c.sync(func() { closed, *told = c.closed, c.closeCodes[1001] })
		if closed == len(c.subs) {
			return nil
		}
		select {
		case <-c.reached:
		case <-timeout.C:
			return fmt.Errorf("%d of %d connections ended", closed, len(c.subs))
		}
	}
}
