package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/vulturepi/gateway/wire"
)

// Bounds of what one batch has under way.
const (
	windowItems = 512
	windowBytes = 4 << 20
)

// batchItem is one message of a batch: a publication, or what is wrong with
// it, or the answer that it got the first time.
type batchItem struct {
	publication *publication
	problem     *wire.Problem
	first       *answer
	claim       *onceEntry // of an Idempotency-Key; the outcome goes there

	weight   int64
	underway *underway // nil: nothing was handed over
}

// batchResult is what became of one.
type batchResult = answer

// pipeline publishes items in their order, many at a time, and hands each
// result, as a line, to emit in the same order; more says that the next one is
// there already, and a nil line only that the next one is not. It takes no item
// while the window is full, which is so while emit does not return: a client
// that does not read results is not read. When emit returns false, no further
// item is taken, and those under way end unheard.
func (s *Server) pipeline(next func() (batchItem, bool), emit func(line []byte, res *batchResult, more bool) bool) {
	ctx, cancel := context.WithCancel(context.Background())
	items := make(chan batchItem, windowItems)
	window := semaphore.NewWeighted(windowBytes)
	var feeding sync.WaitGroup
	feeding.Go(func() {
		defer close(items)
		for ctx.Err() == nil {
			item, ok := next()
			if !ok {
				return
			}
			item.weight = 512
			if item.publication != nil {
				item.weight = min(item.weight+int64(len(item.publication.payload)+item.publication.given.size()), windowBytes)
			}
			if window.Acquire(ctx, item.weight) != nil {
				if item.claim != nil {
					s.idempotency.end(item.claim, nil)
				}
				return
			}
			s.launch(ctx, &item)
			items <- item
		}
	})
	index, heard := 0, true
	var line []byte
	for item := range items {
		if heard && item.underway != nil && line != nil {
			select {
			case <-item.underway.done():
			default: // nothing else is ready: let go of what there is
				heard = emit(nil, nil, false)
			}
		}
		res := s.outcome(&item)
		window.Release(item.weight)
		if heard {
			line = appendResult(line[:0], index, res)
			heard = emit(line, res, len(items) > 0)
		}
		if !heard {
			cancel()
		}
		index++
	}
	cancel()
	feeding.Wait()
}

// launch starts the publish. When the broker connection has no room, it waits
// for some: a batch must not fail by its own speed.
func (s *Server) launch(ctx context.Context, item *batchItem) {
	p := item.publication
	if p == nil {
		return
	}
	if s.draining.Load() {
		item.publication, item.problem = nil, shuttingDown()
		return
	}
	item.underway = s.prepare(p, "batch")
	item.underway.hand(p)
	if !errors.Is(item.underway.err, ErrOverloaded) {
		return
	}
	late := time.NewTimer(s.opts.PublishTimeout)
	defer late.Stop()
	for {
		fewer := s.inFlight.fewer() // first, so that no end is missed
		if item.underway.hand(p); !errors.Is(item.underway.err, ErrOverloaded) {
			return
		}
		select {
		case <-fewer:
		case <-time.After(abandonedRoom):
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// abandonedRoom is how often a batch without room looks whether publishes have
// ended whose callers have given them up: those end without a word.
const abandonedRoom = 100 * time.Millisecond

// outcome waits for what becomes of an item.
func (s *Server) outcome(item *batchItem) *batchResult {
	if item.first != nil {
		return item.first
	}
	var res *batchResult
	if item.underway != nil {
		res = item.underway.outcome()
	} else {
		res = &batchResult{problem: item.problem}
	}
	if item.claim != nil {
		s.idempotency.end(item.claim, res)
	}
	return res
}
