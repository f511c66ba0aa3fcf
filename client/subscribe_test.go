package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/client"
	"github.com/vulturepi/gateway/internal/brokertest"
)

// A program that kept its cursor goes on where it was.
func TestCursorOutlivesTheProgram(t *testing.T) {
	c := dial(t, shared, client.Options{})
	topic := unique("later")
	sub := c.Subscribe(t.Context(), []string{topic})
	publish := func(n int) {
		t.Helper()
		if _, err := c.Publish(t.Context(), topic, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	publish(0)
	for event := range sub.Events() {
		if m, ok := event.(*client.Message); !ok || m.Cursor != sub.Cursor() {
			t.Errorf("got %v at %s", event, sub.Cursor())
		}
		break
	}
	sub.Close()
	for range sub.Events() {
		t.Error("something comes from a closed subscription")
	}
	publish(1)
	for name, since := range map[string]client.SubscribeOption{"cursor": client.Since(sub.Cursor()), "time": client.SinceTime(time.Now().Add(-time.Hour)), "ago": client.SinceAgo(time.Hour)} {
		r := read(t, c.Subscribe(t.Context(), []string{topic}, since))
		want := 2
		if name == "cursor" {
			want = 1
		}
		r.waitLive(want)
		if live, copies := r.live(); len(live) != want || len(copies) > 0 || string(live[want-1].Payload) != "1" {
			t.Errorf("%s: got %d messages and %d copies, want %d", name, len(live), len(copies), want)
		}
	}
	bad := read(t, c.Subscribe(t.Context(), []string{topic}, client.Since("nonsense")))
	eventually(t, "an error and a gap", func() bool { _, errs := bad.all(); return len(errs) == 1 && len(bad.gaps()) == 1 })
	_, errs := bad.all()
	wants(t, "a bad cursor", errs[0], "400 invalid_cursor retryable=false unknown=false")
}

// The end of the caller's context ends the loop, and says so.
func TestContextEndsALoop(t *testing.T) {
	c := dial(t, shared, client.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	sub := c.Subscribe(ctx, []string{"ctx"})
	time.AfterFunc(10*time.Millisecond, cancel)
	n := 0
	for event, err := range sub.Events() {
		if n++; event != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v; want the context's error", event, err)
		}
	}
	if n != 1 {
		t.Errorf("the loop ran %d times, want once", n)
	}
}

// Close may be called in the loop, and ends all others.
func TestCloseEndsLoops(t *testing.T) {
	c := dial(t, shared, client.Options{})
	other := read(t, c.Subscribe(t.Context(), []string{"close"}))
	sub := c.Subscribe(t.Context(), []string{"close"})
	if _, err := c.Publish(t.Context(), "close", "x"); err != nil {
		t.Fatal(err)
	}
	other.waitLive(1)
	for _, err := range sub.Events() {
		if err != nil {
			t.Errorf("got %v", err)
		}
		for _, err := range sub.Events() {
			if err == nil || !strings.Contains(err.Error(), "another loop") {
				t.Errorf("a second loop: got %v", err)
			}
		}
		c.Close()
	}
	<-other.done
	if _, errs := other.all(); len(errs) > 0 {
		t.Errorf("got %v, want no error", errs)
	}
}

// A gateway that is not there yet.
func TestSubscriptionWaitsForTheGateway(t *testing.T) {
	p := brokertest.StartProxy(t, strings.TrimPrefix(shared, "http://"))
	options, pauses := behindProxy()
	c := dial(t, p.Addr(), options)
	p.Refuse(true)
	p.Cut()
	sub := c.Subscribe(t.Context(), []string{"waits"})
	if sub.Cursor() != "" {
		t.Error("the subscription is in force without a network")
	}
	r := read(t, sub)
	eventually(t, "it tries again", func() bool { return pauses.Load() > 3 })
	p.Heal()
	eventually(t, "it is in force", func() bool { return sub.Cursor() != "" })
	if _, err := c.Publish(t.Context(), "waits", "0"); err != nil {
		t.Fatal(err)
	}
	r.waitLive(1)
}

// A subscription that nobody reads ends with its context, with Close, and with
// its client.
func TestNoConnectionIsLeft(t *testing.T) {
	p := brokertest.StartProxy(t, strings.TrimPrefix(shared, "http://"))
	c := dial(t, p.Addr(), client.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	c.Subscribe(ctx, []string{"left"})
	closed := c.Subscribe(t.Context(), []string{"left"})
	c.Subscribe(t.Context(), []string{"left"})
	eventually(t, "there are three streams, and perhaps an idle connection", func() bool { return p.Connections() >= 3 })
	left := p.Connections()
	cancel()
	eventually(t, "the first is gone", func() bool { return p.Connections() == left-1 })
	closed.Close()
	eventually(t, "the second is gone", func() bool { return p.Connections() == left-2 })
	c.Close()
	eventually(t, "all are gone", func() bool { return p.Connections() == 0 })
}
