package test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/brokertest"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	unreachable := launch(t, map[string]string{"GATEWAY_MQTT_URL": "mqtt://127.0.0.1:1"}, "check")
	_, g := launchReady(t, map[string]string{"GATEWAY_MQTT_URL": broker.URL()})
	env := map[string]string{"GATEWAY_MQTT_URL": broker.URL(), "GATEWAY_ADMIN_ADDR": strings.TrimPrefix(g.admin, "http://")}
	for _, tt := range []struct {
		args           string
		env            map[string]string
		status         int
		stdout, stderr string // parts of it; an empty one means that there is none
	}{
		{"-h", nil, 0, "GATEWAY_MQTT_URL", ""},
		{"--help", nil, 0, "Subcommands:", ""},
		{"help", nil, 0, "GATEWAY_MQTT_URL", ""},
		{"version", nil, 0, "gateway dev go1.", ""},
		{"--version", nil, 0, "gateway dev go1.", ""},
		{"-v", nil, 0, "gateway dev go1.", ""},
		{"check -h", nil, 0, "Usage: gateway check\n\nCheck the configuration", ""},
		{"key new -h", nil, 0, "-expires", ""},
		{"key new a --expires 2020-01-01T00:00:00Z", nil, 2, "", "in the past"},
		{"key new a --expires 213504d", nil, 2, "", "90d"}, // in nanoseconds beyond an int64, by 25 minutes
		{"version -h", nil, 0, "Usage: gateway version\n", ""},
		{"version now", nil, 2, "", `"now"`},
		{"lan --writ", nil, 2, "", "gateway lan -h lists the flags"},
		{"check", env, 0, "publishing and subscribing work", ""},
		{"check", map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0"}, 0, "built-in", ""},
		{"check", map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0", "GATEWAY_EMBEDDED_DIR": t.TempDir() + "/new"}, 0, "/new", ""},
		{"check", map[string]string{"GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0", "GATEWAY_EMBEDDED_DIR": "/dev/null/x"}, 1, "ok", "GATEWAY_EMBEDDED_DIR: cannot write"},
		{"health", env, 0, `"status":"ready"`, ""},
		{"health", map[string]string{"GATEWAY_ADMIN_ADDR": "127.0.0.1:1"}, 1, "", "does not answer"},
		{"srve", nil, 2, "", `no subcommand "srve"`},
		{"serve now", nil, 2, "", `"now"`},
		{"-x", nil, 2, "", "-x"},
		{"broker -addr 0.0.0.0:0", nil, 1, "", "loopback"},
		{"broker --lan --addr nowhere", nil, 2, "", "no IP address"},
		{"lan --write", nil, 2, "", "-write"},
		{"lan now", nil, 2, "", `"now"`},
		{"check", map[string]string{"GATEWAY_MQTT_POOL": "x"}, 2, "", "GATEWAY_MQTT_POOL"},
		{"health", map[string]string{"GATEWAY_NONE": "x"}, 2, "", "GATEWAY_NONE"},
		{"check", map[string]string{"GATEWAY_AUTH": "keys", "GATEWAY_ACCESS_FILE": "nowhere"}, 2, "", "GATEWAY_ACCESS_FILE"},
		{"check", map[string]string{"GATEWAY_TLS_CERT_FILE": "nowhere", "GATEWAY_TLS_KEY_FILE": "nowhere"}, 2, "", "GATEWAY_TLS_CERT_FILE"},
		{"check", map[string]string{"GATEWAY_MQTT_URL": "mqtts://127.0.0.1:1", "GATEWAY_MQTT_CA_FILE": "nowhere"}, 2, "", "GATEWAY_MQTT_CA_FILE"},
		{"check", map[string]string{"GATEWAY_AUDIT_LOG": "nowhere/audit.log"}, 2, "", "GATEWAY_AUDIT_LOG"},
		{"check", map[string]string{"GATEWAY_AUDIT_LOG": "."}, 2, "", "GATEWAY_AUDIT_LOG"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			p := launch(t, tt.env, strings.Fields(tt.args)...)
			if got := p.exit(); got != tt.status {
				t.Errorf("exit status: got %d, want %d", got, tt.status)
			}
			check := func(name, got, want string) {
				if want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("%s: got %q, want %q in it", name, got, want)
				}
			}
			check("standard output", p.stdout.String(), tt.stdout)
			check("standard error", p.stderr.String(), tt.stderr)
		})
	}
	if got := unreachable.exit(); got != 1 {
		t.Errorf("check without a broker: got exit status %d, want 1", got)
	}
	if got := unreachable.stderr.String(); !strings.Contains(got, "connection refused") {
		t.Errorf("check without a broker: got %q, want the reason", got)
	}
}

