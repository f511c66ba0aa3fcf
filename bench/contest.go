package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// sample is one round of one contestant.
type sample struct {
	ops  int // deliveries, publishes
	took time.Duration
}

// contestant is who is measured: the gateway, or a rival of it.
type contestant struct {
	name   string
	proc   *process
	broker *process // nil: it needs none, or is one
	round  func(d time.Duration) (sample, error)

	rate series // ops per second
	cpu  series // microseconds of the server's CPU per op
	tool series // and of the load tool's own
	own  series // and of the broker's
	rss  int    // resident memory afterwards
}

// alternate gives every contestant a short round that does not count, and then
// runs them in turn.
func (st *stage) alternate(all ...*contestant) error {
	for _, c := range all {
		if _, err := c.round(st.time / 10); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for range st.rounds {
		for _, c := range all {
			before, tool, broker := c.proc.cpu(), ownCPU(), c.brokerCPU()
			s, err := c.round(st.time)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			used, toolUsed := c.proc.cpu()-before, ownCPU()-tool
			c.rate = append(c.rate, float64(s.ops)/s.took.Seconds())
			c.cpu = append(c.cpu, float64(used.Nanoseconds())/1000/float64(s.ops))
			c.tool = append(c.tool, float64(toolUsed.Nanoseconds())/1000/float64(s.ops))
			c.own = append(c.own, float64((c.brokerCPU()-broker).Nanoseconds())/1000/float64(s.ops))
			c.rss = c.proc.rss()
		}
	}
	return nil
}

func (c *contestant) brokerCPU() time.Duration {
	if c.broker == nil {
		return 0
	}
	return c.broker.cpu()
}

// side is a server that delivers what is published to its broker.
type side struct {
	name      string
	proc      *process
	broker    string // where to publish, MQTT over TCP
	subscribe func(i int, filters []string) (dialed, error)
}

func (st *stage) mosquittoSide() (*side, error) {
	p, addr, err := st.mosquitto()
	return &side{"mosquitto's own, TCP", p, addr, func(i int, filters []string) (dialed, error) {
		return subscribeMQTT(addr, fmt.Sprint("sub", i), filters)
	}}, err
}

func (st *stage) natsSide() (*side, error) {
	p, mqtt, ws, err := st.nats()
	return &side{"nats-server, MQTT over WebSocket", p, mqtt, func(i int, filters []string) (dialed, error) {
		return subscribeMQTTWebSocket(ws, fmt.Sprint("sub", i), filters)
	}}, err
}

func (st *stage) gatewaySide(env ...string) (*side, *gateway, error) {
	g, err := st.startGateway(env...)
	if err != nil {
		return nil, nil, err
	}
	return &side{"gateway, WebSocket", g.process, g.broker, func(_ int, filters []string) (dialed, error) {
		return subscribeGatewayWebSocket(g.http, filters)
	}}, g, nil
}

func (st *stage) eventsSide() (*side, error) {
	s, g, err := st.gatewaySide()
	if err != nil {
		return nil, err
	}
	s.name = "gateway, /events NDJSON"
	s.subscribe = func(_ int, filters []string) (dialed, error) { return subscribeGatewayNDJSON(g.http, filters) }
	return s, nil
}

// rivals are the gateway, mosquitto and, where it is there, nats-server.
func (st *stage) rivals() (mosquitto, gateway, nats *side, err error) {
	if mosquitto, err = st.mosquittoSide(); err != nil {
		return nil, nil, nil, err
	}
	if gateway, _, err = st.gatewaySide(); err != nil {
		return nil, nil, nil, err
	}
	if nats, err = st.natsSide(); errors.Is(err, errNoNATS) {
		nats, err = nil, nil
	}
	return mosquitto, gateway, nats, err
}

// publisher sends numbered messages over one raw MQTT connection.
type publisher struct {
	conn    net.Conn
	next    int // number of the next message
	payload []byte
	packets []byte
}

func (st *stage) publisher(broker string, size int) (*publisher, error) {
	c, _, err := dialMQTT(broker, "bench-pub")
	if err != nil {
		return nil, err
	}
	st.atEnd(func() { c.Close() })
	p := &publisher{conn: c, payload: make([]byte, size)}
	for i := range p.payload {
		p.payload[i] = 'x'
	}
	return p, nil
}

// add puts a message into the burst.
func (p *publisher) add(topic string) {
	putNumber(p.payload, p.next)
	p.next++
	p.packets = mqttPublishPacket(p.packets, topic, p.payload, 0, 0)
}

// flush sends the burst.
func (p *publisher) flush() error {
	_, err := p.conn.Write(p.packets)
	p.packets = p.packets[:0]
	return err
}

// audience is subscribers and who publishes to them.
type audience struct {
	*side
	crowd *crowd
	pub   *publisher
	burst int // messages that are under way at once
	fill  int // messages before the rounds
	size  int // of a payload
	// topic of message i, and who must get it; nil: everybody.
	topic func(i int) (string, []int)
	sent  int
}

// everybody is the topic function of one topic.
func everybody(int) (string, []int) { return "bench/x", nil }

// seat connects n subscribers; filters says what subscriber i subscribes to.
func (st *stage) seat(s *side, n int, filters func(i int) []string, a audience) (*audience, error) {
	a.side = s
	var err error
	if a.crowd, err = gather(n, func(i int) (dialed, error) { return s.subscribe(i, filters(i)) }); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	st.atEnd(func() {
		a.crowd.sync(func() { a.crowd.closing = true })
		a.crowd.close()
	})
	a.pub, err = st.publisher(s.broker, max(a.size, numberLen))
	return &a, err
}

// contest makes the audience a contestant.
func (a *audience) contest() *contestant {
	return &contestant{name: a.name, proc: a.proc, round: a.bursts}
}

// bursts sends bursts for that long: the next one when everybody has the last.
func (a *audience) bursts(d time.Duration) (sample, error) {
	began := time.Now()
	ops := 0
	for ops == 0 || time.Since(began) < d {
		n, err := a.once()
		if err != nil {
			return sample{}, err
		}
		ops += n
	}
	return sample{ops, time.Since(began)}, nil
}

// once sends one burst and waits for its deliveries.
func (a *audience) once() (int, error) {
	n := a.prepare(a.burst)
	a.crowd.expect(n)
	if err := a.pub.flush(); err != nil {
		return 0, err
	}
	return n, a.crowd.wait()
}

// prepare writes messages into the publisher's buffer and notes who must get
// them.
func (a *audience) prepare(messages int) (deliveries int) {
	for range messages {
		topic, to := a.topic(a.sent)
		a.sent++
		a.pub.add(topic)
		if to == nil {
			deliveries += len(a.crowd.subs)
			for _, s := range a.crowd.subs {
				s.want++
			}
			continue
		}
		deliveries += len(to)
		for _, i := range to {
			a.crowd.subs[i].want++
		}
	}
	return deliveries
}

// verify counts every message of every audience.
func verify(all ...*audience) error {
	for _, a := range all {
		if err := a.crowd.verify(); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

func readAll(r io.Reader) (string, error) {
	b, err := io.ReadAll(r)
	return string(b), err
}

func numbered(prefix string, i int) string { return prefix + strconv.Itoa(i) }
