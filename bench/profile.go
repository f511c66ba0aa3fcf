package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// Where the gateway's CPU time goes.
const (
	toClients  = "System calls on the clients' connections"
	toBroker   = "System calls on the broker's connections"
	switching  = "Changing goroutines, waking threads"
	allocating = "Memory: allocation, page faults, collection"
	httpServer = "net/http and chi"
	ownCode    = "The gateway's own code"
	otherCode  = "The rest"
)

var profileParts = []string{toClients, toBroker, switching, allocating, httpServer, ownCode, otherCode}

// profiles takes a CPU profile of the gateway under each kind of work that one
// message at a time decides, and tells what the time went to.
func profiles(st *stage) (*section, error) {
	side, own, err := st.gatewaySide("GATEWAY_PPROF=true")
	if err != nil {
		return nil, err
	}
	n := st.small(1000, 50)
	topic := func(i int) string { return fmt.Sprintf("bench/%d", i) }
	a, err := st.seat(side, n, func(i int) []string { return []string{topic(i)} },
		audience{burst: n, size: 100, topic: func(i int) (string, []int) { return topic(i % n), []int{i % n} }})
	if err != nil {
		return nil, err
	}
	g, err := st.startGateway("GATEWAY_PPROF=true")
	if err != nil {
		return nil, err
	}
	s := &section{head: []string{"Of the gateway's CPU time, %"}}
	var columns []map[string]float64
	add := func(name string, g *gateway, round func(time.Duration) (sample, error)) error {
		shares, err := g.shares(st.time, round)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.head = append(s.head, name)
		columns = append(columns, shares)
		return nil
	}
	if err := add("own topics", own, a.contest().round); err != nil {
		return nil, err
	}
	for qos, status := range []int{http.StatusAccepted, http.StatusOK} {
		p, err := newPosts(g.http, 64, qos, status)
		if err != nil {
			return nil, err
		}
		st.atEnd(p.close)
		err = add(fmt.Sprintf("POST /publish, QoS %d", qos), g, func(d time.Duration) (sample, error) { return p.run(d, -1) })
		if err != nil {
			return nil, err
		}
	}
	for _, part := range profileParts {
		cells := []string{part}
		for _, c := range columns {
			cells = append(cells, fmt.Sprintf("%.0f", 100*c[part]))
		}
		s.row(cells...)
	}
	return s, nil
}

// shares is what each part takes of the gateway's CPU time while round runs.
// The profile begins and ends within it.
func (g *gateway) shares(d time.Duration, round func(time.Duration) (sample, error)) (map[string]float64, error) {
	if _, err := round(d / 4); err != nil { // warms up
		return nil, err
	}
	seconds := max(1, int(d.Seconds()))
	ended := make(chan error, 1)
	go func() {
		_, err := round(time.Duration(seconds)*time.Second + time.Second)
		ended <- err
	}()
	p, err := g.profile(seconds)
	if failed := <-ended; failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	var total float64
	shares := map[string]float64{}
	for _, s := range p.Sample {
		v := float64(s.Value[len(s.Value)-1])
		shares[partOf(s)] += v
		total += v
	}
	if total == 0 {
		return shares, nil // too short to have a sample
	}
	for part := range shares {
		shares[part] /= total
	}
	return shares, nil
}

func (g *gateway) profile(seconds int) (*profile.Profile, error) {
	res, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", g.admin, seconds))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the profile: status %d", res.StatusCode)
	}
	return profile.Parse(res.Body)
}

// partOf says what a sample belongs to. What the runtime does for its own sake
// goes first; then the innermost function with a name that tells.
func partOf(s *profile.Sample) string {
	var stack []string // innermost first
	for _, l := range s.Location {
		for _, line := range l.Line {
			stack = append(stack, line.Function.Name)
		}
	}
	if has(stack, "runtime.mallocgc", "runtime.gcBgMarkWorker", "runtime.gcAssist", "runtime.bgsweep", "runtime.bgscavenge", "runtime.growslice", "runtime.wbBuf") {
		return allocating
	}
	if has(stack, "runtime.schedule", "runtime.mcall", "runtime.park_m", "runtime.netpoll", "runtime.futex", "runtime.ready", "runtime.goready", "runtime.gopark", "runtime.newproc", "runtime.mstart", "runtime.selectgo", "runtime.sysmon") {
		return switching
	}
	call := has(stack, "internal/runtime/syscall", "syscall.")
	for _, f := range stack {
		switch {
		case strings.HasPrefix(f, module+"/internal/bridge"):
			if call {
				return toBroker
			}
			return ownCode
		case strings.HasPrefix(f, module), strings.HasPrefix(f, "main."):
			if call {
				return toClients
			}
			return ownCode
		case strings.HasPrefix(f, "net/http"), strings.HasPrefix(f, "net/textproto"), strings.HasPrefix(f, "github.com/go-chi/"):
			if call {
				return toClients
			}
			return httpServer
		}
	}
	return otherCode
}

const module = "github.com/vulturepi/gateway"

// has reports whether a function of the stack begins with one of the prefixes.
func has(stack []string, prefixes ...string) bool {
	for _, f := range stack {
		for _, p := range prefixes {
			if strings.HasPrefix(f, p) {
				return true
			}
		}
	}
	return false
}
