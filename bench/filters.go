package main

import (
	"fmt"
	"math/rand/v2"
)

// filters is 10 000 filters held by 1000 clients, and messages to topics at
// random: what finding the right subscriber costs. It compares the gateway
// with itself, with 10 filters held by 10 clients. Ten messages are under way
// at once in both, and each goes to one client: so the gateway writes to ten
// sockets for ten messages in both, and the difference is the search and what
// it does to the caches.
func filters(st *stage) (*section, error) {
	const under = 10
	few, _, err := st.gatewaySide()
	if err != nil {
		return nil, err
	}
	few.name = "gateway, 10 filters, 10 clients"
	many, _, err := st.gatewaySide()
	if err != nil {
		return nil, err
	}
	clients, each := st.small(1000, 50), 10
	many.name = fmt.Sprintf("gateway, %s filters, %d clients", whole(clients*each), clients)

	topic := func(i int) string { return fmt.Sprintf("bench/%d/value", i) }
	a, err := st.seat(few, under, func(i int) []string { return []string{topic(i)} },
		audience{burst: under, size: 100, topic: func(i int) (string, []int) { return topic(i % under), []int{i % under} }})
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same topics in every run
	b, err := st.seat(many, clients, func(i int) []string {
		var all []string
		for j := range each {
			all = append(all, topic(i*each+j))
		}
		return all
	}, audience{burst: under, size: 100, topic: func(int) (string, []int) {
		n := random.IntN(clients * each)
		return topic(n), []int{n / each}
	}})
	if err != nil {
		return nil, err
	}
	cs, err := st.compare([]*audience{a, b})
	if err != nil {
		return nil, err
	}
	s := deliveries(cs)
	s.verdicts = []verdict{atMost(2, "x", "of the CPU per delivery with 10 filters", ratios(cs[1].cpu, cs[0].cpu))}
	return s, nil
}
