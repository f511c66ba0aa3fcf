package main

import (
	"fmt"
	"os"
	"time"
)

// start is the time from the start of the process until /readyz says 200 with
// a broker that is up, the size of the binary, and the memory of a gateway
// that has nothing to do.
func start(st *stage) (*section, error) {
	g, err := st.startGateway()
	if err != nil {
		return nil, err
	}
	var ready, resident series
	for range max(5, st.rounds) * st.small(2, 1) {
		st.forget(g.process)
		if err := st.startAgain(g); err != nil {
			return nil, err
		}
		ready = append(ready, float64(g.ready.Microseconds())/1000)
		if !st.quick {
			time.Sleep(time.Second) // until it has settled
		}
		resident = append(resident, float64(g.rss())/1e6)
	}
	info, err := os.Stat(st.options.gateway)
	if err != nil {
		return nil, err
	}
	s := &section{note: fmt.Sprintf("%d starts.", len(ready))}
	s.verdicts = []verdict{
		{what: "start to ready", value: ready, op: "<", limit: 100, unit: "ms"},
		{what: "binary", value: series{float64(info.Size()) / 1e6}, op: "<", limit: 30, unit: "MB"},
		{what: "idle gateway, resident", value: resident, op: "<", limit: 25, unit: "MB"},
	}
	return s, nil
}
