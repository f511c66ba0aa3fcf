package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/vulturepi/gateway/internal/device"
)

// The patterns that are labels are those of the configuration.
var (
	descDevices       = desc("gateway_devices", "Devices known, by state.", "state")
	descForgotten     = desc("gateway_devices_forgotten_total", "Devices, and topics that may not go quiet, that were forgotten because there are more than can be known.")
	descNotTakenIn    = desc("gateway_devices_too_long_total", "Times that a device was not taken in because its id has more than 1024 bytes.")
	descDeviceLines   = desc("gateway_device_log_lines_total", "Lines of the broker's log about clients. 0: the broker does not give its log.")
	descUnread        = desc("gateway_device_log_unread_total", "Of them, lines that can be read in two ways and were left out.")
	descTopicLastSeen = desc("gateway_topic_last_seen_timestamp_seconds", "When the newest message came on a pattern of GATEWAY_SILENT; 0: none has.", "pattern")
	descTopicsSilent  = desc("gateway_topics_silent", "Topics of a pattern of GATEWAY_SILENT that are quiet for longer than they may.", "pattern")
)

// collectDevices turns the counters of devices into metrics.
func collectDevices(send func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string), s device.Stats) {
	for _, state := range device.States {
		send(descDevices, prometheus.GaugeValue, float64(s.States[state]), string(state))
	}
	send(descForgotten, prometheus.CounterValue, float64(s.Forgotten))
	send(descNotTakenIn, prometheus.CounterValue, float64(s.TooLong))
	send(descDeviceLines, prometheus.CounterValue, float64(s.Lines))
	send(descUnread, prometheus.CounterValue, float64(s.Unread))
	for _, q := range s.Quiet {
		newest := 0.0
		if !q.Newest.IsZero() {
			newest = float64(q.Newest.UnixMilli()) / 1000
		}
		send(descTopicLastSeen, prometheus.GaugeValue, newest, q.Filter)
		send(descTopicsSilent, prometheus.GaugeValue, float64(q.Silent), q.Filter)
	}
}
