package config

import "testing"

func TestLimitsFitTogether(t *testing.T) {
	wantRefused(t, []refused{
		{
			"client queue below two payloads",
			env{"GATEWAY_CLIENT_QUEUE_BYTES": "524287"},
			[]string{"GATEWAY_CLIENT_QUEUE_BYTES", "GATEWAY_MAX_PAYLOAD_BYTES", "at least 524288"},
		},
		{
			"payload above half a client queue",
			env{"GATEWAY_MAX_PAYLOAD_BYTES": "1048576"},
			[]string{"GATEWAY_CLIENT_QUEUE_BYTES", "GATEWAY_MAX_PAYLOAD_BYTES", "at least 2097152"},
		},
		{
			"all queues below one",
			env{"GATEWAY_CLIENTS_QUEUE_BYTES": "1048575"},
			[]string{"GATEWAY_CLIENTS_QUEUE_BYTES", "GATEWAY_CLIENT_QUEUE_BYTES", "at least 1048576"},
		},
		{
			"bodies below four payloads",
			env{"GATEWAY_BODIES_BYTES": "16777216", "GATEWAY_MAX_PAYLOAD_BYTES": "4194305", "GATEWAY_CLIENT_QUEUE_BYTES": "16777216"},
			[]string{"GATEWAY_BODIES_BYTES", "GATEWAY_MAX_PAYLOAD_BYTES", "at least 16777220"},
		},
		{
			"answers below four payloads",
			env{"GATEWAY_ANSWERS_BYTES": "16777216", "GATEWAY_MAX_PAYLOAD_BYTES": "4194305", "GATEWAY_CLIENT_QUEUE_BYTES": "16777216"},
			[]string{"GATEWAY_ANSWERS_BYTES", "GATEWAY_MAX_PAYLOAD_BYTES", "at least 16777220"},
		},
		{
			"shutdown shorter than a publish",
			env{"GATEWAY_PUBLISH_TIMEOUT": "20s"},
			[]string{"GATEWAY_SHUTDOWN_TIMEOUT", "GATEWAY_PUBLISH_TIMEOUT", "make it longer"},
		},
		{
			"shutdown as long as a publish",
			env{"GATEWAY_SHUTDOWN_TIMEOUT": "5s"},
			[]string{"GATEWAY_SHUTDOWN_TIMEOUT", "GATEWAY_PUBLISH_TIMEOUT"},
		},
	})
	mustLoad(t, env{"GATEWAY_CLIENT_QUEUE_BYTES": "524288", "GATEWAY_CLIENTS_QUEUE_BYTES": "524288", "GATEWAY_SHUTDOWN_TIMEOUT": "5001ms"})
}

func TestWatchHoldsFilters(t *testing.T) {
	var cases []refused
	for _, c := range []struct{ rule, filter string }{
		{"hash in the middle", "a/#/b"},
		{"hash beside text", "a#"},
		{"plus beside text", "a/b+"},
		{"shared subscription", "$share/g/a"},
		{"control character", "a\nb"},
		{"second of two", "a,b#"},
	} {
		cases = append(cases, refused{c.rule, env{"GATEWAY_WATCH": c.filter}, []string{"GATEWAY_WATCH", "filter"}})
	}
	wantRefused(t, cases)
}

func TestMQTTVersionAndQoSAreKnown(t *testing.T) {
	wantRefused(t, []refused{
		{"version", env{"GATEWAY_MQTT_VERSION": "3"}, []string{"GATEWAY_MQTT_VERSION", `"3"`, "auto, 4 (which is 3.1.1) or 5"}},
		{"version with a dot", env{"GATEWAY_MQTT_VERSION": "3.1.1"}, []string{"GATEWAY_MQTT_VERSION", "3.1.1"}},
		{"QoS", env{"GATEWAY_MQTT_SUBSCRIBE_QOS": "2"}, []string{"GATEWAY_MQTT_SUBSCRIBE_QOS", `"2"`, "auto, 0 or 1"}},
	})
	for _, version := range []string{"auto", "4", "5"} {
		mustLoad(t, env{"GATEWAY_MQTT_VERSION": version, "GATEWAY_MQTT_SUBSCRIBE_QOS": "1"})
	}
}

func TestLogFormatAndLevelAreKnown(t *testing.T) {
	wantRefused(t, []refused{
		{"format", env{"GATEWAY_LOG_FORMAT": "xml"}, []string{"GATEWAY_LOG_FORMAT", `"xml"`, "text or json"}},
		{"format in capitals", env{"GATEWAY_LOG_FORMAT": "JSON"}, []string{"GATEWAY_LOG_FORMAT", "text or json"}},
		{"level", env{"GATEWAY_LOG_LEVEL": "trace"}, []string{"GATEWAY_LOG_LEVEL", `"trace"`, "debug, info, warn or error"}},
	})
	for _, level := range []string{"debug", "info", "warn", "error"} {
		mustLoad(t, env{"GATEWAY_LOG_LEVEL": level, "GATEWAY_LOG_FORMAT": "json"})
	}
}
