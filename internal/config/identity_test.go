package config

import (
	"strings"
	"testing"
)

const brokerURL = "mqtt://broker.lan"

func TestUsernameWithoutPasswordIsAllowed(t *testing.T) {
	mustLoad(t, env{"GATEWAY_MQTT_URL": brokerURL, "GATEWAY_MQTT_USERNAME": "gateway"})
}

func TestPasswordNeedsAUsername(t *testing.T) {
	file := writeFile(t, "password", "hunter2", 0o600)
	wantRefused(t, []refused{
		{"value", env{"GATEWAY_MQTT_URL": brokerURL, "GATEWAY_MQTT_PASSWORD": "hunter2"}, []string{"GATEWAY_MQTT_PASSWORD", "without GATEWAY_MQTT_USERNAME"}},
		{"file", env{"GATEWAY_MQTT_URL": brokerURL, "GATEWAY_MQTT_PASSWORD_FILE": file}, []string{"GATEWAY_MQTT_PASSWORD", "without GATEWAY_MQTT_USERNAME"}},
		{"control character", env{"GATEWAY_MQTT_URL": brokerURL, "GATEWAY_MQTT_USERNAME": "a\nb"}, []string{"GATEWAY_MQTT_USERNAME"}},
	})
}

func TestIdentityNeedsABroker(t *testing.T) {
	wantRefused(t, []refused{
		{"username", env{"GATEWAY_MQTT_USERNAME": "gateway"}, []string{"GATEWAY_MQTT_USERNAME", "no broker", "GATEWAY_MQTT_URL", "GATEWAY_SETTINGS_FILE"}},
		{"password", env{"GATEWAY_MQTT_USERNAME": "gateway", "GATEWAY_MQTT_PASSWORD": "hunter2"}, []string{"no broker"}},
		{"client id", env{"GATEWAY_MQTT_CLIENT_ID": "gw"}, []string{"GATEWAY_MQTT_CLIENT_ID", "no broker"}},
	})
}

func TestClientIDIsPrintableAndShort(t *testing.T) {
	with := func(id string) env {
		return env{"GATEWAY_MQTT_URL": brokerURL, "GATEWAY_MQTT_CLIENT_ID": id}
	}
	const name = "GATEWAY_MQTT_CLIENT_ID"
	wantRefused(t, []refused{
		{"65 bytes", with(strings.Repeat("x", 65)), []string{name, "1 to 64"}},
		{"space", with("a b"), []string{name}},
		{"plus", with("a+"), []string{name}},
		{"hash", with("#"), []string{name}},
		{"slash", with("a/b"), []string{name}},
		{"newline", with("a\n"), []string{name}},
		{"not ASCII", with("gäteway"), []string{name}},
		{"not UTF-8", with("\xff"), []string{name}},
	})
	for _, id := range []string{"a", strings.Repeat("x", 64), "gw-1_~!.:{}"} {
		mustLoad(t, with(id))
	}
}
