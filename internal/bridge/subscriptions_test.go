package bridge

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// subscribed is what the bridge believes is subscribed for somebody.
func subscribed(b *rig) []string {
	b.subs.mu.Lock()
	defer b.subs.mu.Unlock()
	m := maps.Clone(b.subs.actual)
	delete(m, b.fence)
	return slices.Sorted(maps.Keys(m))
}

func TestRefusedFilterIsAnError(t *testing.T) { bothVersions(t, testRefusedFilterIsAnError) }

func testRefusedFilterIsAnError(t *testing.T, v mqtt.Version) {
	refuse := map[string]bool{"secret/#": true, "a/+": true}
	broker := brokertest.StartFake(t, granting(refuse))
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1}).ready(t)
	wantErr(t, "refused", b.Want(within(t), "secret/#"), ErrRefused)
	wantErr(t, "again", b.Want(within(t), "secret/#"), ErrRefused)
	if err := b.Want(within(t), "open"); err != nil {
		t.Error(err)
	}
	if got := subscribed(b); !slices.Equal(got, []string{"open"}) {
		t.Errorf("subscribed: got %q", got)
	}
	// "a/+" and "+/b" are joined to "+/+", which is granted, so both are in force.
	if err := b.Want(within(t), "+/b"); err != nil {
		t.Error(err)
	}
	if err := b.Want(within(t), "a/+"); err != nil {
		t.Errorf("covered by a joined filter: got %v", err)
	}
	settled(t, b)
	if got := subscribed(b); !slices.Equal(got, []string{"+/+", "open"}) {
		t.Errorf("subscribed: got %q", got)
	}
}

// A broker that refuses what the gateway has joined is asked for the single filters.
func TestRefusedJoinedFilterFallsBackToTheSingleOnes(t *testing.T) {
	t.Parallel()
	bothVersions(t, testRefusedJoinedFilterFallsBackToTheSingleOnes)
}

func testRefusedJoinedFilterFallsBackToTheSingleOnes(t *testing.T, v mqtt.Version) {
	refuse := map[string]bool{"+/+": true, "c/+": true}
	broker := brokertest.StartFake(t, granting(refuse))
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1}).ready(t)
	for _, f := range []string{"a/+", "+/b", "a/b"} {
		if err := b.Want(within(t), f); err != nil {
			t.Errorf("%s: got %v", f, err)
		}
	}
	wantErr(t, "c/+", b.Want(within(t), "c/+"), ErrRefused)
	settled(t, b)
	if got := subscribed(b); !slices.Equal(got, []string{"+/b", "a/+"}) {
		t.Errorf("subscribed: got %q", got)
	}
	if got := b.Status(); !got.Subscribe || len(got.SubscribeRefused) != 0 {
		t.Errorf("status: got %+v", got)
	}
}

func TestRefusedWatchIsInTheStatus(t *testing.T) { bothVersions(t, testRefusedWatchIsInTheStatus) }

func testRefusedWatchIsInTheStatus(t *testing.T, v mqtt.Version) {
	broker := brokertest.StartFake(t, granting(map[string]bool{"#": true}))
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}})
	b.rec.waitEvent(t, 1, "up")
	b.waitStatus(t, "refused", func(s Status) bool { return s.Publish && !s.Subscribe && len(s.SubscribeRefused) == 1 })
	if got := b.Status(); got.SubscribeRefused[0] != "#" || got.Err == "" {
		t.Errorf("status: got %+v", got)
	}
	wantErr(t, "want", b.Want(within(t), "a"), ErrRefused)
}

// granting is a broker that refuses some filters.
func granting(refuse map[string]bool) func(*brokertest.FakeConn) {
	return func(c *brokertest.FakeConn) {
		if c.AcceptConnect(0) != nil {
			return
		}
		c.Serve(func(kind, _ byte, body []byte) bool {
			if kind != brokertest.SUBSCRIBE {
				return false
			}
			filters, codes := c.Filters(body)
			for i, f := range filters {
				if codes[i] &= 3; refuse[f] {
					codes[i] = 0x80
				}
			}
			c.Suback(binary.BigEndian.Uint16(body), codes...)
			return true
		})
	}
}

func TestWatchDecidesWhatMayBeWanted(t *testing.T) { bothVersions(t, testWatchDecidesWhatMayBeWanted) }

