package settings

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"
)

const plain = "[system]\nip_address = 192.168.1.10\nmqtt_port = 1883\n"

func TestFileNamesTheBroker(t *testing.T) {
	for _, tc := range []struct{ name, content, want string }{
		{"plain", plain, "192.168.1.10:1883"},
		{"other port", "[system]\nip_address=192.168.1.10\nmqtt_port=1884", "192.168.1.10:1884"},
		{"no port", "[system]\nip_address=192.168.1.10\n", "192.168.1.10:1883"},
		{"BOM", "\xef\xbb\xbf" + plain, "192.168.1.10:1883"},
		{"CRLF", strings.ReplaceAll(plain, "\n", "\r\n"), "192.168.1.10:1883"},
		{"comments", "; a\n# b\n[system] ; c\n  # d\nip_address = 10.0.0.1 ; e\nmqtt_port = 1 # f\n", "10.0.0.1:1"},
		{"double quotes", "[system]\nip_address = \"10.0.0.1\"\nmqtt_port = \"1883\"\n", "10.0.0.1:1883"},
		{"single quotes", "[system]\nip_address = '10.0.0.1'\nmqtt_port='1883'\n", "10.0.0.1:1883"},
		{"colons", "[system]\nip_address: fd00::1\nmqtt_port: 1883\n", "[fd00::1]:1883"},
		{"IPv6", "[system]\nip_address = fd00::1\n", "[fd00::1]:1883"},
		{"host name", "[system]\nip_address = Broker.lan\n", "broker.lan:1883"},
		{"keys in capitals", "[system]\nIP_Address = 10.0.0.1\nMQTT_PORT = 7\n", "10.0.0.1:7"},
		{"indented", "[system]\n\tip_address = 10.0.0.1\n\tmqtt_port = 7\n", "10.0.0.1:7"},
		{"other keys", "[system]\nname = a = b\nip_address = 10.0.0.1\ndebug =\n", "10.0.0.1:1883"},
		{"other sections", "ip_address = 1.1.1.1\n[db]\nhost\nx=1\nx=1\nip_address=2.2.2.2\n[db]\n" + plain + "[log]\nmqtt_port = 9\n", "192.168.1.10:1883"},
		{"other case beside", "[System]\nip_address = 1.1.1.1\n" + plain + "[SYSTEM]\nmqtt_port = 9\n", "192.168.1.10:1883"},
	} {
		f, err := Parse([]byte(tc.content))
		if got := f.HostPort(); err != nil || got != tc.want {
			t.Errorf("%s: got %s, %v, want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestFileHoldsTheLogin(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          File
	}{
		{"none", plain, File{Address: "192.168.1.10", Port: 1883}},
		{"all", plain + "username = pi-3\npassword = hunter2\nmqtt_tls = true\n", File{"192.168.1.10", 1883, "pi-3", "hunter2", true, ""}},
		{"auto", "[system]\nip_address = Auto\n", File{Address: Auto}},
		{"auto with a port", "[system]\nip_address = auto\nmqtt_port = 1884\n", File{Address: Auto, Port: 1884}},
		{"no TLS", "[system]\nip_address=auto\nmqtt_tls=Off ; yet\n", File{Address: Auto}},
		{"a password that looks like a comment", plain + "password = #a ;b #c\t\nusername = # d\n", File{"192.168.1.10", 1883, "# d", "#a ;b #c", false, ""}},
		{"a password with delimiters", plain + "password:a=b:c\n", File{"192.168.1.10", 1883, "", "a=b:c", false, ""}},
		{"quotes keep spaces", plain + "password = ' a \"b\" '\n", File{"192.168.1.10", 1883, "", " a \"b\" ", false, ""}},
		{"TLS has its own port", "[system]\nip_address = 10.0.0.1\nmqtt_tls = yes\nmqtt_ca_file = ca.pem\n", File{"10.0.0.1", 8883, "", "", true, "ca.pem"}},
		{"empty", plain + "username =\npassword =\n", File{Address: "192.168.1.10", Port: 1883}},
	} {
		got, err := Parse([]byte(tc.content))
		if err != nil || got != tc.want {
			t.Errorf("%s: got %+v, %v, want %+v", tc.name, got, err, tc.want)
		}
	}
	for content, want := range map[string]bool{"1": true, "YES": true, "on": true, "0": false, "no": false, "false": false} {
		f, err := Parse([]byte(plain + "mqtt_tls = " + content + "\n"))
		if err != nil || f.TLS != want {
			t.Errorf("mqtt_tls = %s: got %v, %v, want %v", content, f.TLS, err, want)
		}
	}
}

func TestBadFileIsRefused(t *testing.T) {
	units := utf16.Encode([]rune("\ufeff" + plain))
	var little, big, noBOM strings.Builder
	for i, u := range units {
		little.Write([]byte{byte(u), byte(u >> 8)})
		big.Write([]byte{byte(u >> 8), byte(u)})
		if i > 0 {
			noBOM.Write([]byte{byte(u), byte(u >> 8)})
		}
	}
	for _, tc := range []struct{ rule, content, want string }{
		{"empty", "", "has no section [system]; add it with ip_address and mqtt_port"},
		{"no section", "ip_address = 10.0.0.1\n", "has no section [system]"},
		{"other case", "\n[System]\nip_address = 10.0.0.1\n[SYSTEM]\n", "line 2: [System] is not [system]: section names are case-sensitive; write [system]"},
		{"commented section", "# [system]\nip_address = 10.0.0.1\n", "has no section [system]"},
		{"section twice", plain + "[db]\n[system]\n", "line 5: section [system] appears twice"},
		{"section without end", "[system\nip_address = 10.0.0.1\n", "line 1: the section has no closing bracket"},
		{"no address", "[system]\nmqtt_port = 1883\n", "section [system] has no ip_address; add for example ip_address = 192.168.1.10"},
		{"address in another section", "[system]\n[db]\nip_address = 10.0.0.1\n", "has no ip_address"},
		{"address twice", "[system]\nip_address = 10.0.0.1\nip_address = 10.0.0.1\n", `line 3: key "ip_address" appears twice`},
		{"address twice in other case", "[system]\nip_address = 10.0.0.1\nIP_ADDRESS = 10.0.0.2\n", `key "ip_address" appears twice`},
		{"port twice", plain + "mqtt_port = 1\n", `line 4: key "mqtt_port" appears twice`},
		{"other key twice", "[system]\npassword = hunter2\npassword = hunter2\n", `key "password" appears twice`},
		{"no delimiter", "[system]\nhunter2\n", "line 2: is not of the form key = value"},
		{"no key", "[system]\n= hunter2\n", "line 2: is not of the form key = value"},
		{"empty address", "[system]\nip_address =\n", `ip_address = ""`},
		{"empty port", "[system]\nip_address = 10.0.0.1\nmqtt_port =\n", `mqtt_port = ""`},
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
		{"port with a sign", "[system]\nip_address = 10.0.0.1\nmqtt_port = +1\n", "mqtt_port"},
		{"TLS", plain + "mqtt_tls = maybe\n", `mqtt_tls = "maybe": write true or false`},
		{"UTF-16 little", little.String(), "UTF-16"},
		{"UTF-16 big", big.String(), "UTF-16"},
		{"UTF-16 without BOM", noBOM.String(), "UTF-16"},
	} {
		f, err := Parse([]byte(tc.content))
		wantRefused(t, tc.rule, f, err, tc.want)
	}
}

// A misspelt key would silently mean a default.
func TestMisspeltKeyIsRefused(t *testing.T) {
	for key, want := range map[string]string{
		"mqtt_prot": KeyPort, "mqtt_prt": KeyPort, "mqttport": KeyPort, "MQTT-Port": KeyPort, "mqtt_ports": KeyPort,
		"ip_adress": KeyAddress, "ip_adresse": KeyAddress, "ipaddress": KeyAddress, "ip address": KeyAddress, "ip_addr_ess": KeyAddress,
		"user_name": KeyUsername, "usernam": KeyUsername, "pasword": KeyPassword, "mqtt_tsl": KeyTLS,
	} {
		content := "[system]\nx = 1\n" + key + " = hunter2\n"
		if want != KeyAddress {
			content += "ip_address = 10.0.0.1\n"
		}
		f, err := Parse([]byte(content))
		wantRefused(t, key, f, err, `line 3: unknown key "`+strings.ToLower(key)+`"; did you mean `+want+`?`)
	}
	both := "[system]\nmqtt_prot = 1\nip_adress = 10.0.0.1\n"
	f, err := Parse([]byte(both))
	wantRefused(t, "the first of two", f, err, `line 2: unknown key "mqtt_prot"`)
}

func TestForeignKeysAreIgnored(t *testing.T) {
	for _, key := range []string{
		"mqtt_host", "mqtt_qos", "mqtt_ws", "mqtt_user", "mqtt_topic", "mqtt", "port", "ip", "tls", "user", "pass", "host", "name", "address", "debug", "ip_range", "username_file",
		"mqtt_port2", "ip_address_2", // beside the key itself they are no misspelling
		strings.Repeat("mqtt_port", 1000),
	} {
		f, err := Parse([]byte(plain + key + " = x\n"))
		if err != nil || f.HostPort() != "192.168.1.10:1883" {
			t.Errorf("%.20s: got %s, %v, want it ignored", key, f.HostPort(), err)
		}
	}
}

func TestReadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("settings.ini", plain)
	if f, err := Read(good); err != nil || f != (File{Address: "192.168.1.10", Port: 1883}) {
		t.Errorf("got %+v, %v, want 192.168.1.10:1883", f, err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.ini"): "none.ini\": no such file or directory",
		dir:                            "is a directory",
		write("bad.ini", "[db]\n"):     "bad.ini\": has no section [system]",
		write("large.ini", plain+strings.Repeat(";\n", 1e6)): "is it the right file?",
	} {
		f, err := Read(path)
		wantRefused(t, path, f, err, want)
		if err != nil && strings.Count(err.Error(), path) != 1 {
			t.Errorf("got %q, want the path in it once", err)
		}
	}
}

// wantRefused also holds every error to the rules that all of them follow.
func wantRefused(t *testing.T, rule string, f File, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: got no error, want one with %q", rule, want)
		return
	}
	text := err.Error()
	if !strings.Contains(text, want) {
		t.Errorf("%s: got %q, want %q in it", rule, text, want)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) || strings.Contains(text, "hunter2") {
		t.Errorf("%s: got %q, want one line without a secret", rule, text)
	}
	if !reflect.ValueOf(f).IsZero() {
		t.Errorf("%s: got %+v beside the error", rule, f)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte("\xef\xbb\xbf; c\r\n[a]\r\nx\r\n[system]\r\nIP_ADDRESS : \"fd00::1\" # d\r\nmqtt_port='7'\r\n"))
	f.Add([]byte("[system]\nip_address = a b\n[system\n=\n"))
	f.Add([]byte("[System]\nmqtt_prot = auto\npassword = 'x' #\n"))
	f.Add([]byte("\xff\xfe[\x00s\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("error: got %q, want one line", err)
			}
			return
		}
		// What the file yields must read back as itself.
		host, port, _ := strings.Cut(strings.Trim(file.HostPort(), "["), "]")
		if port == "" {
			host, port, _ = strings.Cut(host, ":")
		}
		again, err := Parse([]byte("[system]\nip_address = " + host + "\nmqtt_port = " + strings.TrimPrefix(port, ":")))
		if err != nil || again.HostPort() != file.HostPort() {
			t.Errorf("read back: got %s, %v, want %s", again.HostPort(), err, file.HostPort())
		}
	})
}
