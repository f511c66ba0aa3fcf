package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// abuse is one healthy caller that publishes 200 times a second, QoS 1: alone,
// and while 5000 connections send their heads byte by byte, 1000 readers of a
// stream do not read, and 200 logins a second fail. Those who misbehave come
// from other addresses of the loopback network, as they would from elsewhere, and
// are a process of their own, so that the caller does not wait for them in this
// one. What they take of the machine itself shows while they do the same to a
// handler that waits as long for heads.
func abuse(st *stage) (*section, error) {
	env, key, err := st.guardedEnv()
	if err != nil {
		return nil, err
	}
	g, err := st.startGateway(env...)
	if err != nil {
		return nil, err
	}
	healthy, err := publishAlone(g.http, "bench/abuse", key)
	if err != nil {
		return nil, err
	}
	defer healthy.Close()
	if _, err := st.pacedPublish(healthy); err != nil { // the first does not count
		return nil, err
	}
	_, elsewhere, err := st.chi(headTime)
	if err != nil {
		return nil, err
	}
	s := &section{head: []string{"Round", "p50 alone, ms", "p99 alone, ms", "p99 while they are elsewhere, ms", "p50 beside them, ms", "p99 beside them, ms", "Slow heads held", "Stalled readers held", "Logins refused"}}
	var alone, apart, beside series // p99
	for round := range st.rounds {
		quiet, err := st.pacedPublish(healthy)
		if err != nil {
			return nil, err
		}
		other, _, err := st.pestered(healthy, g, key, elsewhere)
		if err != nil {
			return nil, err
		}
		loud, counts, err := st.pestered(healthy, g, key, g.http)
		if err != nil {
			return nil, err
		}
		alone, apart, beside = append(alone, percentile(quiet, 0.99)), append(apart, percentile(other, 0.99)), append(beside, percentile(loud, 0.99))
		cells := []string{fmt.Sprint(round + 1), number(percentile(quiet, 0.50)), number(alone[round]), number(apart[round]), number(percentile(loud, 0.50)), number(beside[round])}
		s.row(append(cells, counts...)...)
	}
	s.verdicts = []verdict{
		atMost(2, "x", "of its p99 alone, beside them", ratios(beside, alone)),
		atMost(2, "x", "of its p99 while they do it to another server of this machine", ratios(beside, apart)),
	}
	return s, nil
}

// pestered is pacedPublish while others misbehave at an address, and how many they
// are.
func (st *stage) pestered(healthy *alone, g *gateway, key, address string) (took []time.Duration, counts []string, err error) {
	others, err := misbehaving(address, key, st.small(5000, 50), st.small(1000, 10), st.small(200, 50))
	if err != nil {
		return nil, nil, err
	}
	defer st.settle()
	defer others.end()
	for range fills {
		if err := fill(g, key); err != nil {
			return nil, nil, err
		}
	}
	st.settle()
	if took, err = st.pacedPublish(healthy); err != nil {
		return nil, nil, err
	}
	counts, err = others.counts()
	return took, counts, err
}

// settle lets what has begun or ended come to rest.
func (st *stage) settle() {
	if !st.quick {
		time.Sleep(3 * time.Second)
	}
}

// fills of 64 KiB are more than a client's queue and the buffers before it hold:
// who does not read is behind before it counts.
const fills = 24

// fill publishes 64 KiB to those who do not read.
func fill(g *gateway, key string) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+g.http+"/topics/bench/fill", strings.NewReader(strings.Repeat("x", 64<<10)))
	if err != nil {
		return err
	}
	name, value, _ := strings.Cut(key, ": ")
	req.Header.Set(name, value)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("a message of 64 KiB got %s", res.Status)
	}
	return nil
}

// pacedPublish publishes every 5 ms, each time when the last is answered, and
// gives how long each took from when it was due.
func (st *stage) pacedPublish(one *alone) ([]time.Duration, error) {
	const every = 5 * time.Millisecond
	took := make([]time.Duration, 0, st.time/every)
	for due := time.Now(); len(took) < cap(took); due = due.Add(every) {
		time.Sleep(time.Until(due))
		if err := one.publish(); err != nil {
			return nil, fmt.Errorf("the healthy caller: %w", err)
		}
		took = append(took, time.Since(due))
	}
	return took, nil
}

// misbehaveArg makes the load tool those who misbehave: its arguments are the
// gateway's address, a header with a key, and how many slow heads, stalled
// readers and failed logins a second there are. It says so when they are there,
// answers each line on its standard input with how many there are, and ends with
// that.
const misbehaveArg = "misbehave"

func misbehave(args []string) error {
	a := &abusers{address: args[0], key: args[1]}
	for i, n := range []*int{&a.slow, &a.stalled, &a.logins} {
		var err error
		if *n, err = strconv.Atoi(args[2+i]); err != nil {
			return err
		}
	}
	if err := a.begin(); err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(a.slowNow.Load(), a.stalledNow.Load(), a.refused.Load())
	}
	a.end()
	return nil
}

