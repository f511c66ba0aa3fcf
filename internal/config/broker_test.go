package config

import (
	"strings"
	"testing"
)

// testCA is a self-signed certificate; nothing trusts it.
const testCA = `-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUMAhKWRbgB1Vr3979sZfOyJm6r0swCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjMwNDM3MTZaGA8yMTI2MTAzMDA0Mzcx
NlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEoY
uu2e+KbJRuWKRciAqO69/xAddsz4rXQmPEcWynMzlYQkae+dSylzuiN+tG+hszIs
BMFGrljQKceTs+EIw2ajUzBRMB0GA1UdDgQWBBSDVnB34FKwzMyCCaDucwJ4nwt+
rTAfBgNVHSMEGDAWgBSDVnB34FKwzMyCCaDucwJ4nwt+rTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQD+AEyIcUUJhf0b5NI1wXO/5vjZ2o54riJN
rcXJx5Yh5wIhAKew4k+1vsI+aEJEAAipVnrhTNZ6xu3wyDDYI/N6nFIl
-----END CERTIFICATE-----
`

func TestBrokerURLGetsItsDefaultPort(t *testing.T) {
	for raw, want := range map[string]string{
		"mqtt://broker.lan":             "mqtt://broker.lan:1883",
		"mqtts://broker.lan":            "mqtts://broker.lan:8883",
		"ws://broker.lan":               "ws://broker.lan:80",
		"wss://broker.lan/mqtt":         "wss://broker.lan:443/mqtt",
		"mqtt://192.168.1.10:1884":      "mqtt://192.168.1.10:1884",
		"mqtt://[fd00::1]":              "mqtt://[fd00::1]:1883",
		"mqtt://[FD00:0::1]:1":          "mqtt://[fd00::1]:1",
		"MQTT://Broker.LAN:65535":       "mqtt://broker.lan:65535",
		"mqtt://broker.lan:1883/":       "mqtt://broker.lan:1883",
		"ws://broker_1:9001/a%20b/mqtt": "ws://broker_1:9001/a%20b/mqtt",
	} {
		cfg, notices := mustLoad(t, env{"GATEWAY_MQTT_URL": raw})
		if u, embedded := cfg.Broker(); u.String() != want || embedded || len(notices) != 0 {
			t.Errorf("%s: got %s, %v, %q, want %s, false, no notice", raw, u, embedded, notices, want)
		}
	}
}

func TestBadBrokerURLIsRefused(t *testing.T) {
	const name = "GATEWAY_MQTT_URL"
	var cases []refused
	for _, c := range []struct{ rule, raw, want string }{
		{"empty", "", "set but empty"},
		{"userinfo", "mqtt://hunter2:hunter2@broker.lan", "must not hold a user name or a password; set GATEWAY_MQTT_USERNAME and GATEWAY_MQTT_PASSWORD"},
		{"user only", "mqtts://hunter2@broker.lan", "must not hold"},
		{"userinfo in an unparsable URL", "mqtt://u:hunter2%zz@broker.lan:x", "must not hold"},
		{"userinfo without scheme", "u:hunter2@broker.lan:1883", "must not hold"},
		{"query", "wss://broker.lan/mqtt?token=hunter2", "query"},
		{"fragment", "mqtt://broker.lan#hunter2", "fragment"},
		{"http", "http://broker.lan", "must start with mqtt://"},
		{"https", "https://broker.lan", "must start with mqtt://"},
		{"tcp", "tcp://broker.lan:1883", "must start with mqtt://"},
		{"no scheme", "broker.lan:1883", "must start with mqtt://"},
		{"one slash", "mqtt:/broker.lan", "must start with mqtt://"},
		{"no host", "mqtt://", "has no host"},
		{"only a port", "mqtt://:1883", "has no host"},
		{"only a path", "ws:///mqtt", "has no host"},
		{"IPv6 without brackets", "mqtt://fd00::1", "needs brackets"},
		{"IPv6 without brackets, with port", "mqtt://::1:1883", "needs brackets"},
		{"open bracket", "mqtt://[fd00::1", "brackets must hold"},
		{"name in brackets", "mqtt://[broker.lan]", "brackets must hold"},
		{"IPv4 in brackets", "mqtt://[192.168.1.1]", "brackets must hold"},
		{"text after the bracket", "mqtt://[fd00::1]1883", "may follow the bracket"},
		{"IPv6 zone", "mqtt://[fe80::1%25eth0]", "zone"},
		{"path for mqtt", "mqtt://broker.lan/sensors", "must not have a path"},
		{"path for mqtts", "mqtts://broker.lan//", "must not have a path"},
		{"malformed path", "ws://broker.lan/%zz", "path is malformed"},
		{"port 0", "mqtt://broker.lan:0", "port 0"},
		{"port 65536", "mqtt://broker.lan:65536", "65535"},
		{"port hex", "mqtt://broker.lan:0x75b", "in decimal"},
		{"port leading zero", "mqtt://broker.lan:01883", "leading zero"},
		{"port negative", "mqtt://broker.lan:-1", "the port must be"},
		{"port empty", "mqtt://broker.lan:", "the port must be"},
		{"port is a word", "mqtt://broker.lan:hunter2", "the port must be"},
		{"space", "mqtt://broker.lan:1883 ", "space"},
		{"newline", "mqtt://broker.lan\n", "space"},
		{"listen address", "mqtt://0.0.0.0:1883", "127.0.0.1"},
		{"listen address IPv6", "mqtt://[::]:1883", "an address to listen on"},
		{"listen address mapped", "mqtt://[::ffff:0.0.0.0]", "an address to listen on"},
		{"not an address", "mqtt://999.1.1.1", "neither an IP address nor a host name"},
		{"shortened address", "mqtt://127.1", "neither"},
		{"hex address", "mqtt://0x7f.1", "neither"},
		{"empty label", "mqtt://broker..lan", "neither"},
		{"not ASCII", "mqtt://brök.lan", "neither"},
		{"percent", "mqtt://%62roker", "neither"},
		{"long name", "mqtt://" + strings.Repeat("a.", 130) + "lan", "neither"},
	} {
		cases = append(cases, refused{c.rule, env{name: c.raw}, []string{name, c.want}})
	}
	wantRefused(t, cases)
}

