package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
	vulture "github.com/vulturepi/gateway/internal/gateway"
)

// valuesFile writes a file of rules.
func valuesFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const valueRules = `
value_metrics:
  - {metric: battery_volts, help: A battery., topic: "pi/{device}/battery", max_series: 2}
  - {metric: room_celsius, topic: "rooms/{room}/climate", field: /t, labels: {sensor: /id}}
  - {metric: switched_on, topic: "sw/{id}"}
`

// With a GATEWAY_WATCH that leaves these topics to whoever asks, and with one
// that has them; with MQTT 3.1.1, where retained copies come between the live
// messages, and with 5.
func TestValuesOfDevicesAreMetrics(t *testing.T) {
	t.Parallel()
	for watch, version := range map[string]string{"": "auto", "#": "4", "pi/#,rooms/#,sw/+": "5"} {
		t.Run("watch "+watch, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.Start(t)
			client := brokertest.Dial(t, broker.Addr())
			publish := func(topic, payload string, retain bool) {
				t.Helper()
				if err := client.Publish(topic, []byte(payload), 1, retain); err != nil {
					t.Fatal(err)
				}
			}
			publish("pi/9/battery", "2.5", true) // retained: of any age
			g := startReady(t, broker.URL(), map[string]string{
				"GATEWAY_WATCH": watch, "GATEWAY_MQTT_VERSION": version, "GATEWAY_VALUE_METRICS": valuesFile(t, valueRules),
				"GATEWAY_DECODERS_FILE": valuesFile(t, "decoders: [{topic: sw/+, format: bool}]"),
			})
			// Filters are held before there is much to hold: the messages until then do not count.
			eventually(t, "a message becomes a value", func() bool {
				publish("sw/1", "ON", false)
				return g.metric(`switched_on{id="1"}`) == 1
			})
			eventually(t, "all filters are held", func() bool {
				publish("rooms/probe/climate", `{"t":1,"id":"p"}`, false)
				publish("pi/probe/battery", "1", false)
				all := g.metrics()
				return all[`room_celsius{room="probe",sensor="p"}`] == 1 && all[`battery_volts{device="probe"}`] == 1
			})
			publish("rooms/hall/climate", `{"t":21.5,"id":"s \"1\""}`, false)
			publish("sw/1", "off", false)
			publish("sw/2", "maybe", false)
			publish("pi/3/battery", "3.7", false)
			publish("pi/3/battery", "3.6", false)
			publish("pi/4/battery", "1", false) // one too many
			var all map[string]float64
			eventually(t, "what is left out is counted", func() bool {
				all = g.metrics()
				return all[`gateway_value_dropped_total{reason="series_limit"}`] == 1
			})
			want := map[string]float64{
				`battery_volts{device="3"}`: 3.6, `room_celsius{room="hall",sensor="s \"1\""}`: 21.5, `switched_on{id="1"}`: 0,
				`gateway_value_series{metric="battery_volts"}`: 2, `gateway_value_series_limit{metric="battery_volts"}`: 2,
				`gateway_value_series{metric="switched_on"}`: 1, `gateway_value_series_limit{metric="switched_on"}`: 100,
				`gateway_value_dropped_total{reason="no_number"}`: 1, `gateway_value_dropped_total{reason="no_label"}`: 0,
			}
			for name, v := range want {
				if got, ok := all[name]; !ok || got != v {
					t.Errorf("%s: got %v (there: %t), want %v", name, got, ok, v)
				}
			}
			for name := range all {
				if strings.HasPrefix(name, "battery_volts") && strings.Contains(name, "9") {
					t.Errorf("a retained copy is a value: %s", name)
				}
			}
			if held := all["gateway_value_series_bytes"]; held <= 0 || held >= all["gateway_value_series_limit_bytes"] {
				t.Errorf("the series take %v bytes of %v", held, all["gateway_value_series_limit_bytes"])
			}
			if text := g.get(g.admin + "/metrics"); !strings.Contains(text, "# HELP battery_volts A battery.\n# TYPE battery_volts gauge\n") {
				t.Error("battery_volts has not the file's sentence, or is no gauge")
			}
			if log := g.logged(); !strings.Contains(log, `"metric":"battery_volts"`) {
				t.Error("the log does not name the metric that is full")
			}
		})
	}
}

func TestWrongValueMetricsStopTheStart(t *testing.T) {
	for _, tc := range []struct{ rules, watch, want string }{
		{"value_metrics: [{metric: x}]", "#", `metric 1 (line 1): topic is missing`},
		{`value_metrics: [{metric: x, topic: "a/{id}"}]`, "b/#", `"a/+" lies outside of GATEWAY_WATCH`},
	} {
		cfg := configuration(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1", "GATEWAY_WATCH": tc.watch, "GATEWAY_VALUE_METRICS": valuesFile(t, tc.rules)})
		said := &strings.Builder{}
		for name, err := range map[string]error{
			"check": vulture.Check(t.Context(), cfg, said),
			"run":   vulture.Run(t.Context(), cfg, "dev", vulture.NewLog(cfg.LogFormat, cfg.LogLevel, &output{}), nil),
		} {
			if err == nil || !strings.Contains(err.Error(), "GATEWAY_VALUE_METRICS: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %v, want GATEWAY_VALUE_METRICS and %q", name, err, tc.want)
			}
		}
	}
}
