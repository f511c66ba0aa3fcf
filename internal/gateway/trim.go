package gateway

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// trimInterval is how often the runtime's figures are read; nothing signals
	// that allocations have ceased.
	trimInterval = time.Second
	// trimIdle is what an idle process may allocate in an interval, in bytes.
	trimIdle = 2 << 20
	// trimUnused is how much memory that is not in use is worth a collection.
	trimUnused = 6 << 20
	// smallHeap is how much the heap of a small process may grow by between two
	// collections: most of what a request allocates is garbage when it ends, and
	// a heap of a few megabytes would be collected hundreds of times a second.
	smallHeap = 32 << 20
)

// tendMemory collects seldom what is little, and gives memory back to the system when a storm is over: ten
// thousand clients that come at once leave as much garbage as they will hold,
// and without allocations there is no collection for minutes. It returns when
// ctx ends.
func tendMemory(ctx context.Context) {
	readings := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	var last uint64
	percent := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(readings)
		allocs, live := readings[0].Value.Uint64(), readings[1].Value.Uint64()
		held := readings[2].Value.Uint64() + readings[3].Value.Uint64() // from the system, for objects
		if allocs-last < trimIdle && held > live+trimUnused {
			debug.FreeOSMemory()
		}
		last = allocs
		if p := gcPercent(live); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
	}
}

// gcPercent is GOGC for a process with so many live bytes: 100 as always, and
// more for a small one, in steps.
func gcPercent(live uint64) int {
	for p := 400; p > 100; p -= 100 {
		if live*uint64(p)/100 <= smallHeap {
			return p
		}
	}
	return 100
}
