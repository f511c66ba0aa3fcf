package config

import "testing"

func TestAllowedHostIsAHostName(t *testing.T) {
	var cases []refused
	for _, c := range []struct{ rule, host, want string }{
		{"scheme", "https://gateway.example", "without scheme"},
		{"path", "gateway.example/x", "without scheme and path"},
		{"any", "*", "patterns"},
		{"pattern", "*.example", "patterns"},
		{"user", "u@gateway.example", "without scheme"},
		{"port hex", "gateway.example:0x50", "in decimal"},
		{"port 0", "gateway.example:0", "port 0"},
		{"IPv6 without brackets", "fd00::1", "needs brackets"},
		{"space", "gateway example", "neither"},
		{"trailing dot", "gateway.example.", "neither"},
		{"second of two", "a.example,b_.:1:1", "brackets"},
	} {
		cases = append(cases, refused{c.rule, env{"GATEWAY_ALLOWED_HOSTS": c.host}, []string{"GATEWAY_ALLOWED_HOSTS", c.want}})
	}
	wantRefused(t, cases)
}

func TestAllowedOriginIsWhatABrowserSends(t *testing.T) {
	var cases []refused
	for _, c := range []struct{ rule, origin, want string }{
		{"any", "*", "patterns"},
		{"any of a scheme", "https://*", "patterns"},
		{"pattern", "https://*.example", "patterns"},
		{"path", "https://app.example/admin", "without path"},
		{"trailing slash", "https://app.example/", "without path or slash"},
		{"query", "https://app.example?x", "without path"},
		{"user", "https://u@app.example", "without path"},
		{"no scheme", "app.example", "must have a scheme"},
		{"no scheme before the slashes", "://app.example", "must have a scheme"},
		{"not a scheme", "app_1://app.example", "must have a scheme"},
		{"null", "null", "must have a scheme"},
		{"no host", "https://", "neither"},
		{"default port", "https://app.example:443", "default port"},
		{"default port of http", "http://app.example:80", "default port"},
		{"bad port", "https://app.example:0443", "leading zero"},
		{"second of two", "https://a.example,https://b.example/", "without path"},
	} {
		cases = append(cases, refused{c.rule, env{"GATEWAY_ALLOWED_ORIGINS": c.origin}, []string{"GATEWAY_ALLOWED_ORIGINS", c.want}})
	}
	wantRefused(t, cases)
}

// Apps and extensions are web pages, too, with schemes of their own.
func TestAllowedOriginMayHaveAnyScheme(t *testing.T) {
	for _, origin := range []string{"capacitor://localhost", "ionic://localhost", "tauri://localhost", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "moz-extension://9f8a4c3e-1b2d-4e5f-8a9b-0c1d2e3f4a5b", "app+x://a.example:81", "app://-", "app://obsidian.md", "vscode-webview://1a2b3c"} {
		if got, err := cleanOrigin(origin); got != origin || err != nil {
			t.Errorf("got %q %v, want %q", got, err, origin)
		}
	}
}

func TestTrustedProxyIsANetwork(t *testing.T) {
	var cases []refused
	for _, c := range []struct{ rule, cidr, want string }{
		{"address", "10.0.0.1", "write 10.0.0.1/32"},
		{"IPv6 address", "fd00::1", "write fd00::1/128"},
		{"host bits", "10.1.2.3/8", "write 10.0.0.0/8"},
		{"prefix too long", "10.0.0.0/33", "not a network"},
		{"leading zero", "10.0.0.0/08", "not a network"},
		{"name", "proxy.lan", "not a network"},
		{"any", "*", "not a network"},
		{"zone", "fe80::1%eth0/64", "not a network"},
	} {
		cases = append(cases, refused{c.rule, env{"GATEWAY_TRUSTED_PROXIES": c.cidr}, []string{"GATEWAY_TRUSTED_PROXIES", c.want}})
	}
	wantRefused(t, cases)
}

func TestBasePathIsAPath(t *testing.T) {
	var cases []refused
	for _, path := range []string{"/", "mqtt", "/mqtt/", "/a//b", "/a/../b", "/.", "/a b", "/a%2Fb", "/a?b", "https://a.example/b", "/\u00e9"} {
		cases = append(cases, refused{path, env{"GATEWAY_BASE_PATH": path}, []string{"GATEWAY_BASE_PATH", "such as /mqtt"}})
	}
	wantRefused(t, cases)
	if cfg, _ := mustLoad(t, env{"GATEWAY_BASE_PATH": "/a/b.c"}); cfg.BasePath != "/a/b.c" {
		t.Errorf("got %q, want /a/b.c", cfg.BasePath)
	}
}
