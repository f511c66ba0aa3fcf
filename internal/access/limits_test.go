package access

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func client(name string) Client {
	if addr, err := netip.ParseAddr(name); err == nil {
		return ClientOf(nil, addr)
	}
	return ClientOf(&Principal{Name: name}, netip.MustParseAddr("10.9.9.9"))
}

func TestClientIsANameOrANetwork(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"alice", "alice", true},
		{"alice", "bob", false},
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
		{"alice", "10.9.9.9", false}, // whence alice comes
	} {
		if got := client(c.a) == client(c.b); got != c.same {
			t.Errorf("%s and %s: got one client %t, want %t", c.a, c.b, got, c.same)
		}
	}
	anonymous := &Principal{Via: ViaAnonymous}
	if ClientOf(anonymous, netip.MustParseAddr("10.0.0.1")) != client("10.0.0.1") {
		t.Error("nobody is a client by the address")
	}
	if ClientOf(nil, netip.Addr{}) != (Client{}) {
		t.Error("no address is a client of its own")
	}
}

func TestRatesAllowTwoSecondsWorthAtOnce(t *testing.T) {
	c := newClock()
	r := NewRates(5, c.now)
	alice := client("alice")
	for n := range 10 {
		q := r.Take(alice, 1)
		want := Quota{Allowed: true, Limit: 10, Window: 2 * time.Second, Remaining: 9 - n, Reset: time.Duration(n+1) * 200 * time.Millisecond}
		if q != want {
			t.Fatalf("take %d: got %+v, want %+v", n+1, q, want)
		}
	}
	if got, want := r.Take(alice, 1), (Quota{Limit: 10, Window: 2 * time.Second, Reset: 2 * time.Second, Retry: 200 * time.Millisecond}); got != want {
		t.Errorf("one more: got %+v, want %+v", got, want)
	}
	if got := r.Take(client("bob"), 10); !got.Allowed {
		t.Errorf("somebody else: got %+v", got)
	}
	c.advance(200 * time.Millisecond)
	if got := r.Take(alice, 1); !got.Allowed {
		t.Errorf("after Retry: got %+v", got)
	}
	if got := r.Take(alice, 2); got.Allowed || got.Retry != 400*time.Millisecond {
		t.Errorf("two at once: got %+v, want a wait of 400ms", got)
	}
	c.advance(2 * time.Second)
	if got := r.Take(alice, 10); !got.Allowed || got.Remaining != 0 {
		t.Errorf("after Reset: got %+v, want all of them", got)
	}
	if got := r.Take(alice, 11); got.Allowed {
		t.Errorf("more than there can be: got %+v", got)
	}
}

func TestRateOfZeroIsNoLimit(t *testing.T) {
	r := NewRates(0, newClock().now)
	for range 1000 {
		if got := r.Take(client("alice"), 1000); got != (Quota{Allowed: true}) {
			t.Fatalf("got %+v, want no limit", got)
		}
	}
}

// TestRatesAreKept: in any stretch of time, nobody gets more than a burst and the rate, and who keeps to it is served.
func TestRatesAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		perSecond := rapid.IntRange(1, 50).Draw(t, "rate")
		r, start, taken := NewRates(perSecond, c.now), c.now(), 0
		for _, pause := range rapid.SliceOfN(rapid.IntRange(0, 500), 1, 100).Draw(t, "pauses") {
			c.advance(time.Duration(pause) * time.Millisecond)
			q := r.Take(client("a"), 1)
			if q.Allowed {
				taken++
			} else if q.Retry <= 0 || q.Retry > time.Second {
				t.Fatalf("got %+v, want a wait of up to a second", q)
			}
			if most := 2*float64(perSecond) + c.now().Sub(start).Seconds()*float64(perSecond); float64(taken) > most+1e-6 {
				t.Fatalf("got %d, want at most %f", taken, most)
			}
		}
	})
}

