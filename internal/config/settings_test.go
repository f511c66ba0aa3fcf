package config

import (
	"net"
	"strings"
	"testing"
	"unicode/utf16"
)

const plainSettings = "[system]\nip_address = 192.168.1.10\nmqtt_port = 1883\n"

func TestSettingsFileNamesTheBroker(t *testing.T) {
	for _, tc := range []struct{ name, content, want string }{
		{"plain", plainSettings, "192.168.1.10:1883"},
		{"other port", "[system]\nip_address=192.168.1.10\nmqtt_port=1884", "192.168.1.10:1884"},
		{"no port", "[system]\nip_address=192.168.1.10\n", "192.168.1.10:1883"},
		{"BOM", "\xef\xbb\xbf" + plainSettings, "192.168.1.10:1883"},
		{"CRLF", strings.ReplaceAll(plainSettings, "\n", "\r\n"), "192.168.1.10:1883"},
		{"comments", "; a\n# b\n[system] ; c\n  # d\nip_address = 10.0.0.1 ; e\nmqtt_port = 1 # f\n", "10.0.0.1:1"},
		{"double quotes", "[system]\nip_address = \"10.0.0.1\"\nmqtt_port = \"1883\"\n", "10.0.0.1:1883"},
		{"single quotes", "[system]\nip_address = '10.0.0.1'\nmqtt_port='1883'\n", "10.0.0.1:1883"},
		{"colons", "[system]\nip_address: fd00::1\nmqtt_port: 1883\n", "[fd00::1]:1883"},
		{"IPv6", "[system]\nip_address = fd00::1\n", "[fd00::1]:1883"},
		{"host name", "[system]\nip_address = Broker.lan\n", "broker.lan:1883"},
		{"keys in capitals", "[system]\nIP_Address = 10.0.0.1\nMQTT_PORT = 7\n", "10.0.0.1:7"},
		{"indented", "[system]\n\tip_address = 10.0.0.1\n\tmqtt_port = 7\n", "10.0.0.1:7"},
		{"other keys", "[system]\nname = a = b\nip_address = 10.0.0.1\ndebug =\n", "10.0.0.1:1883"},
		{"other sections", "ip_address = 1.1.1.1\n[db]\nhost\nx=1\nx=1\nip_address=2.2.2.2\n[db]\n" + plainSettings + "[log]\nmqtt_port = 9\n", "192.168.1.10:1883"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, notices := mustLoad(t, env{"GATEWAY_SETTINGS_FILE": writeFile(t, "settings.ini", tc.content, 0o644)})
			u, embedded := cfg.Broker()
			if got, want := u.String(), "mqtt://"+tc.want; got != want || embedded {
				t.Errorf("Broker: got %s, %v, want %s, false", got, embedded, want)
			}
			if len(notices) != 0 {
				t.Errorf("notices: got %q, want none", notices)
			}
		})
	}
}

