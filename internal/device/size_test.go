package device

import (
	"fmt"
	"runtime"
	"testing"
)

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// 100 000 devices, and as many topics, fit, and take no more than is counted.
func TestWhatIsCountedIsWhatItTakes(t *testing.T) {
	g := start(t, quiet(t, "#=1h"))
	for _, kind := range []struct {
		name  string
		add   func(i int)
		bytes func() int64
	}{
		{"devices", func(i int) { g.connect(fmt.Sprintf("device-%d", i), "192.168.100.100:50000") }, func() int64 { return g.bytes }},
		{"topics", func(i int) { g.Message(fmt.Sprintf("fleet/%d/heartbeat", i), nil, false) }, func() int64 { return g.topics.bytes }},
	} {
		before := heap()
		for i := range 100_000 {
			kind.add(i)
		}
		took, counted := heap()-before, kind.bytes()
		t.Logf("%s: %d bytes each, %d counted", kind.name, took/100_000, counted/100_000)
		if took > counted || took < counted/4 {
			t.Errorf("%s: got %d bytes, %d counted", kind.name, took, counted)
		}
	}
	if got := g.Stats(); got.Forgotten != 0 || got.States[Online] != 100_000 {
		t.Errorf("got %+v, want all of them", got)
	}
}
