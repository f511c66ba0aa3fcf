package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// behindProxy are options that notice a dead network soon, and count the pauses.
func behindProxy() (client.Options, *atomic.Int32) {
	var pauses atomic.Int32
	return client.Options{
		Heartbeat: 300 * time.Millisecond, MaxWait: 20 * time.Millisecond, Timeout: time.Second, RetryFor: patience,
		Waiting: func(error, time.Duration) { pauses.Add(1) },
	}, &pauses
}

// spoil does all that a network can do to a connection, one after the other, and
// each time waits until reads goes on.
func spoil(t *testing.T, p *brokertest.Proxy, pauses *atomic.Int32, goesOn func()) {
	t.Helper()
	lost := func(what string, do func()) {
		t.Helper()
		before := pauses.Load()
		// net/http notices by itself when it has just nothing under way.
		eventually(t, "the loss is noticed: "+what, func() bool { do(); return pauses.Load() > before })
	}
	for _, fault := range []struct {
		name string
		do   func()
	}{
		{"cut", p.Cut},
		{"blackhole", func() { p.Stall(true, true) }},
		{"nothing comes", func() { p.Stall(false, true) }},
		{"refused", func() { p.Refuse(true); p.Cut() }},
		{"cut in a trickle", func() { p.Slow(2000); p.Cut() }},
	} {
		lost(fault.name, fault.do)
		p.Heal()
		goesOn()
	}
}

// Under load, a reader behind a network that cuts, stalls and swallows gets
// every message once and in order.
func TestReaderLosesNothingBehindABadNetwork(t *testing.T) {
	p := brokertest.StartProxy(t, strings.TrimPrefix(shared, "http://"))
	options, pauses := behindProxy()
	load := unique("load")
	c := dial(t, p.Addr(), options)
	r := read(t, c.Subscribe(t.Context(), []string{load + "/+"}, client.Snapshot()))
	source := dial(t, shared, client.Options{})

	ctx, stop := context.WithCancel(t.Context())
	var sources sync.WaitGroup
	var sent atomic.Int64
	for topic := range 4 {
		sources.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := source.Publish(context.Background(), fmt.Sprintf("%s/%d", load, topic), fmt.Sprint(n)); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
				sent.Add(1)
			}
		})
	}
	goesOn := func() {
		target := int(sent.Load()) + 100
		r.waitLive(target)
	}
	goesOn()
	spoil(t, p, pauses, goesOn)
	stop()
	sources.Wait()
	r.waitLive(int(sent.Load()))
	live, _ := r.live()
	if got := inOrder(t, live); got != int(sent.Load()) {
		t.Errorf("%d messages came, %d were published", got, sent.Load())
	}
	_, errs := r.all()
	if gaps := r.gaps(); len(gaps) > 0 || len(errs) > 0 {
		t.Errorf("gaps %v, errors %v; want none", gaps, errs)
	}
	source.Close()
	c.Close()
	nothingIsLeft(t)
	if _, err := c.Publish(t.Context(), load, "x"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// What a publisher is told behind such a network is true: what has succeeded is
// there once, what is unknown at most once, and nothing is refused.
func TestPublisherIsToldTheTruthBehindABadNetwork(t *testing.T) {
	p := brokertest.StartProxy(t, strings.TrimPrefix(shared, "http://"))
	options, pauses := behindProxy()
	var unknowns atomic.Int32
	truth := unique("truth")
	c := dial(t, p.Addr(), options)
	observer := dial(t, shared, client.Options{})
	r := read(t, observer.Subscribe(t.Context(), []string{truth + "/+"}))

	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	outcomes := map[string]error{}
	var sources sync.WaitGroup
	var succeeded atomic.Int64
	for topic := range 4 {
		sources.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("%s/%d", truth, topic)
				_, err := c.Publish(context.Background(), name, fmt.Sprint(n))
				mu.Lock()
				outcomes[name+" "+fmt.Sprint(n)] = err
				mu.Unlock()
				switch {
				case err == nil:
					succeeded.Add(1)
				case errors.Is(err, client.ErrUnknownOutcome):
					unknowns.Add(1)
					pauses.Add(1) // it is noticed in this way, too
				default:
					t.Errorf("got %v, want success or unknown", err)
					return
				}
			}
		})
	}
	goesOn := func() {
		target := succeeded.Load() + 50
		eventually(t, "publishing goes on", func() bool { return succeeded.Load() >= target || t.Failed() })
	}
	goesOn()
	spoil(t, p, pauses, goesOn)
	stop()
	sources.Wait()
	got := map[string]int{}
	// What is unknown may still come until the gateway has answered everything, so
	// a marker on each topic is waited for.
	for topic := range 4 {
		if _, err := observer.Publish(t.Context(), fmt.Sprintf("%s/%d", truth, topic), "end"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the markers came", func() bool {
		ends := 0
		live, _ := r.live()
		for _, m := range live {
			if string(m.Payload) == "end" {
				ends++
			}
		}
		return ends == 4
	})
	live, _ := r.live()
	for _, m := range live {
		got[m.Topic+" "+string(m.Payload)]++
	}
	for name, err := range outcomes {
		if n := got[name]; n > 1 || err == nil && n != 1 {
			t.Errorf("%s came %d times, the outcome was %v", name, n, err)
		}
	}
	if unknowns.Load() == 0 {
		t.Error("no outcome was unknown, so nothing was tested")
	}
}

