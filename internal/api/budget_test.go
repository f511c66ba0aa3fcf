package api

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever is taken and given back in whatever order: the sum is what is held,
// it never passes the limit, and it is 0 when everybody has released.
func TestBudgetIsTheSumOfItsHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBudget(rapid.Int64Range(0, 1<<20).Draw(t, "limit"))
		holds := make([]hold, 4)
		added := int64(0) // without asking for room
		for i := range holds {
			holds[i].budget = b
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			h := &holds[rapid.IntRange(0, 3).Draw(t, "hold")]
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				h.release()
			case 4:
				n := rapid.IntRange(0, 1000).Draw(t, "add")
				h.add(n)
				added += int64(n)
			case 1:
				h.Give(int(rapid.Int64Range(0, h.had).Draw(t, "give")))
			default:
				n := rapid.IntRange(0, 300_000).Draw(t, "take")
				fits := b.bytes()+int64(n) <= b.limit && (h.had+int64(n) <= smallHold || b.bytes()+int64(n) <= b.limit/4*3)
				if got := h.Take(n); got != fits {
					t.Fatalf("got %t for %d bytes beside %d of %d, want %t", got, n, b.bytes(), b.limit, fits)
				}
			}
			sum := int64(0)
			for _, h := range holds {
				sum += h.had
			}
			if b.bytes() != sum || sum > b.limit+added {
				t.Fatalf("got a sum of %d, want %d and at most %d", b.bytes(), sum, b.limit+added)
			}
		}
		for i := range holds {
			holds[i].release()
		}
		if b.bytes() != 0 {
			t.Fatalf("got %d bytes left, want none", b.bytes())
		}
	})
}

func TestLargeHoldsLeaveRoomForSmallOnes(t *testing.T) {
	b := newBudget(1 << 20)
	large, small := hold{budget: b}, hold{budget: b}
	for large.Take(64 << 10) {
	}
	if got := b.bytes(); got != 768<<10 {
		t.Errorf("got %d bytes in one hold, want three quarters of 1 MiB", got)
	}
	if !small.Take(smallHold) {
		t.Error("got no room for a small hold, want some")
	}
}

func TestRoomIsWaitedForAsLongAsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(100)
		first, second := hold{budget: b}, hold{budget: b}
		first.Take(100)
		start := time.Now()
		if second.wait(t.Context(), 60, time.Second) || time.Since(start) != time.Second {
			t.Errorf("got room after %v, want none within a second", time.Since(start))
		}
		go func() {
			time.Sleep(300 * time.Millisecond)
			first.Give(50)
			time.Sleep(300 * time.Millisecond)
			first.Give(50)
		}()
		start = time.Now()
		if !second.wait(t.Context(), 60, time.Second) || time.Since(start) != 600*time.Millisecond {
			t.Errorf("got no room after %v, want it as soon as it is there", time.Since(start))
		}
	})
}
