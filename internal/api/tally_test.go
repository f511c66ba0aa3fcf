package api

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestTallyWaitsForTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		c.wait(t.Context()) // nothing is under way
		c.add(2)
		var waited atomic.Int64
		for range 2 {
			go func() {
				c.wait(t.Context())
				waited.Add(1)
			}()
		}
		synctest.Wait()
		c.add(-1)
		synctest.Wait()
		if waited.Load() != 0 {
			t.Errorf("%d have waited while one was under way, want none", waited.Load())
		}
		c.add(-1)
		synctest.Wait()
		if waited.Load() != 2 {
			t.Errorf("%d have waited, want both", waited.Load())
		}
		c.add(1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.wait(ctx) // returns all the same
	})
}
