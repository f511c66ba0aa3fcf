package main

// memory is what the gateway holds when its history is full and it knows the
// newest values of 100 000 topics.
func memory(st *stage) (*section, error) {
	g, err := st.startGateway()
	if err != nil {
		return nil, err
	}
	// One subscriber counts every message.
	side := &side{"gateway, WebSocket", g.process, g.broker, func(_ int, filters []string) (dialed, error) {
		return subscribeGatewayWebSocket(g.http, filters)
	}}
	topics, messages := st.small(100_000, 1000), st.small(400_000, 4000)
	a, err := st.seat(side, 1, func(int) []string { return []string{"memory/#"} },
		audience{burst: 1000, size: 100, topic: func(i int) (string, []int) { return numbered("memory/", i%topics), nil }})
	if err != nil {
		return nil, err
	}
	before := g.rss()
	for a.sent < messages {
		if _, err := a.once(); err != nil {
			return nil, err
		}
	}
	more := mib(g.rss() - before)
	s := &section{head: []string{"Messages of 100 bytes", "Topics", "Resident more, MiB", "History by the gateway's count, MiB", "Newest values by its count, MiB"}}
	cells := []string{whole(messages), whole(topics), number(more)}
	for _, name := range []string{"gateway_history_bytes", "gateway_values_bytes"} {
		v, err := g.metric(name)
		if err != nil {
			return nil, err
		}
		cells = append(cells, number(v/(1<<20)))
	}
	s.row(cells...)
	return s, verify(a)
}
