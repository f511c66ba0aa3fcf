package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

// paced is 200 messages a second for 200 subscribers: how long a message takes
// from the publisher's send until a subscriber has it.
func paced(st *stage) (*section, error) {
	mosquitto, gateway, nats, err := st.rivals()
	if err != nil {
		return nil, err
	}
	audiences, err := st.seatAll([]*side{mosquitto, gateway, nats}, st.small(200, 20), oneTopic,
		audience{burst: 1, size: 100, topic: everybody})
	if err != nil {
		return nil, err
	}
	var p50, p99 [3]series
	s := &section{head: []string{"Who", "p50, ms", "p99, ms"}}
	for round := range st.rounds + 1 { // the first does not count
		for i, a := range audiences {
			took, err := a.pace(st.time)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			if round > 0 {
				p50[i] = append(p50[i], percentile(took, 0.50))
				p99[i] = append(p99[i], percentile(took, 0.99))
			}
		}
	}
	for i, a := range audiences {
		s.row(a.name, p50[i].text(), p99[i].text())
	}
	s.verdicts = []verdict{atMost(1, "x", "of mosquitto's p99", ratios(p99[1], p99[0]))}
	return s, verify(audiences...)
}

// pace sends a message every 5 ms and gives the times of all deliveries.
func (a *audience) pace(d time.Duration) ([]time.Duration, error) {
	const every = 5 * time.Millisecond
	messages := max(1, int(d/every))
	first := a.pub.next
	sent := make([]atomic.Int64, messages) // nanoseconds after began
	took := make([]time.Duration, 0, messages*len(a.crowd.subs))
	began := time.Now()
	a.crowd.sync(func() {
		a.crowd.onMessage = func(n int) {
			took = append(took, time.Since(began)-time.Duration(sent[n-first].Load()))
		}
	})
	defer a.crowd.sync(func() { a.crowd.onMessage = nil })
	// All of them are expected at once: a late one must not hold up the next.
	a.crowd.expect(len(a.crowd.subs) * messages)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range messages {
		a.prepare(1)
		sent[i].Store(int64(time.Since(began)))
		if err := a.pub.flush(); err != nil {
			return nil, err
		}
		<-tick.C
	}
	return took, a.crowd.wait()
}