func TestEmbeddedBrokerStartsWhenNothingIsConfigured(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:1883": "mqtt://127.0.0.1:1883",
		"localhost:1884": "mqtt://localhost:1884",
		"127.0.0.1:0":    "mqtt://127.0.0.1:0",
		"[::1]:1883":     "mqtt://[::1]:1883",
		":1883":          "mqtt://127.0.0.1:1883",
		"0.0.0.0:1883":   "mqtt://127.0.0.1:1883",
		"[::]:1883":      "mqtt://[::1]:1883",
	} {
		cfg, _ := mustLoad(t, env{"GATEWAY_EMBEDDED_ADDR": addr, "GATEWAY_ALLOW_ANONYMOUS": "true"})
		if u, embedded := cfg.Broker(); u.String() != want || !embedded {
			t.Errorf("%s: got %s, %v, want %s, true", addr, u, embedded, want)
		}
	}
}

func TestBrokerReturnsACopy(t *testing.T) {
	cfg, _ := mustLoad(t, env{"GATEWAY_MQTT_URL": brokerURL})
	u, _ := cfg.Broker()
	u.Host = "changed"
	if again, _ := cfg.Broker(); again.Host != "broker.lan:1883" {
		t.Errorf("Broker after a change of its result: got %s, want broker.lan:1883", again.Host)
	}
}

func TestCAFileNeedsTLSAndACertificate(t *testing.T) {
	const name = "GATEWAY_MQTT_CA_FILE"
	ca := writeFile(t, "ca.pem", testCA, 0o644)
	for _, u := range []string{"mqtts://broker.lan", "wss://broker.lan"} {
		mustLoad(t, env{"GATEWAY_MQTT_URL": u, name: ca})
	}
	ini := writeFile(t, "settings.ini", "[system]\nip_address=10.0.0.1\n", 0o644)
	wantRefused(t, []refused{
		{"mqtt", env{"GATEWAY_MQTT_URL": brokerURL, name: ca}, []string{name, "mqtts://"}},
		{"ws", env{"GATEWAY_MQTT_URL": "ws://broker.lan", name: ca}, []string{name, "wss://"}},
		{"settings file", env{"GATEWAY_SETTINGS_FILE": ini, name: ca}, []string{name, "mqtts://"}},
		{"embedded broker", env{name: ca}, []string{name, "GATEWAY_MQTT_URL"}},
		{"missing", env{"GATEWAY_MQTT_URL": "mqtts://b", name: "/nonexistent/ca"}, []string{name, "no such file"}},
		{"no PEM", env{"GATEWAY_MQTT_URL": "mqtts://b", name: ini}, []string{name, "PEM"}},
	})
}

func FuzzBrokerURL(f *testing.F) {
	for _, seed := range []string{"mqtt://h", "wss://[::1]:8/p%20q", "mqtts://a.b:8883/", "ws://u:p@h", "mqtt://::1", "ws://h/%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseBrokerURL(raw)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("error: got %q, want one line", err)
			}
			return
		}
		if u.User != nil || u.RawQuery != "" || u.Port() == "" || u.Hostname() == "" {
			t.Errorf("%q: got %q, want a host, a port, no user and no query", raw, u)
		}
		again, err := parseBrokerURL(u.String())
		if err != nil || again.String() != u.String() {
			t.Errorf("%q parsed again: got %v, %v, want %q", raw, again, err, u)
		}
	})
}
