package api

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// What promtool finds fault with is found here.
func TestMetricsPassTheLint(t *testing.T) {
	g := startRig(t, func(o *Options) {
		o.BrokerStats = func() BrokerStats {
			return BrokerStats{Refused: map[string]uint64{"closed": 1}, Sys: map[string]float64{"broker_messages_dropped_total": 1, "broker_clients": 2}}
		}
	})
	exchange(t, g.public, publishRequest(valid))
	families, err := g.server.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	found := false
	for _, f := range families {
		found = found || f.GetName() == "gateway_build_info" && len(f.GetMetric()[0].GetLabel()) == 2
	}
	if !found {
		t.Error("gateway_build_info is missing, or has not its two labels")
	}
}