// others are those who misbehave, seen from outside.
type others struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// misbehaving starts them, and returns when they are there.
func misbehaving(address, key string, slow, stalled, logins int) (*others, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	o := &others{cmd: exec.Command(self, misbehaveArg, address, key, strconv.Itoa(slow), strconv.Itoa(stalled), strconv.Itoa(logins))}
	o.cmd.Stderr = os.Stderr
	if o.in, err = o.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := o.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	o.out = bufio.NewScanner(out)
	if err := o.cmd.Start(); err != nil {
		return nil, err
	}
	if !o.out.Scan() {
		o.end()
		return nil, errors.New("those who misbehave are not there")
	}
	return o, nil
}

// counts are how many slow heads and stalled readers there are, and how many
// logins were refused.
func (o *others) counts() ([]string, error) {
	if _, err := io.WriteString(o.in, "count\n"); err != nil {
		return nil, err
	}
	if !o.out.Scan() {
		return nil, errors.New("those who misbehave have gone")
	}
	counts := strings.Fields(o.out.Text())
	for i, text := range counts {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		counts[i] = whole(n)
	}
	return counts, nil
}

func (o *others) end() {
	_ = o.in.Close()
	_ = o.cmd.Wait()
}

// headTime is how long the gateway waits for a head.
const headTime = 5 * time.Second

// abusers are those who misbehave.
type abusers struct {
	address, key          string // of the gateway; a header
	slow, stalled, logins int

	ended chan struct{}
	all   sync.WaitGroup

	slowNow, stalledNow, refused atomic.Int64
}

// begin starts all of them, and returns when they are there.
func (a *abusers) begin() error {
	a.ended = make(chan struct{})
	for i := range a.slow {
		// They take turns, also when they are cut and come again: 5000 in one moment would be this tool's stall.
		phase := headTime * time.Duration(i) / time.Duration(a.slow)
		a.all.Go(func() {
			time.Sleep(phase)
			a.again(i, &a.slowNow, "GET /topics HTTP/1.1\r\nHost: "+a.address+"\r\nX-Slow: ", "x", time.Second)
		})
	}
	for i := range a.stalled {
		head := "GET /events?topic=bench/%23&format=ndjson HTTP/1.1\r\nHost: " + a.address + "\r\n" + a.key + "\r\n\r\n"
		a.all.Go(func() { a.again(i, &a.stalledNow, head, "", 15*time.Second) })
	}
	a.all.Go(a.guess)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if a.slowNow.Load() >= int64(a.slow)*9/10 && a.stalledNow.Load() >= int64(a.stalled)*9/10 && a.refused.Load() > 0 {
			return nil
		}
	}
	a.end()
	return fmt.Errorf("only %d slow heads, %d stalled readers and %d failed logins in %v", a.slowNow.Load(), a.stalledNow.Load(), a.refused.Load(), patience)
}

func (a *abusers) end() {
	close(a.ended)
	a.all.Wait()
}

// from is a dialer from one of the addresses of those who misbehave, with a
// small buffer for what is not read.
func from(i int) *net.Dialer {
	small := func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%250))}, Timeout: patience, Control: small}
}

// again holds a connection: it sends head, and then a little at each pace. One
// that the gateway has cut is made again.
func (a *abusers) again(i int, now *atomic.Int64, head, more string, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		c, err := from(i).Dial("tcp", a.address)
		if err == nil {
			_, err = io.WriteString(c, head)
			now.Add(1)
		}
		for held := err == nil; held; {
			select {
			case <-a.ended:
				c.Close()
				now.Add(-1)
				return
			case <-tick.C:
				_, err := io.WriteString(c, more)
				held = err == nil && more != "" // a stalled reader does not see that it was cut
			}
		}
		if c != nil {
			c.Close()
			now.Add(-1)
		}
		select {
		case <-a.ended:
			return
		default:
		}
	}
}

// guess tries keys, from many addresses in turn.
func (a *abusers) guess() {
	tick := time.NewTicker(time.Second / time.Duration(a.logins))
	defer tick.Stop()
	var clients []*http.Client
	for i := range 250 {
		clients = append(clients, &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: from(i).DialContext, MaxIdleConnsPerHost: 1}})
		defer clients[i].CloseIdleConnections()
	}
	for n := 0; ; n++ {
		select {
		case <-a.ended:
			return
		case <-tick.C:
		}
		req, err := http.NewRequest(http.MethodGet, "http://"+a.address+"/topics", nil)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer gwk_"+strings.Repeat("a", 43))
		a.all.Go(func() {
			res, err := clients[n%len(clients)].Do(req)
			if err != nil {
				return
			}
			res.Body.Close()
			if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusTooManyRequests {
				a.refused.Add(1)
			}
		})
	}
}
