package config

import "testing"

func TestUnknownVariableIsRefused(t *testing.T) {
	wantRefused(t, []refused{
		{"typo", env{"GATEWAY_MQQT_URL": "x"}, []string{`"GATEWAY_MQQT_URL"`, "did you mean GATEWAY_MQTT_URL?"}},
		{"letters swapped", env{"GATEWAY_WACTH": "#"}, []string{"did you mean GATEWAY_WATCH?"}},
		{"longer", env{"GATEWAY_HTTP_ADDRESS": "x"}, []string{"did you mean GATEWAY_HTTP_ADDR?"}},
		{"shorter", env{"GATEWAY_MQTT_USER": "x"}, []string{"did you mean GATEWAY_MQTT_USERNAME?"}},
		{"not close", env{"GATEWAY_MQTT_HOST": "x"}, []string{`"GATEWAY_MQTT_HOST"`, "remove it", "-h lists"}},
		{"other version", env{"GATEWAY_API_KEYS": ""}, []string{`"GATEWAY_API_KEYS"`, "remove it"}},
		{"lower case", env{"gateway_http_addr": "x"}, []string{`"gateway_http_addr"`, "did you mean GATEWAY_HTTP_ADDR?"}},
		{"mixed case", env{"Gateway_Watch": "x"}, []string{"did you mean GATEWAY_WATCH?"}},
		{"hyphens", env{"GATEWAY-HTTP-ADDR": "x"}, []string{"did you mean GATEWAY_HTTP_ADDR?"}},
		{"typo in the prefix", env{"GATWAY_MQTT_URL": "x"}, []string{"did you mean GATEWAY_MQTT_URL?"}},
		{"prefix swapped", env{"GATEAWY_AUTH": "x"}, []string{"did you mean GATEWAY_AUTH?"}},
		{"value never shown", env{"GATEWAY_MQTT_PASWORD": "hunter2"}, []string{"did you mean GATEWAY_MQTT_PASSWORD?"}},
		{"odd name stays on one line", env{"GATEWAY_\nB": "x"}, []string{`"GATEWAY_\nB"`}},
		{"kubernetes service", env{"GATEWAY_SERVICE_HOST": "10.0.0.1", "GATEWAY_SERVICE_PORT_HTTP": "80"}, []string{"enableServiceLinks: false"}},
		{"kubernetes link", env{"GATEWAY_PORT": "tcp://10.0.0.1:8080"}, []string{"enableServiceLinks: false"}},
		{"not of kubernetes", env{"GATEWAY_PORT": "8080"}, []string{`"GATEWAY_PORT"`, "remove it"}},
		{"kubernetes port", env{"GATEWAY_PORT_8080_TCP": "tcp://10.0.0.1:8080"}, []string{"enableServiceLinks: false"}},
	})
}

// What others are called is not the gateway's business.
func TestVariablesOfOthersAreLeftAlone(t *testing.T) {
	mustLoad(t, env{"MQTT_URL": "x", "HTTP_ADDR": "x", "gateway": "10.0.0.1", "gateway_ip": "10.0.0.1", "DEFAULT_GATEWAY_ADDR": "x", "API_GATEWAY_URL": "x", "PATHWAY_AUTH": "x", "gateway_url": "x"})
}

// What the commands read may be set where a gateway starts.
func TestVariablesOfClientsAreLeftAlone(t *testing.T) {
	mustLoad(t, env{"GATEWAY_URL": "http://other:8080", "GATEWAY_TOKEN": "gwk_x", "GATEWAY_TOKEN_FILE": "key"})
}

func TestEmptyValueIsRefused(t *testing.T) {
	for _, v := range variables() {
		if v.typ.Kind().String() == "slice" {
			continue
		}
		wantRefused(t, []refused{
			{v.name + " empty", env{v.name: ""}, []string{v.name}},
			{v.name + " blank", env{v.name: "  "}, []string{v.name}},
		})
	}
}

func TestEmptyListIsAllowed(t *testing.T) {
	cfg, _ := mustLoad(t, env{
		"GATEWAY_WATCH":           "",
		"GATEWAY_ALLOWED_HOSTS":   " ",
		"GATEWAY_ALLOWED_ORIGINS": "",
		"GATEWAY_TRUSTED_PROXIES": " ",
	})
	if n := len(cfg.Watch) + len(cfg.AllowedHosts) + len(cfg.AllowedOrigins) + len(cfg.TrustedProxies); n != 0 {
		t.Errorf("items in the lists: got %d, want 0", n)
	}
}