// A connection that breaks among the copies at the start: they come again, and
// no live message is lost or comes twice.
func TestCutAmongTheCopies(t *testing.T) {
	g := start(t, nil)
	source := dial(t, g.addr, client.Options{})
	publish := func(topic, payload string, o ...client.Option) {
		t.Helper()
		if _, err := source.Publish(t.Context(), topic, payload, o...); err != nil {
			t.Fatal(err)
		}
	}
	const copies = 40
	filling := strings.Repeat("x", 200_000) // more than fits into the buffers of a socket
	for i := range copies {
		publish(fmt.Sprintf("cut/copy/%d", i), filling, client.Retain())
	}
	for _, options := range [][]client.SubscribeOption{nil, {client.Snapshot()}} {
		p := brokertest.StartProxy(t, g.addr)
		opts, pauses := behindProxy()
		opts.Heartbeat = patience
		c := dial(t, p.Addr(), opts)
		p.Slow(1_000_000)
		sub := c.Subscribe(t.Context(), []string{"cut/#"}, options...)
		if sub.Cursor() == "" {
			t.Fatal("the subscription is not in force")
		}
		topic := fmt.Sprintf("cut/live/%d", len(options))
		for i := range 10 {
			publish(topic, fmt.Sprint(i))
		}
		next := func() client.Event {
			for event, err := range sub.Events() {
				if err != nil {
					t.Fatal(err)
				}
				return event
			}
			return nil
		}
		for range 3 {
			if m, ok := next().(*client.Message); !ok || m.Cursor != "" {
				t.Fatalf("got %v, want a copy", m)
			}
		}
		p.Cut()
		p.Heal()
		seen, ends := map[string]int{}, 0
		var live []*client.Message
		for len(live) < 11 {
			switch e := next().(type) {
			case *client.Message:
				if e.Cursor != "" {
					live = append(live, e)
					continue
				}
				seen[e.Topic]++
				if pauses.CompareAndSwap(1, 2) { // the copies come again, and this one is live behind them
					publish(topic, "10")
				}
			case *client.SnapshotEnd:
				ends++
			case *client.Gap:
				t.Fatalf("got a gap: %+v", e)
			}
		}
		if got := inOrder(t, live); got != 11 {
			t.Errorf("%d live messages came, want 11", got)
		}
		if ends != len(options) {
			t.Errorf("%d ends of the snapshot came, want %d", ends, len(options))
		}
		for i := range copies {
			if seen[fmt.Sprintf("cut/copy/%d", i)] == 0 {
				t.Errorf("copy %d did not come", i)
			}
		}
		c.Close()
		source.Close()
		nothingIsLeft(t)
		source = dial(t, g.addr, client.Options{})
	}
}

// A reader that stands still while much is published gets it all afterwards.
func TestSlowLoopLosesNothing(t *testing.T) {
	c := dial(t, shared, client.Options{})
	sub := c.Subscribe(t.Context(), []string{"slow"})
	const messages, size = 60, 200_000 // 12 MB; a queue has 1 MiB
	filling := strings.Repeat("x", size)
	for i := range messages {
		if _, err := c.Publish(t.Context(), "slow", fmt.Sprint(i, filling)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for event, err := range sub.Events() {
		m, ok := event.(*client.Message)
		if err != nil || !ok || !strings.HasPrefix(string(m.Payload), fmt.Sprint(n, "x")[:len(fmt.Sprint(n))]) || len(m.Payload) < size {
			t.Fatalf("message %d: got %T, %v", n, event, err)
		}
		if n++; n == messages {
			break
		}
	}
}

func TestGapsAreSurfaced(t *testing.T) {
	small := map[string]string{"GATEWAY_HISTORY_BYTES": "65536"}
	g := start(t, small)
	p := brokertest.StartProxy(t, g.addr)
	opts, pauses := behindProxy()
	c := dial(t, p.Addr(), opts)
	r := read(t, c.Subscribe(t.Context(), []string{"gap/#"}, client.Snapshot()))
	source := dial(t, g.addr, client.Options{MaxWait: 10 * time.Millisecond})
	publish := func(payload string) {
		t.Helper()
		if _, err := source.Publish(t.Context(), "gap/a", payload); err != nil {
			t.Fatal(err)
		}
	}
	publish("0")
	r.waitLive(1)

	// While the reader is away, more is published than the history holds.
	p.Refuse(true)
	p.Cut()
	eventually(t, "the reader is away", func() bool { return pauses.Load() > 0 })
	for range 100 {
		publish(strings.Repeat("x", 2000))
	}
	p.Heal()
	eventually(t, "a gap", func() bool { return len(r.gaps()) == 1 })
	if gap := r.gaps()[0]; gap.Reason != wire.GapHistoryExpired || !gap.Certain || gap.After == "" || gap.Before == "" {
		t.Errorf("got %+v, want history_expired", gap)
	}

	// Another life of the gateway.
	p.Refuse(true)
	p.Cut()
	g.restart(t, small)
	p.Heal()
	eventually(t, "another gap", func() bool { return len(r.gaps()) == 2 })
	if gap := r.gaps()[1]; gap.Reason != wire.GapGatewayRestarted {
		t.Errorf("got %+v, want gateway_restarted", gap)
	}
	before, _ := r.live()
	publish("again")
	r.waitLive(len(before) + 1)
	ends := 0
	events, errs := r.all()
	for _, e := range events {
		if _, ok := e.(*client.SnapshotEnd); ok {
			ends++
		}
	}
	if len(errs) > 0 || ends != 3 {
		t.Errorf("got errors %v and %d snapshots, want none and one with each beginning", errs, ends)
	}
}
