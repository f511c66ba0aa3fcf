package main

import (
	"fmt"
	"net/http"
	"time"
)

// publishOne is POST /publish over 64 keep-alive connections beside a handler
// that only decodes the same JSON. Broker, load and server share the machine.
func publishOne(st *stage) (*section, error) {
	const conns = 64
	handler, addr, err := st.chi(0)
	if err != nil {
		return nil, err
	}
	g, err := st.startGateway()
	if err != nil {
		return nil, err
	}
	quiet, err := st.startGateway("GATEWAY_WATCH=")
	if err != nil {
		return nil, err
	}
	var cs []*contestant
	for _, c := range []struct {
		name, addr  string
		proc        *process
		gateway     *gateway
		qos, status int
	}{
		{"chi handler that decodes", addr, handler, nil, 0, http.StatusOK},
		{"gateway, QoS 0", g.http, g.process, g, 0, http.StatusAccepted},
		{"gateway, QoS 1", g.http, g.process, g, 1, http.StatusOK},
		{"gateway that watches nothing, QoS 0", quiet.http, quiet.process, quiet, 0, http.StatusAccepted},
		{"gateway that watches nothing, QoS 1", quiet.http, quiet.process, quiet, 1, http.StatusOK},
	} {
		p, err := newPosts(c.addr, conns, c.qos, c.status)
		if err != nil {
			return nil, err
		}
		st.atEnd(p.close)
		var broker *process
		if c.gateway != nil {
			broker = c.gateway.mosquitto
		}
		cs = append(cs, &contestant{name: c.name, proc: c.proc, broker: broker, round: func(d time.Duration) (sample, error) { return p.run(d, -1) }})
		if c.gateway != nil {
			if err := st.witnessPosts(c.gateway, p); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	if err := st.alternate(cs...); err != nil {
		return nil, err
	}
	s := publishes(cs)
	s.head = append(s.head, "The broker's, us", "Of the chi handler", "Bound")
	for i, c := range cs {
		s.rows[i] = append(s.rows[i], number(c.own.median()), number(ratios(c.rate, cs[0].rate).median()), number(bound(c, cs[0])))
	}
	s.verdicts = []verdict{
		atLeast(0.70, "x", "of the chi handler, QoS 0", ratios(cs[1].rate, cs[0].rate)),
		atLeast(0.55, "x", "of the chi handler, QoS 1", ratios(cs[2].rate, cs[0].rate)),
	}
	return s, nil
}

// bound is what a gateway would reach, of the chi handler's rate, that costs no
// more than that handler itself: the broker's work and the tool's share the
// machine with it.
func bound(c, chi *contestant) float64 {
	alone := chi.cpu.median() + chi.tool.median()
	return alone / (chi.cpu.median() + c.tool.median() + c.own.median())
}

// publishes is the table of contestants that publish.
func publishes(cs []*contestant) *section {
	s := &section{head: []string{"Who", "Publishes/s", "Its CPU per publish, us", "The tool's, us"}}
	for _, c := range cs {
		s.row(c.name, c.rate.text(), c.cpu.text(), number(c.tool.median()))
	}
	return s
}

// witness is MQTT subscribers of the topics that HTTP publishes to, one for
// each.
func witness(g *gateway, topics int) (*crowd, error) {
	return gather(topics, func(i int) (dialed, error) {
		return subscribeMQTT(g.broker, fmt.Sprint("witness", i), []string{topicOf(i)})
	})
}

// witnessPosts publishes some messages and counts them at the broker, before
// the rounds, in which a witness would take the broker's time.
func (st *stage) witnessPosts(g *gateway, p *posts) error {
	c, err := witness(g, len(p.conns))
	if err != nil {
		return err
	}
	defer c.close()
	const messages = 5000
	c.expect(messages)
	if _, err := p.run(patience, messages); err != nil {
		return err
	}
	if err := c.wait(); err != nil {
		return err
	}
	for i, s := range c.subs {
		s.want = p.conns[i].sent
	}
	return c.verify()
}