func testWatchDecidesWhatMayBeWanted(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	sender := brokertest.Dial(t, broker.Addr())
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"a/+", "+/b", "x/#"}}).ready(t)
	for filter, want := range map[string]error{
		"a/1": nil, "a/+": nil, "9/b": nil, "x/y/z": nil, "x/#": nil,
		"c": ErrNotCovered, "#": ErrNotCovered, "+/+": ErrNotCovered, "$gateway/#": ErrInvalid, "$share/g/a": ErrInvalid,
		"a/#/b": ErrInvalid, "a+": ErrInvalid, "": ErrInvalid,
	} {
		wantErr(t, filter, b.Want(within(t), filter), want)
		b.Release(filter)
	}
	// The two that overlap are joined to "+/+" at the broker. What only that matches is nobody's.
	for _, name := range []string{"c/d", "a/b", "x/1/2"} {
		if err := sender.Publish(name, []byte("1"), 1, false); err != nil {
			t.Fatal(err)
		}
	}
	b.rec.waitMessage(t, "x/1/2", "1")
	b.rec.waitMessage(t, "a/b", "1")
	if got := b.rec.on("c/d"); len(got) != 0 {
		t.Error("c/d was received; no watched filter matches it")
	}
}

// One copy of each message, whatever a broker does with filters that overlap.
func TestOverlappingFiltersBringOneCopy(t *testing.T) {
	t.Parallel()
	bothVersions(t, testOverlappingFiltersBringOneCopy)
}

func testOverlappingFiltersBringOneCopy(t *testing.T, v mqtt.Version) {
	for _, duplicates := range []string{"false", "true"} {
		for _, watch := range []string{"", "#"} {
			t.Run("allow_duplicate_messages "+duplicates+" watch "+watch, func(t *testing.T) {
				broker := brokertest.Start(t, brokertest.Conf("allow_duplicate_messages "+duplicates))
				sender := brokertest.Dial(t, broker.Addr())
				cfg := Config{Version: v, Pool: 1, Linger: 10 * time.Millisecond}
				if watch != "" {
					cfg.Watch = []string{watch, "a/#"}
				}
				b := launch(t, broker.URL(), cfg).ready(t)
				filters := []string{"a/b/c", "a/+/c", "+/b/c", "a/#"}
				for i, f := range filters {
					if err := b.Want(within(t), f); err != nil {
						t.Fatal(err)
					}
					settled(t, b)
					payload := strconv.Itoa(i)
					if err := sender.Publish("a/b/c", []byte(payload), 1, false); err != nil {
						t.Fatal(err)
					}
					if err := b.send("a/end", payload, 1); err != nil { // passes behind it, once a/# is there
						t.Fatal(err)
					}
					b.rec.waitMessage(t, "a/b/c", payload)
				}
				for _, f := range filters { // and back
					b.Release(f)
				}
				if watch == "" {
					eventually(t, "release", func() bool { return b.Stats().UpstreamFilters == 0 })
				} else if err := sender.Publish("a/b/c", []byte("4"), 1, false); err != nil {
					t.Fatal(err)
				} else {
					b.rec.waitMessage(t, "a/b/c", "4")
				}
				if err := fenced(b); err != nil {
					t.Fatal(err)
				}
				got := b.rec.on("a/b/c")
				if want := slices.Compact(slices.Clone(got)); !slices.Equal(got, want) || len(got) < 4 {
					t.Errorf("copies: got %q", got)
				}
			})
		}
	}
}

// fenced returns when the subscriber link has passed everything that the broker had.
func fenced(b *rig) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := b.Retained(ctx, "no/such/topic")
	return err
}

// settled waits until the broker has been asked for exactly what is wanted.
func settled(t testing.TB, b *rig) {
	t.Helper()
	eventually(t, "wanted and actual to be the same", func() bool {
		b.subs.mu.Lock()
		defer b.subs.mu.Unlock()
		return b.subs.linked && b.subs.target != nil && maps.Equal(b.subs.target, b.subs.actual) && len(b.subs.left) == 0
	})
}

func TestManyWantsTogetherAreFewPackets(t *testing.T) {
	t.Parallel()
	bothVersions(t, testManyWantsTogetherAreFewPackets)
}

func testManyWantsTogetherAreFewPackets(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	var mu sync.Mutex
	packets := 0
	proxy.Hook(func(dir brokertest.Direction, packet []byte) ([]byte, brokertest.Action) {
		if dir == brokertest.Up && brokertest.PacketType(packet) == brokertest.SUBSCRIBE {
			mu.Lock()
			packets++
			mu.Unlock()
		}
		return nil, brokertest.Pass
	})
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1}).ready(t)
	eventually(t, "control link", func() bool { _, err := b.Retained(within(t), "x"); return err == nil })
	mu.Lock()
	packets = 0
	mu.Unlock()
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			if err := b.Want(within(t), "many/"+strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if packets > 100 {
		t.Errorf("SUBSCRIBE packets for 500 filters: got %d", packets)
	}
	if got := b.Stats().UpstreamFilters; got != 500 {
		t.Errorf("upstream filters: got %d, want 500", got)
	}
}

// A released filter stays for a while, so that a client that comes back costs nothing; then it goes.
func TestReleaseLingers(t *testing.T) { bothVersions(t, testReleaseLingers) }

