package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How often the process looks whether it is calm, what it may have allocated
// since then to be so, and how much that is not in use is worth a collection.
const (
	calmEvery  = time.Second
	calmAllocs = 2 << 20
	calmUnused = 8 << 20
)

// calm gives memory back to the system when a storm is over: ten thousand
// clients that come at once leave as much garbage as they will hold, and
// without allocations there is no collection for minutes. It returns when ctx
// ends.
func calm(ctx context.Context) {
	readings := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	tick := time.NewTicker(calmEvery)
	defer tick.Stop()
	var last uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(readings)
		allocs, live := readings[0].Value.Uint64(), readings[1].Value.Uint64()
		held := readings[2].Value.Uint64() + readings[3].Value.Uint64() // from the system, for objects
		if allocs-last < calmAllocs && held > live+calmUnused {
			debug.FreeOSMemory()
		}
		last = allocs
	}
}
