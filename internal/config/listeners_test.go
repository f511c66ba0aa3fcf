package config

import (
	"strings"
	"testing"
)

func TestListenerAddressIsHostAndPort(t *testing.T) {
	var cases []refused
	for _, name := range []string{"GATEWAY_HTTP_ADDR", "GATEWAY_ADMIN_ADDR", "GATEWAY_EMBEDDED_ADDR"} {
		for _, c := range []struct{ rule, addr, want string }{
			{"no port", "127.0.0.1", "has no port"},
			{"only a port", "8080", `"8080" is a port without a host; write 127.0.0.1:8080`},
			{"empty port", "127.0.0.1:", "the port must be"},
			{"port 65536", "127.0.0.1:65536", "65535"},
			{"port hex", "127.0.0.1:0x75b", "in decimal"},
			{"port leading zero", "127.0.0.1:08080", "leading zero"},
			{"port double zero", "127.0.0.1:00", "leading zero"},
			{"port negative", "127.0.0.1:-1", "the port must be"},
			{"port with space", "127.0.0.1:8080 ", "the port must be"},
			{"port name", "127.0.0.1:http", "the port must be"},
			{"URL", "http://127.0.0.1:8080", "write 127.0.0.1:8080, without http://"},
			{"URL with a slash", "https://127.0.0.1:8080/", "write 127.0.0.1:8080, without https://"},
			{"URL without port", "http://localhost", "without http://"},
			{"IPv6 without brackets", "::1:8080", "needs brackets"},
			{"bad address", "999.1.1.1:8080", "neither"},
			{"space in host", "my host:8080", "neither"},
		} {
			cases = append(cases, refused{name + " " + c.rule, env{name: c.addr}, []string{name, c.want}})
		}
	}
	wantRefused(t, cases)
}

func TestPortZeroMayRepeat(t *testing.T) {
	mustLoad(t, env{
		"GATEWAY_HTTP_ADDR":     "127.0.0.1:0",
		"GATEWAY_ADMIN_ADDR":    "127.0.0.1:0",
		"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0",
	})
}

func TestListenersDoNotShareAnAddress(t *testing.T) {
	with := func(public, admin string) env {
		return env{"GATEWAY_HTTP_ADDR": public, "GATEWAY_ADMIN_ADDR": admin, "GATEWAY_ALLOW_ANONYMOUS": "true"}
	}
	want := []string{"GATEWAY_ADMIN_ADDR", "GATEWAY_HTTP_ADDR", "another port"}
	wantRefused(t, []refused{
		{"same", with("127.0.0.1:9000", "127.0.0.1:9000"), want},
		{"localhost", with("localhost:9000", "127.0.0.1:9000"), want},
		{"same name", with("gw.lan:9000", "GW.lan:9000"), want},
		{"all and one", with(":9000", "127.0.0.1:9000"), want},
		{"one and all", with("192.168.1.5:9000", "0.0.0.0:9000"), want},
		{"all IPv6", with("[::]:9000", "127.0.0.1:9000"), want},
		{"embedded", env{"GATEWAY_HTTP_ADDR": "127.0.0.1:1883"}, []string{"GATEWAY_EMBEDDED_ADDR", "GATEWAY_HTTP_ADDR", "another port"}},
	})
	mustLoad(t, with("127.0.0.1:9000", "192.168.1.5:9000"))
	mustLoad(t, with("127.0.0.1:9000", "[::1]:9000"))
	mustLoad(t, env{"GATEWAY_HTTP_ADDR": "127.0.0.1:1883", "GATEWAY_MQTT_URL": brokerURL}) // no embedded broker then
}

func TestAnonymousAccessBeyondLoopbackMustBeAskedFor(t *testing.T) {
	open := []string{":8080", "0.0.0.0:8080", "[::]:8080", "192.168.1.5:8080", "gateway.lan:8080", "[fe80::1%eth0]:8080", "[::ffff:192.168.1.5]:8080", ":0"}
	var cases []refused
	for _, addr := range open {
		for _, allow := range []env{{}, {"GATEWAY_ALLOW_ANONYMOUS": "false"}} {
			allow["GATEWAY_HTTP_ADDR"] = addr
			cases = append(cases, refused{addr, allow, []string{"GATEWAY_HTTP_ADDR", "GATEWAY_AUTH", "GATEWAY_ALLOW_ANONYMOUS=true", addr}})
		}
		addr = strings.Replace(addr, "8080", "1883", 1)
		cases = append(cases, refused{"embedded " + addr, env{"GATEWAY_EMBEDDED_ADDR": addr}, []string{"GATEWAY_EMBEDDED_ADDR", "GATEWAY_ALLOW_ANONYMOUS=true", addr}})
	}
	wantRefused(t, cases)
	for _, addr := range open {
		mustLoad(t, env{"GATEWAY_HTTP_ADDR": addr, "GATEWAY_ALLOW_ANONYMOUS": "true"})
	}
	for _, addr := range []string{"localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"} {
		mustLoad(t, env{"GATEWAY_HTTP_ADDR": addr})
	}
}

func TestProfilesBeyondLoopbackAreNoticed(t *testing.T) {
	_, notices := mustLoad(t, env{"GATEWAY_PPROF": "true", "GATEWAY_ADMIN_ADDR": ":8081"})
	if len(notices) != 1 || !strings.Contains(notices[0], "GATEWAY_PPROF") {
		t.Errorf("notices: got %q, want one about GATEWAY_PPROF", notices)
	}
	if _, notices = mustLoad(t, env{"GATEWAY_PPROF": "true"}); len(notices) != 0 {
		t.Errorf("notices on loopback: got %q, want none", notices)
	}
}

func TestAnnouncingNothingIsNoticed(t *testing.T) {
	for _, tc := range []struct {
		env  env
		want int // notices
	}{
		{env{"GATEWAY_MDNS": "true"}, 1},
		{env{"GATEWAY_MDNS": "true", "GATEWAY_MQTT_URL": "mqtt://10.0.0.1", "GATEWAY_EMBEDDED_ADDR": "127.0.0.1:1"}, 1},
		{env{"GATEWAY_MDNS": "true", "GATEWAY_HTTP_ADDR": "192.168.1.10:8080", "GATEWAY_ALLOW_ANONYMOUS": "true"}, 0},
		{env{"GATEWAY_MDNS": "true", "GATEWAY_EMBEDDED_ADDR": "0.0.0.0:1883", "GATEWAY_ALLOW_ANONYMOUS": "true"}, 0},
		{env{"GATEWAY_MDNS": "false"}, 0},
	} {
		_, notices := mustLoad(t, tc.env)
		if len(notices) != tc.want || tc.want > 0 && !strings.Contains(notices[0], "GATEWAY_MDNS: nothing is announced") {
			t.Errorf("%v: got notices %q, want %d", tc.env, notices, tc.want)
		}
	}
}