func TestBadSettingsFileIsRefused(t *testing.T) {
	units := utf16.Encode([]rune("\ufeff" + plainSettings))
	var little, big, noBOM strings.Builder
	for i, u := range units {
		little.Write([]byte{byte(u), byte(u >> 8)})
		big.Write([]byte{byte(u >> 8), byte(u)})
		if i > 0 {
			noBOM.Write([]byte{byte(u), byte(u >> 8)})
		}
	}
	var cases []refused
	for _, c := range []struct{ rule, content, want string }{
		{"empty", "", "has no section [system]"},
		{"no section", "ip_address = 10.0.0.1\n", "has no section [system]"},
		{"other case", "[System]\nip_address = 10.0.0.1\n", "has no section [system]"},
		{"commented section", "# [system]\nip_address = 10.0.0.1\n", "has no section [system]"},
		{"section twice", plainSettings + "[db]\n[system]\n", "line 5: section [system] appears twice"},
		{"section without end", "[system\nip_address = 10.0.0.1\n", "line 1: the section has no closing bracket"},
		{"no address", "[system]\nmqtt_port = 1883\n", "has no ip_address"},
		{"address in another section", "[system]\n[db]\nip_address = 10.0.0.1\n", "has no ip_address"},
		{"address twice", "[system]\nip_address = 10.0.0.1\nip_address = 10.0.0.1\n", `line 3: key "ip_address" appears twice`},
		{"address twice in other case", "[system]\nip_address = 10.0.0.1\nIP_ADDRESS = 10.0.0.2\n", `key "ip_address" appears twice`},
		{"port twice", plainSettings + "mqtt_port = 1\n", `line 4: key "mqtt_port" appears twice`},
		{"other key twice", "[system]\npassword = hunter2\npassword = hunter2\n", `key "password" appears twice`},
		{"no delimiter", "[system]\nhunter2\n", "line 2: is not of the form key = value"},
		{"no key", "[system]\n= hunter2\n", "line 2: is not of the form key = value"},
		{"empty address", "[system]\nip_address =\n", "ip_address"},
		{"empty port", "[system]\nip_address = 10.0.0.1\nmqtt_port =\n", "mqtt_port"},
		{"listen address", "[system]\nip_address = 0.0.0.0\n", "an address to listen on"},
		{"listen address IPv6", "[system]\nip_address = ::\n", "an address to listen on"},
		{"not an address", "[system]\nip_address = 999.1.1.1\n", `ip_address = "999.1.1.1"`},
		{"template left in", "[system]\nip_address = <your_ip_address>\n", "neither an IP address nor a host name"},
		{"zone", "[system]\nip_address = fe80::1%eth0\n", "zone"},
		{"URL", "[system]\nip_address = mqtt://10.0.0.1\n", "ip_address"},
		{"address with port", "[system]\nip_address = 10.0.0.1:1883\n", "ip_address"},
		{"port 0", "[system]\nip_address = 10.0.0.1\nmqtt_port = 0\n", `mqtt_port = "0"`},
		{"port 65536", "[system]\nip_address = 10.0.0.1\nmqtt_port = 65536\n", `mqtt_port = "65536"`},
		{"port hex", "[system]\nip_address = 10.0.0.1\nmqtt_port = 0x75b\n", "in decimal"},
		{"port leading zero", "[system]\nip_address = 10.0.0.1\nmqtt_port = 01883\n", "leading zero"},
		{"port negative", "[system]\nip_address = 10.0.0.1\nmqtt_port = -1\n", "mqtt_port"},
		{"UTF-16 little", little.String(), "UTF-16"},
		{"UTF-16 big", big.String(), "UTF-16"},
		{"UTF-16 without BOM", noBOM.String(), "UTF-16"},
	} {
		path := writeFile(t, "settings.ini", c.content, 0o644)
		cases = append(cases, refused{c.rule, env{"GATEWAY_SETTINGS_FILE": path}, []string{"GATEWAY_SETTINGS_FILE", "settings.ini", c.want}})
	}
	cases = append(cases, refused{"missing", env{"GATEWAY_SETTINGS_FILE": "/nonexistent/settings.ini"}, []string{"GATEWAY_SETTINGS_FILE", "no such file"}})
	wantRefused(t, cases)
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

func FuzzSettings(f *testing.F) {
	f.Add([]byte(plainSettings))
	f.Add([]byte("\xef\xbb\xbf; c\r\n[a]\r\nx\r\n[system]\r\nIP_ADDRESS : \"fd00::1\" # d\r\nmqtt_port='7'\r\n"))
	f.Add([]byte("[system]\nip_address = a b\n[system\n=\n"))
	f.Add([]byte("\xff\xfe[\x00s\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		hostPort, err := parseSettings(data)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("error: got %q, want one line", err)
			}
			return
		}
		host, port, err := net.SplitHostPort(hostPort)
		if err != nil {
			t.Fatalf("result: got %q, want host:port", hostPort)
		}
		// What the file yields must read back as itself.
		again, err := parseSettings([]byte("[system]\nip_address = " + host + "\nmqtt_port = " + port))
		if err != nil || again != hostPort {
			t.Errorf("read back: got %q, %v, want %q", again, err, hostPort)
		}
	})
}