// A configuration that cannot work ends the start with one line that names the
// variable and never its value.
func TestBadConfigurationEndsTheStart(t *testing.T) {
	t.Parallel()
	const canary = "hunter2canary"
	for name, env := range map[string]map[string]string{
		"GATEWAY_MQTT_URI":             {"GATEWAY_MQTT_URI": canary},
		"GATEWAY_MQTT_URL":             {"GATEWAY_MQTT_URL": "mqtt://user:" + canary + "@127.0.0.1"},
		"GATEWAY_MQTT_URL: is set but": {"GATEWAY_MQTT_URL": ""},
		"GATEWAY_MQTT_PASSWORD":        {"GATEWAY_MQTT_PASSWORD": canary},
		"GATEWAY_MQTT_PASSWORD: is":    {"GATEWAY_MQTT_USERNAME": "u", "GATEWAY_MQTT_PASSWORD": ""},
		"GATEWAY_MQTT_PASSWORD_FILE":   {"GATEWAY_MQTT_USERNAME": "u", "GATEWAY_MQTT_PASSWORD": canary, "GATEWAY_MQTT_PASSWORD_FILE": "/dev/null"},
		"GATEWAY_ALLOW_ANONYMOUS":      {"GATEWAY_HTTP_ADDR": "0.0.0.0:8080"},
		"GATEWAY_WATCH":                {"GATEWAY_WATCH": "a+"},
		"GATEWAY_PUBLISH_TIMEOUT":      {"GATEWAY_PUBLISH_TIMEOUT": "5"},
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, env)
			if got := p.exit(); got != 2 {
				t.Errorf("exit status: got %d, want 2", got)
			}
			got := p.stderr.String()
			if strings.Count(got, "\n") != 1 || !strings.Contains(got, name) {
				t.Errorf("standard error: got %q, want one line with %s", got, name)
			}
			if strings.Contains(got, canary) || p.stdout.String() != "" {
				t.Errorf("got %q and %q, want no value and nothing on standard output", got, p.stdout)
			}
		})
	}
}

// An address that somebody else has ends the start, and the message says what
// to change.
func TestTakenAddressEndsTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		variable string
		want     []string
	}{
		{"GATEWAY_HTTP_ADDR", []string{"GATEWAY_HTTP_ADDR", "taken by another program", "choose another address"}},
		{"GATEWAY_ADMIN_ADDR", []string{"GATEWAY_ADMIN_ADDR", "taken by another program", "choose another address"}},
		{"GATEWAY_EMBEDDED_ADDR", []string{"GATEWAY_EMBEDDED_ADDR", "GATEWAY_MQTT_URL", "taken"}},
	} {
		env := map[string]string{"GATEWAY_HTTP_ADDR": "127.0.0.1:0", "GATEWAY_ADMIN_ADDR": "127.0.0.1:0", "GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0"}
		env[tt.variable] = taken.Addr().String()
		p := launch(t, env)
		if got := p.exit(); got != 1 {
			t.Errorf("%s: got exit status %d, want 1", tt.variable, got)
		}
		lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
		last := lines[len(lines)-1]
		for _, want := range append(tt.want, fmt.Sprint(taken.Addr())) {
			if !strings.Contains(last, want) {
				t.Errorf("%s: the last line is %q, want %s in it", tt.variable, last, want)
			}
		}
	}
}

// A port that another broker has is no mistake in the configuration, but check
// says what a start would say.
func TestCheckNamesTheTakenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	p := launch(t, map[string]string{"GATEWAY_EMBEDDED_ADDR": addr}, "check")
	if got := p.exit(); got != 1 {
		t.Errorf("got exit status %d, want 1", got)
	}
	want := "gateway: GATEWAY_EMBEDDED_ADDR: the address " + addr + " is taken by another program; if it is an MQTT broker, use it with GATEWAY_MQTT_URL=mqtt://" + addr + ", or choose another address with GATEWAY_EMBEDDED_ADDR\n"
	if got := p.stderr.String(); got != want {
		t.Errorf("standard error: got %q, want %q", got, want)
	}
}

// The gateway itself may be what listens there, so check only notes it.
func TestCheckNotesAListenerThatCannotBe(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	env := map[string]string{"GATEWAY_HTTP_ADDR": addr, "GATEWAY_ADMIN_ADDR": "127.0.0.1:0", "GATEWAY_EMBEDDED_ADDR": "127.0.0.1:0"}
	p := launch(t, env, "check")
	if got := p.exit(); got != 0 {
		t.Errorf("got exit status %d, want 0", got)
	}
	if got, want := p.stdout.String(), "note: GATEWAY_HTTP_ADDR: the address "+addr+" is taken by another program, perhaps another gateway"; strings.Count(got, "note: ") != 1 || !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it and no other note", got, want)
	}
}

func TestHealthFollowsTheBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.Start(t)
	_, g := launchReady(t, map[string]string{"GATEWAY_MQTT_URL": broker.URL(), "GATEWAY_MQTT_POOL": "1"})
	broker.Stop()
	g.waitDown()
	p := launch(t, map[string]string{"GATEWAY_ADMIN_ADDR": strings.TrimPrefix(g.admin, "http://")}, "health")
	if got := p.exit(); got != 1 {
		t.Errorf("exit status: got %d, want 1", got)
	}
	if got := p.stdout.String(); !strings.Contains(got, "not_ready") {
		t.Errorf("got %q, want the body of /readyz", got)
	}
}
