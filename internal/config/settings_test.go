package config

import (
	"strings"
	"testing"
)

const plainSettings = "[system]\nip_address = 192.168.1.10\nmqtt_port = 1883\n"

func TestSettingsFileNamesTheBroker(t *testing.T) {
	for content, want := range map[string]string{
		plainSettings:                          "mqtt://192.168.1.10:1883",
		"[system]\nip_address = Broker.lan\n":  "mqtt://broker.lan:1883",
		"[system]\nip_address: fd00::1\na=b\n": "mqtt://[fd00::1]:1883",
	} {
		cfg, notices := mustLoad(t, env{"GATEWAY_SETTINGS_FILE": writeFile(t, "settings.ini", content, 0o644)})
		if u, embedded := cfg.Broker(); u.String() != want || embedded {
			t.Errorf("Broker: got %s, %v, want %s, false", u, embedded, want)
		}
		if len(notices) != 0 {
			t.Errorf("notices: got %q, want none", notices)
		}
	}
}

func TestBadSettingsFileIsRefused(t *testing.T) {
	var cases []refused
	for _, c := range []struct{ rule, content, want string }{
		{"no section", "ip_address = 10.0.0.1\n", "has no section [system]"},
		{"section in capitals", "[System]\nip_address = 10.0.0.1\n", "write [system]"},
		{"no address", "[system]\npassword = hunter2\n", "has no ip_address"},
		{"misspelt key", "[system]\nip_address = 10.0.0.1\nmqtt_prot = 1884\n", "did you mean mqtt_port?"},
		{"bad port", "[system]\nip_address = 10.0.0.1\nmqtt_port = 0\n", `mqtt_port = "0"`},
	} {
		path := writeFile(t, "settings.ini", c.content, 0o644)
		cases = append(cases, refused{c.rule, env{"GATEWAY_SETTINGS_FILE": path}, []string{"GATEWAY_SETTINGS_FILE", "settings.ini", c.want}})
	}
	cases = append(cases, refused{"missing", env{"GATEWAY_SETTINGS_FILE": "/nonexistent/settings.ini"}, []string{"GATEWAY_SETTINGS_FILE", "no such file"}})
	wantRefused(t, cases)
}

// The gateway takes its own login from the environment, so that a device's
// password in the file does not become the gateway's.
func TestLoginInTheSettingsFileIsForDevices(t *testing.T) {
	path := writeFile(t, "settings.ini", plainSettings+"username = pi-3\npassword = hunter2\nmqtt_tls = true\n", 0o644)
	cfg, notices := mustLoad(t, env{"GATEWAY_SETTINGS_FILE": path})
	if u, _ := cfg.Broker(); u.String() != "mqtt://192.168.1.10:1883" || cfg.MQTTUsername != "" || cfg.MQTTPassword.Reveal() != "" {
		t.Errorf("got %s, user %q, want the address alone", u, cfg.MQTTUsername)
	}
	text := strings.Join(notices, "\n")
	if len(notices) != 2 || !strings.Contains(text, "GATEWAY_MQTT_URL=mqtts://") || !strings.Contains(text, "GATEWAY_MQTT_USERNAME") || strings.Contains(text, "hunter2") {
		t.Errorf("notices: got %q, want one about TLS and one about the login, without the password", notices)
	}
	_, notices = mustLoad(t, env{"GATEWAY_SETTINGS_FILE": path, "GATEWAY_MQTT_USERNAME": "gateway"})
	if len(notices) != 1 {
		t.Errorf("notices: got %q, want the one about TLS alone", notices)
	}
}

func TestAutoLeavesTheBrokerToBeFound(t *testing.T) {
	path := writeFile(t, "settings.ini", "[system]\nip_address = AUTO\nmqtt_port = 1884\n", 0o644)
	cfg, notices := mustLoad(t, env{"GATEWAY_SETTINGS_FILE": path})
	port, ok := cfg.FindBroker()
	if u, embedded := cfg.Broker(); u.String() != "mqtt://auto" || embedded || !ok || port != 1884 || len(notices) != 0 {
		t.Errorf("got %s, embedded %v, to be found %v on port %d, notices %q, want mqtt://auto, which is to be found on port 1884", u, embedded, ok, port, notices)
	}
	_, notices = mustLoad(t, env{"GATEWAY_SETTINGS_FILE": path, "GATEWAY_MQTT_USERNAME": "u", "GATEWAY_MQTT_PASSWORD": "hunter2"})
	if len(notices) != 1 || !strings.Contains(notices[0], "whoever on the local network answers") || strings.Contains(notices[0], "hunter2") {
		t.Errorf("notices: got %q, want one about who gets the password", notices)
	}
	for _, e := range []env{nil, {"GATEWAY_MQTT_URL": "mqtt://auto"}, {"GATEWAY_MQTT_URL": "mqtt://10.0.0.1", "GATEWAY_SETTINGS_FILE": path}} {
		cfg, _ := mustLoad(t, e)
		if _, ok := cfg.FindBroker(); ok {
			t.Errorf("%v: got a broker that is to be found", e)
		}
	}
}

func TestURLWinsOverTheSettingsFile(t *testing.T) {
	for _, path := range []string{writeFile(t, "settings.ini", plainSettings, 0o644), "/nonexistent/settings.ini"} {
		cfg, notices := mustLoad(t, env{"GATEWAY_MQTT_URL": "mqtt://10.9.9.9", "GATEWAY_SETTINGS_FILE": path})
		if u, _ := cfg.Broker(); u.Host != "10.9.9.9:1883" {
			t.Errorf("Broker: got %s, want 10.9.9.9:1883", u.Host)
		}
		if len(notices) != 1 || !strings.Contains(notices[0], "GATEWAY_MQTT_URL wins over GATEWAY_SETTINGS_FILE") {
			t.Errorf("notices: got %q, want one that says the URL wins", notices)
		}
	}
}
