package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/vulturepi/gateway/internal/gauge"
)

// The metrics that are labels are those of the configuration.
var (
	descValueSeries  = desc("gateway_value_series", "Series of a metric of GATEWAY_VALUE_METRICS.", "metric")
	descValueLimit   = desc("gateway_value_series_limit", "How many series it may have.", "metric")
	descValueDropped = desc("gateway_value_dropped_total", "Messages on topics of GATEWAY_VALUE_METRICS that gave no value.", "reason")
)

var sumValueSeries = descSum("gateway_value_series_bytes", "gateway_value_series_limit_bytes", "the series of value metrics", "fixed")

// collectValues turns numbers of devices into metrics. Only the operator's file
// can make labels of topics and payloads, and only so many.
func collectValues(send func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string), s gauge.Stats) {
	for _, m := range s.Metrics {
		d := desc(m.Name, m.Help, m.Labels...)
		for _, sample := range m.Series {
			send(d, prometheus.GaugeValue, sample.Value, sample.Labels...)
		}
		send(descValueSeries, prometheus.GaugeValue, float64(len(m.Series)), m.Name)
		send(descValueLimit, prometheus.GaugeValue, float64(m.Limit), m.Name)
	}
	for reason, n := range s.Dropped {
		send(descValueDropped, prometheus.CounterValue, float64(n), string(reason))
	}
}
