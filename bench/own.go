package main

import "fmt"

// ownTopics is a topic for each of 1000 subscribers, one message to each in
// turn: what a delivery costs when there is nothing to share.
func ownTopics(st *stage) (*section, error) {
	mosquitto, gateway, nats, err := st.rivals()
	if err != nil {
		return nil, err
	}
	n := st.small(1000, 50)
	topic := func(i int) string { return fmt.Sprintf("bench/%d", i) }
	audiences, err := st.seatAll([]*side{mosquitto, gateway, nats}, n,
		func(i int) []string { return []string{topic(i)} },
		audience{burst: n, size: 100, topic: func(i int) (string, []int) { return topic(i % n), []int{i % n} }})
	if err != nil {
		return nil, err
	}
	cs, err := st.compare(audiences)
	if err != nil {
		return nil, err
	}
	s := deliveries(cs)
	s.verdicts = []verdict{atLeast(0.9, "x", "of mosquitto's own delivery", ratios(cs[1].rate, cs[0].rate))}
	return s, nil
}