func testReleaseLingers(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Linger: 300 * time.Millisecond}).ready(t)
	for range 3 {
		if err := b.Want(within(t), "a"); err != nil {
			t.Fatal(err)
		}
	}
	b.Release("a")
	b.Release("a")
	b.Release("a")
	b.Release("a") // one too many counts for nothing
	start := time.Now()
	if got := b.Stats().UpstreamFilters; got != 1 {
		t.Errorf("right after: got %d filters, want 1", got)
	}
	eventually(t, "unsubscription", func() bool { return b.Stats().UpstreamFilters == 0 })
	if took := time.Since(start); took < 250*time.Millisecond {
		t.Errorf("unsubscribed after %v, want the linger first", took)
	}
}

// What is wanted and what is subscribed end up the same, whatever happens in between; and the broker agrees.
func TestWantedEqualsActualAfterAStorm(t *testing.T) {
	t.Parallel()
	bothVersions(t, testWantedEqualsActualAfterAStorm)
}

func testWantedEqualsActualAfterAStorm(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t)
	proxy := brokertest.StartProxy(t, broker.Addr())
	b := launch(t, proxy.URL(), Config{Version: v, Pool: 1, Linger: time.Millisecond}, func(b *Bridge) {
		b.timing.backoffFirst, b.timing.backoffMax = time.Millisecond, 5*time.Millisecond
	}).ready(t)
	filters := []string{"a", "a/b", "a/+", "a/#", "c/+/d", "c/e/+", "c/d", "e/+/f", "e/g/+", "x/y/z"}
	var all sync.WaitGroup
	held := make([][]string, 50)
	for n := range held {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			for range 200 {
				if len(held[n]) > 3 || len(held[n]) > 0 && rng.IntN(2) == 0 {
					i := rng.IntN(len(held[n]))
					b.Release(held[n][i])
					held[n] = slices.Delete(held[n], i, i+1)
					continue
				}
				f := filters[rng.IntN(len(filters))]
				ctx, cancel := within(t), func() {}
				if rng.IntN(10) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(500))*time.Microsecond)
				}
				if b.Want(ctx, f) == nil {
					held[n] = append(held[n], f)
				}
				cancel()
			}
		})
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	cuts := 0
	for running := true; running; {
		select {
		case <-finished:
			running = false
		case <-time.After(2 * time.Millisecond): // the pace of the cuts
			proxy.Cut()
			cuts++
		}
	}
	for n := range held { // keep one or the other
		for i, f := range held[n] {
			if n%5 != 0 || i > 0 {
				b.Release(f)
			}
		}
		if n%5 != 0 {
			held[n] = nil
		} else {
			held[n] = held[n][:min(1, len(held[n]))]
		}
	}
	wanted := slices.Concat(held...)
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	want := topic.SmallestCover(wanted)
	eventually(t, fmt.Sprintf("subscription of %q", want), func() bool { return slices.Equal(subscribed(b), want) })
	settled(t, b)
	t.Logf("%d cuts; left: %q as %q", cuts, wanted, want)
	probe(t, b, brokertest.Dial(t, broker.Addr()), want)
}

// probe asks the broker: one copy of what is wanted, none of the rest.
func probe(t *testing.T, b *rig, sender *brokertest.Client, want []string) {
	t.Helper()
	for _, name := range []string{"a", "a/b", "a/z", "a/b/c", "c/d", "c/e/d", "c/e/f", "c/q/d", "e/1/f", "e/g/1", "x/y/z"} {
		if err := sender.Publish(name, []byte("probe"), 1, false); err != nil {
			t.Fatal(err)
		}
		eventually(t, "fence", func() bool { return fenced(b) == nil })
		copies := 0
		if slices.ContainsFunc(want, func(f string) bool { return topic.Match(f, name) }) {
			copies = 1
		}
		if got := len(b.rec.on(name)); got != copies {
			t.Errorf("%s: got %d copies, want %d", name, got, copies)
		}
	}
}

func TestReservedTopicsAreNotReceived(t *testing.T) {
	t.Parallel()
	bothVersions(t, testReservedTopicsAreNotReceived)
}

func testReservedTopicsAreNotReceived(t *testing.T, v mqtt.Version) {
	broker := brokertest.Start(t, brokertest.Conf("sys_interval 1"))
	b := launch(t, broker.URL(), Config{Version: v, Pool: 1, Watch: []string{"#"}}).ready(t)
	eventually(t, "figures of the broker", func() bool { return b.Stats().Sys["broker_clients_connected"] >= 3 })
	if err := fenced(b); err != nil {
		t.Fatal(err)
	}
	if err := b.send("end", "x", 1); err != nil {
		t.Fatal(err)
	}
	b.rec.waitMessage(t, "end", "x")
	for _, m := range b.rec.seen() {
		if strings.HasPrefix(m.Topic, "$") {
			t.Errorf("received %s", m.Topic)
		}
	}
	for name := range b.Stats().Sys {
		if !slices.Contains(slices.Collect(maps.Values(sysNames)), name) {
			t.Errorf("figure %s is not on the list", name)
		}
	}
}
