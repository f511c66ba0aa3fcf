package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vulturepi/gateway/internal/brokertest"
	"github.com/vulturepi/gateway/wire"
)

// BenchmarkReplayTiming records 1000 messages a second and replays them, and
// says how far from its time each arrives at another client of the broker: from
// the first message on, in what was published, in the recording, and in the
// replay.
func BenchmarkReplayTiming(b *testing.B) {
	broker := brokertest.Start(b)
	g := startReady(b, broker.URL(), nil)
	s := at(g)
	const rate, seconds = 1000, 5
	for b.Loop() {
		raw := brokertest.Dial(b, broker.URL())
		p := s.begin("record", "timed/#", "-C", fmt.Sprint(rate*seconds))
		eventually(b, "it has subscribed", func() bool { return g.metric("gateway_subscriptions") == 1 })
		begin := time.Now()
		for i := range rate * seconds {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / rate))) // which is the load
			if err := raw.Publish(fmt.Sprintf("timed/%d", i%10), fmt.Appendf(nil, "%d", i), 0, false); err != nil {
				b.Fatal(err)
			}
		}
		p.exit()
		recording := filepath.Join(b.TempDir(), "x.ndjson")
		if err := os.WriteFile(recording, []byte(p.stdout.String()), 0o600); err != nil {
			b.Fatal(err)
		}
		var recorded []time.Time
		for line := range strings.Lines(p.stdout.String()) {
			var m wire.Message
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				b.Fatal(err)
			}
			recorded = append(recorded, m.Time)
		}
		raw.Subscribe("again/#", 0)
		replay := s.begin("replay", recording, "--prefix", "again/", "--qos", "0")
		var arrived []time.Time
		for range recorded {
			if _, err := raw.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
			arrived = append(arrived, time.Now())
		}
		replay.exit()
		var off []time.Duration
		for i := range recorded {
			off = append(off, (arrived[i].Sub(arrived[0]) - recorded[i].Sub(recorded[0])).Abs())
		}
		slices.Sort(off)
		b.ReportMetric(float64(off[len(off)/2].Microseconds())/1000, "ms-p50")
		b.ReportMetric(float64(off[len(off)*99/100].Microseconds())/1000, "ms-p99")
		b.ReportMetric(float64(off[len(off)-1].Microseconds())/1000, "ms-most")
	}
}
