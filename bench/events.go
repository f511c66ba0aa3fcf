package main

// events is the same work as fanout, with the subscribers on GET /events.
func events(st *stage) (*section, error) {
	gateway, _, err := st.gatewaySide()
	if err != nil {
		return nil, err
	}
	stream, err := st.eventsSide()
	if err != nil {
		return nil, err
	}
	audiences, err := st.seatAll([]*side{gateway, stream}, st.small(200, 20), oneTopic,
		audience{burst: 64, size: 100, topic: everybody})
	if err != nil {
		return nil, err
	}
	cs, err := st.compare(audiences)
	if err != nil {
		return nil, err
	}
	s := deliveries(cs)
	s.verdicts = []verdict{atLeast(0.8, "x", "of the WebSocket's rate", ratios(cs[1].rate, cs[0].rate))}
	return s, nil
}