func TestEmptyItemOfAListIsRefused(t *testing.T) {
	wantRefused(t, []refused{
		{"watch", env{"GATEWAY_WATCH": "a,,b"}, []string{"GATEWAY_WATCH", "empty item"}},
		{"watch only comma", env{"GATEWAY_WATCH": ","}, []string{"GATEWAY_WATCH", "empty item"}},
		{"hosts", env{"GATEWAY_ALLOWED_HOSTS": "a.example,"}, []string{"GATEWAY_ALLOWED_HOSTS", "empty item"}},
		{"origins", env{"GATEWAY_ALLOWED_ORIGINS": ",https://a.example"}, []string{"GATEWAY_ALLOWED_ORIGINS", "empty item"}},
		{"proxies", env{"GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8, "}, []string{"GATEWAY_TRUSTED_PROXIES", "empty item"}},
	})
}

func TestNumberIsDecimalAndInRange(t *testing.T) {
	const pool, payload = "GATEWAY_MQTT_POOL", "GATEWAY_MAX_PAYLOAD_BYTES"
	wantRefused(t, []refused{
		{"hex", env{pool: "0x4"}, []string{pool, `"0x4"`, "1 to 64", "example 4"}},
		{"leading zero", env{pool: "04"}, []string{pool, "decimal"}},
		{"octal", env{pool: "0o4"}, []string{pool, "decimal"}},
		{"underscore", env{payload: "262_144"}, []string{payload, "decimal"}},
		{"space behind", env{pool: "4 "}, []string{pool, `"4 "`}},
		{"space before", env{pool: " 4"}, []string{pool}},
		{"plus", env{pool: "+4"}, []string{pool}},
		{"fraction", env{pool: "4.0"}, []string{pool}},
		{"unit", env{payload: "256k"}, []string{payload}},
		{"other digits", env{pool: "٤"}, []string{pool}},
		{"newline", env{pool: "4\n"}, []string{pool, `"4\n"`}},
		{"zero", env{pool: "0"}, []string{pool, "out of range"}},
		{"negative", env{pool: "-1"}, []string{pool, "out of range"}},
		{"too many", env{pool: "65"}, []string{pool, "out of range"}},
		{"payload too large", env{payload: "8388609"}, []string{payload, "out of range"}},
		{"beyond 64 bits", env{pool: "99999999999999999999"}, []string{pool, "out of range"}},
		{"no connections", env{"GATEWAY_MAX_CONNECTIONS": "0"}, []string{"GATEWAY_MAX_CONNECTIONS"}},
	})
}

func TestDurationHasAUnitAndIsInRange(t *testing.T) {
	const publish, stop, alive = "GATEWAY_PUBLISH_TIMEOUT", "GATEWAY_SHUTDOWN_TIMEOUT", "GATEWAY_MQTT_KEEPALIVE"
	wantRefused(t, []refused{
		{"no unit", env{publish: "5"}, []string{publish, `"5" has no unit`, "example 5s"}},
		{"half", env{publish: "1h1"}, []string{publish, "not a duration", "example 5s"}},
		{"word", env{stop: "soon"}, []string{stop, "example 15s"}},
		{"space", env{stop: "15 s"}, []string{stop, "example 15s"}},
		{"negative", env{publish: "-5s"}, []string{publish, "out of range", "example 5s"}},
		{"zero", env{publish: "0"}, []string{publish, "out of range", "example 5s"}},
		{"zero with unit", env{stop: "0s"}, []string{stop, "out of range"}},
		{"keep-alive too short", env{alive: "4s"}, []string{alive, "5s to 120s"}},
		{"keep-alive too long", env{alive: "121s"}, []string{alive, "5s to 120s"}},
		{"keep-alive not whole", env{alive: "5500ms"}, []string{alive, "whole seconds"}},
	})
}

func TestBoolIsTrueOrFalse(t *testing.T) {
	wantRefused(t, []refused{
		{"yes", env{"GATEWAY_PPROF": "yes"}, []string{"GATEWAY_PPROF", `"yes" is neither true nor false`}},
		{"on", env{"GATEWAY_ALLOW_ANONYMOUS": "on"}, []string{"GATEWAY_ALLOW_ANONYMOUS", "true", "false"}},
		{"space", env{"GATEWAY_PPROF": "true "}, []string{"GATEWAY_PPROF"}},
	})
	for raw, want := range map[string]bool{"true": true, "1": true, "t": true, "false": false, "0": false, "f": false} {
		if cfg, _ := mustLoad(t, env{"GATEWAY_PPROF": raw}); cfg.PProf != want {
			t.Errorf("GATEWAY_PPROF=%s: got %v, want %v", raw, cfg.PProf, want)
		}
	}
}