func TestStreamsAreCounted(t *testing.T) {
	s := NewStreams(2)
	alice, bob := client("alice"), client("bob")
	closeOne, ok := s.Acquire(alice)
	if !ok {
		t.Fatal("the first: got no stream")
	}
	closeTwo, ok := s.Acquire(alice)
	if !ok {
		t.Fatal("the second: got no stream")
	}
	if _, ok := s.Acquire(alice); ok {
		t.Error("the third: got a stream")
	}
	closeBob, ok := s.Acquire(bob)
	if !ok {
		t.Error("somebody else: got no stream")
	}
	closeOne()
	closeThree, ok := s.Acquire(alice)
	if !ok {
		t.Error("after one has ended: got no stream")
	}
	for _, end := range []func(){closeTwo, closeThree, closeBob} {
		end()
	}
	if len(s.open) != 0 {
		t.Errorf("after all have ended: got %v, want nobody", s.open)
	}
	unlimited := NewStreams(0)
	for range 1000 {
		if _, ok := unlimited.Acquire(alice); !ok {
			t.Fatal("without a limit: got no stream")
		}
	}
}

func TestFailedLoginsWaitLongerEachTime(t *testing.T) {
	c := newClock()
	l := NewLogins(c.now)
	addr := netip.MustParseAddr("10.0.0.1")
	for n := range 9 {
		if wait := l.Failed(addr); wait != 0 || l.Wait(addr) != 0 {
			t.Fatalf("failure %d: got a wait of %s, want none", n+1, wait)
		}
	}
	var waits []time.Duration // from the tenth on
	for range 9 {
		wait := l.Failed(addr)
		if got := l.Wait(addr); got != wait {
			t.Errorf("Wait after Failed: got %s, want %s", got, wait)
		}
		waits = append(waits, wait)
	}
	want := "[6s 12s 24s 48s 1m36s 3m12s 6m24s 12m48s 15m0s]"
	if got := fmt.Sprint(waits); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := l.Wait(netip.MustParseAddr("10.0.0.2")); got != 0 {
		t.Errorf("somebody else: got a wait of %s", got)
	}
	c.advance(15*time.Minute - time.Second)
	if got, want := l.Wait(addr), time.Second; got != want {
		t.Errorf("near the end: got %s, want %s", got, want)
	}
	c.advance(time.Second)
	if got := l.Wait(addr); got != 0 {
		t.Errorf("at the end: got %s, want none", got)
	}
	for range 9 {
		l.Failed(addr)
	}
	if got, want := l.Failed(addr), 15*time.Minute; got != want {
		t.Errorf("at once again: got %s, want %s still", got, want)
	}
	c.advance(15*time.Minute + loginPause)
	for range 9 {
		if got := l.Failed(addr); got != 0 {
			t.Errorf("after a pause: got %s, want none", got)
		}
	}
	if got := l.Failed(addr); got != firstPenalty {
		t.Errorf("after a pause, too many: got %s, want %s", got, firstPenalty)
	}
}

// TestSetClockEndsNoWait: only the wall clock is set, the monotonic reading goes on.
func TestSetClockEndsNoWait(t *testing.T) {
	var step time.Duration
	l := NewLogins(func() time.Time {
		now := time.Now()
		*(*int64)(unsafe.Pointer(&now)) += int64(step/time.Second) << 30
		return now
	})
	addr := netip.MustParseAddr("10.0.0.1")
	for range 18 { // the longest wait
		l.Failed(addr)
	}
	for _, step = range []time.Duration{0, time.Hour, -time.Hour} {
		if got := l.Wait(addr); got <= 10*time.Minute || got > 15*time.Minute {
			t.Errorf("set by %s: got a wait of %s, want 15 minutes", step, got)
		}
	}
}

// TestWaitingIsNoFailure: to ask how long to wait counts for nothing.
func TestWaitingIsNoFailure(t *testing.T) {
	l := NewLogins(newClock().now)
	addr := netip.MustParseAddr("10.0.0.1")
	for range 100 {
		if got := l.Wait(addr); got != 0 {
			t.Fatalf("got %s, want none", got)
		}
	}
}

// TestTenFailuresAMinuteAreFree: a client that fails now and then is never made to wait.
func TestTenFailuresAMinuteAreFree(t *testing.T) {
	c := newClock()
	l := NewLogins(c.now)
	addr := netip.MustParseAddr("2001:db8::1")
	for range 1000 {
		if got := l.Failed(addr); got != 0 {
			t.Fatalf("got a wait of %s, want none", got)
		}
		c.advance(6 * time.Second)
	}
}

