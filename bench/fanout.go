package main

// fanout is one topic for 200 subscribers, in bursts of 64: the next burst is
// sent when everybody has the last one.
func fanout(st *stage) (*section, error) {
	mosquitto, gateway, nats, err := st.rivals()
	if err != nil {
		return nil, err
	}
	audiences, err := st.seatAll([]*side{mosquitto, gateway, nats}, st.small(200, 20), oneTopic,
		audience{burst: 64, size: 100, topic: everybody})
	if err != nil {
		return nil, err
	}
	cs, err := st.compare(audiences)
	if err != nil {
		return nil, err
	}
	s := deliveries(cs)
	s.verdicts = []verdict{
		atLeast(12, "x", "of mosquitto's own delivery", ratios(cs[1].rate, cs[0].rate)),
		atMost(0.8, "us", "server CPU per delivery", cs[1].cpu),
		againstNATS(1.5, cs),
	}
	return s, nil
}

func oneTopic(int) []string { return []string{"bench/x"} }

// seatAll gives each side an audience of its own. A side may be nil.
func (st *stage) seatAll(sides []*side, n int, filters func(int) []string, a audience) ([]*audience, error) {
	var all []*audience
	for _, s := range sides {
		if s == nil {
			continue
		}
		seated, err := st.seat(s, n, filters, a)
		if err != nil {
			return nil, err
		}
		all = append(all, seated)
	}
	return all, nil
}

// compare runs the audiences in turn and counts every message.
func (st *stage) compare(audiences []*audience) ([]*contestant, error) {
	var cs []*contestant
	for _, a := range audiences {
		cs = append(cs, a.contest())
	}
	if err := st.alternate(cs...); err != nil {
		return nil, err
	}
	return cs, verify(audiences...)
}

// deliveries is the table of contestants that deliver.
func deliveries(cs []*contestant) *section {
	s := &section{head: []string{"Who", "Deliveries/s", "Its CPU per delivery, us", "The tool's, us", "Resident, MiB"}}
	for _, c := range cs {
		s.row(c.name, c.rate.text(), c.cpu.text(), number(c.tool.median()), number(mib(c.rss)))
	}
	return s
}

// againstNATS compares the gateway, which is second, with nats-server, which
// is third if it is there.
func againstNATS(limit float64, cs []*contestant) verdict {
	v := atLeast(limit, "x", "of nats-server's delivery", nil)
	if len(cs) < 3 {
		v.why = "no nats-server"
		return v
	}
	v.value = ratios(cs[1].rate, cs[2].rate)
	return v
}

// small is the number for a smoke run instead.
func (st *stage) small(n, quick int) int {
	if st.quick {
		return quick
	}
	return n
}
