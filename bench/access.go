package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// guardedEnv is the environment of a gateway that asks for keys, and the header
// that shows one which may do everything but for a deny, so that each message
// is looked at.
func (st *stage) guardedEnv() (env []string, authorization string, err error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	key := "gwk_" + base64.RawURLEncoding.EncodeToString(random)
	file := filepath.Join(st.dir, "access.yaml")
	rules := fmt.Sprintf("principals:\n  - {name: bench, key_sha256: [\"%x\"], subscribe: [\"#\"], publish: [\"bench/#\"], deny: [\"bench/+/secret/#\"]}\n", sha256.Sum256([]byte(key)))
	err = os.WriteFile(file, []byte(rules), 0o600)
	return []string{"GATEWAY_AUTH=keys", "GATEWAY_ACCESS_FILE=" + file}, "Authorization: Bearer " + key, err
}

// accessOn is a gateway that asks for keys beside one that asks nobody: the
// fan-out to 200 subscribers with a deny among their rights, POST /publish with
// a key in each request, and the memory of idle subscribers.
func accessOn(st *stage) (*section, error) {
	if !st.quick {
		st.rounds = max(st.rounds, 5)
	}
	env, key, err := st.guardedEnv()
	if err != nil {
		return nil, err
	}
	var sides []*side
	var gateways []*gateway
	for _, open := range []bool{true, false} {
		with, name := env, "gateway that asks for keys"
		if open {
			with, name = nil, "gateway that asks nobody"
		}
		s, g, err := st.gatewaySide(with...)
		if err != nil {
			return nil, err
		}
		s.name = name
		if !open {
			s.subscribe = func(_ int, filters []string) (dialed, error) { return subscribeGatewayWebSocket(g.http, filters, key) }
		}
		sides, gateways = append(sides, s), append(gateways, g)
	}
	waiting, each := st.small(10_000, 50), [2]float64{}
	for i, s := range sides {
		if each[i], err = st.waitingEach(s, gateways[i], waiting); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	audiences, err := st.seatAll(sides, st.small(200, 20), oneTopic, audience{burst: 64, size: 100, topic: everybody})
	if err != nil {
		return nil, err
	}
	fans, err := st.compare(audiences)
	if err != nil {
		return nil, err
	}
	var posts []*contestant
	for i, g := range gateways {
		var headers []string
		if i == 1 {
			headers = []string{key}
		}
		p, err := newPosts(g.http, 64, 1, http.StatusOK, headers...)
		if err != nil {
			return nil, err
		}
		st.atEnd(p.close)
		posts = append(posts, &contestant{name: sides[i].name, proc: g.process, broker: g.mosquitto, round: func(d time.Duration) (sample, error) { return p.run(d, -1) }})
	}
	if err := st.alternate(posts...); err != nil {
		return nil, err
	}
	s := &section{head: []string{"Who", "Deliveries/s", "Its CPU per delivery, us", "Publishes/s, QoS 1", "Its CPU per publish, us", "Resident for each that waits, KiB"}}
	for i := range sides {
		s.row(sides[i].name, fans[i].rate.text(), fans[i].cpu.text(), posts[i].rate.text(), posts[i].cpu.text(), number(each[i]))
	}
	s.verdicts = []verdict{
		atLeast(0.95, "x", "of the deliveries without access control", ratios(fans[1].rate, fans[0].rate)),
		atLeast(0.95, "x", "of the publishes without it", ratios(posts[1].rate, posts[0].rate)),
		atMost(1.05, "x", "of its memory for each that waits", ratios(series{each[1]}, series{each[0]})),
	}
	return s, nil
}

// waitingEach is the resident memory of one WebSocket subscriber that waits, in
// KiB.
func (st *stage) waitingEach(s *side, g *gateway, n int) (float64, error) {
	before := g.rss()
	c, err := gather(n, func(i int) (dialed, error) { return s.subscribe(i, []string{fmt.Sprintf("idle/%d", i)}) })
	if err != nil {
		return 0, err
	}
	defer c.close()
	defer c.sync(func() { c.closing = true })
	if !st.quick {
		time.Sleep(5 * time.Second) // the collector gives memory back
	}
	return float64(g.rss()-before) / 1024 / float64(n), nil
}