func TestLimitsMayBeUsedAtOnce(t *testing.T) {
	r, s, l := NewRates(100, time.Now), NewStreams(3), NewLogins(time.Now)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 200 {
				c := client(fmt.Sprint("c", (n+i)%5))
				r.Take(c, 1)
				if end, ok := s.Acquire(c); ok {
					end()
				}
				l.Failed(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			}
		})
	}
	wg.Wait()
	if len(s.open) != 0 {
		t.Errorf("got %v, want no streams", s.open)
	}
}

// count is a tally that is idle once it is told so.
type count struct {
	n    int
	busy bool
}

func (c *count) idle(time.Time) bool { return !c.busy }

func address(wide, n int) Client {
	return ClientOf(nil, netip.AddrFrom16([16]byte{0x20, 0x01, byte(wide >> 8), byte(wide), byte(n >> 16), byte(n >> 8), byte(n)}))
}

func newCounts() *table[*count] { return newTable(func() *count { return &count{busy: true} }) }

// TestFloodOfAddressesHurtsItsOwnNetworkAlone: what is known stays, whoever comes; and others still get their own.
func TestFloodOfAddressesHurtsItsOwnNetworkAlone(t *testing.T) {
	table := newCounts()
	now := time.Time{}
	innocent := table.of(address(0, 0), now)
	for wide := 1; wide <= 20; wide++ {
		for n := range 2 * tableShare {
			table.of(address(wide, n), now).n++
		}
		if wide == 10 {
			if table.of(address(1000, 0), now) == table.of(address(1000, 1), now) {
				t.Error("half full: two newcomers share one tally, want their own")
			}
		}
	}
	if len(table.tallies) != tableSize || len(table.hand) != tableSize || len(table.shared) > tableWide {
		t.Errorf("got %d tallies and %d shared, want %d and at most %d", len(table.tallies), len(table.shared), tableSize, tableWide)
	}
	if table.of(address(0, 0), now) != innocent {
		t.Error("the innocent's tally was forgotten")
	}
	if got := table.of(address(3, 2*tableShare-1), now); got != table.of(address(3, 2*tableShare-2), now) || got.n != tableShare {
		t.Errorf("the rest of a flood: got %d in one tally, want %d", got.n, tableShare)
	}
	late := table.of(address(2000, 0), now)
	if late == table.of(address(3, 2*tableShare-1), now) || late != table.of(address(2000, 1), now) {
		t.Error("full: a newcomer's tally is not that of its own wide network")
	}
	for wide := range 2 * tableWide {
		table.of(address(3000+wide, 0), now)
	}
	if len(table.shared) != tableWide || table.of(address(60000, 0), now) != table.rest {
		t.Errorf("got %d shared, want %d and one for the rest", len(table.shared), tableWide)
	}
}

// TestIdleClientsMakeRoom: what changes nothing is forgotten, soon enough for a steady stream of newcomers.
func TestIdleClientsMakeRoom(t *testing.T) {
	table := newCounts()
	now := time.Time{}
	kept := table.of(address(0, 0), now)
	for n := range 3 * tableShare {
		one := table.of(address(1, n), now)
		one.n++
		one.busy = false
		if one.n != 1 {
			t.Fatalf("newcomer %d shares a tally", n)
		}
	}
	if len(table.tallies) > tableShare/2 || len(table.tallies) != len(table.hand) || len(table.share) > 2 {
		t.Errorf("got %d tallies, %d in hand, of %d networks; want few, equally many, and 2", len(table.tallies), len(table.hand), len(table.share))
	}
	if table.of(address(0, 0), now) != kept {
		t.Error("one that is not idle was forgotten")
	}
}

func TestFloodOfAddressesLeavesNamesAlone(t *testing.T) {
	tables := newTables(func() *count { return &count{busy: true} })
	now := time.Time{}
	for wide := range 20 {
		for n := range tableShare {
			tables.of(address(wide, n), now)
		}
	}
	seen := map[*count]bool{}
	for n := range tableShare * 2 {
		seen[tables.of(client(fmt.Sprint("name", n)), now)] = true
	}
	if got, want := len(seen), tableShare*2; got != want {
		t.Errorf("got %d tallies, want %d, one a name", got, want)
	}
}
