// Package deploy_test holds the container files to their promises without a
// container engine: pinned images, loopback ports, no root, and settings that
// the gateway accepts.
package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vulturepi/gateway/internal/config"
)

// compose is the part of docker-compose.yml that the tests look at.
type compose struct {
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

type service struct {
	Image       string            `yaml:"image"`
	Build       string            `yaml:"build"`
	User        string            `yaml:"user"`
	Profiles    []string          `yaml:"profiles"`
	Ports       []string          `yaml:"ports"`
	VolumeList  []string          `yaml:"volumes"`
	Environment map[string]string `yaml:"environment"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	StopGrace   time.Duration `yaml:"stop_grace_period"`
	ReadOnly    bool          `yaml:"read_only"`
	CapDrop     []string      `yaml:"cap_drop"`
	CapAdd      []string      `yaml:"cap_add"`
	SecurityOpt []string      `yaml:"security_opt"`
	Privileged  bool          `yaml:"privileged"`
	NetworkMode string        `yaml:"network_mode"`
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readCompose(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mosquitto", "gateway", "prometheus", "grafana"} {
		if _, ok := c.Services[name]; !ok {
			t.Fatalf("docker-compose.yml has no service %q", name)
		}
	}
	return c
}

// exact is a tag with a full version, or a digest.
var exact = regexp.MustCompile(`:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?$|@sha256:[0-9a-f]{64}$`)

func TestImagesArePinned(t *testing.T) {
	for name, s := range readCompose(t).Services {
		if s.Build == "" && !exact.MatchString(s.Image) {
			t.Errorf("%s: image %q has no exact version", name, s.Image)
		}
	}
	for _, bad := range []string{"a/b", "a/b:latest", "a/b:2", "a/b:2.0", "a/b:2.0.1-", "a/b:stable"} {
		if exact.MatchString(bad) {
			t.Errorf("%q counts as exact", bad)
		}
	}
}

func TestHostPortsAreOnLoopback(t *testing.T) {
	for name, s := range readCompose(t).Services {
		if len(s.Ports) == 0 {
			t.Errorf("%s publishes no port", name)
		}
		if s.NetworkMode != "" {
			t.Errorf("%s: network_mode %q goes around the published ports", name, s.NetworkMode)
		}
		for _, port := range s.Ports {
			if parts := strings.Split(port, ":"); len(parts) != 3 || parts[0] != "127.0.0.1" {
				t.Errorf("%s: port %q is not on 127.0.0.1", name, port)
			}
		}
	}
}

func TestServicesAreConfined(t *testing.T) {
	for name, s := range readCompose(t).Services {
		if !s.ReadOnly || s.Privileged || len(s.CapAdd) > 0 ||
			!slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s is not confined: read_only %v, privileged %v, cap_drop %v, cap_add %v, security_opt %v",
				name, s.ReadOnly, s.Privileged, s.CapDrop, s.CapAdd, s.SecurityOpt)
		}
		if s.Build == "" && !numericUser.MatchString(s.User) {
			t.Errorf("%s: user %q may be root", name, s.User)
		}
		if s.Build == "" && len(s.Healthcheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
	}
}

func TestVolumesExist(t *testing.T) {
	c := readCompose(t)
	for name, s := range c.Services {
		for _, v := range s.VolumeList {
			source, rest, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(source, ".") {
				if _, ok := c.Volumes[source]; !ok {
					t.Errorf("%s: volume %q is not declared", name, source)
				}
				continue
			}
			if info, err := os.Stat(filepath.Join("..", source)); err != nil || info.IsDir() {
				t.Errorf("%s: %s is not a file: %v", name, source, err)
			}
			if !strings.HasSuffix(rest, ":ro") {
				t.Errorf("%s: %s is writable", name, v)
			}
		}
	}
}

func TestBrokerRunsTheShippedConfiguration(t *testing.T) {
	s := readCompose(t).Services["mosquitto"]
	const mount = "./mosquitto/server_settings.conf:/mosquitto/config/mosquitto.conf:ro"
	if !slices.Contains(s.VolumeList, mount) {
		t.Errorf("volumes: got %v, want %s", s.VolumeList, mount)
	}
	conf := read(t, "mosquitto", "server_settings.conf")
	for _, v := range s.VolumeList {
		if target, ok := strings.CutPrefix(v, "mosquitto-data:"); ok && !strings.Contains(conf, "persistence_location "+target+"/\n") {
			t.Errorf("the volume is at %s, the configuration saves elsewhere", target)
		}
	}
	if !strings.Contains(conf, "\nlistener 1883\n") {
		t.Error("the configuration does not listen on 1883 on all addresses")
	}
	if test := strings.Join(s.Healthcheck.Test, " "); !strings.HasPrefix(test, "CMD mosquitto_sub ") || !strings.Contains(test, "$$SYS/") {
		t.Errorf("health check: got %q, want a subscription to $$SYS", test)
	}
}

func TestGatewayAcceptsItsEnvironment(t *testing.T) {
	c := readCompose(t)
	env := c.Services["gateway"].Environment
	table := config.Markdown()
	for name := range env {
		if !strings.Contains(table, "| `"+name+"` |") {
			t.Errorf("the gateway has no variable %s", name)
		}
	}
	cfg := load(t, env)
	if want := "mqtt://mosquitto:1883"; env["GATEWAY_MQTT_URL"] != want {
		t.Errorf("GATEWAY_MQTT_URL: got %q, want %q", env["GATEWAY_MQTT_URL"], want)
	}
	if got := c.Services["gateway"].StopGrace; got <= cfg.ShutdownTimeout {
		t.Errorf("stop_grace_period is %v, GATEWAY_SHUTDOWN_TIMEOUT %v: a stop becomes a kill", got, cfg.ShutdownTimeout)
	}
	for _, addr := range []string{cfg.HTTPAddr, cfg.AdminAddr} {
		port, ok := strings.CutPrefix(addr, "0.0.0.0:")
		if want := "127.0.0.1:" + port + ":" + port; !ok || !slices.Contains(c.Services["gateway"].Ports, want) {
			t.Errorf("%s is not published: got %v, want %s", addr, c.Services["gateway"].Ports, want)
		}
	}
}

// load runs the gateway's own check on an environment that holds nothing else.
func load(t *testing.T, env map[string]string) *config.Config {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "GATEWAY_") {
			t.Setenv(name, "") // restores it afterwards
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
	cfg, _, err := config.Load()
	if err != nil {
		t.Fatalf("the gateway refuses the environment of docker-compose.yml: %v", err)
	}
	return cfg
}

// The gateway must come up beside a broken broker, so it waits for its start
// only.
func TestGatewayDoesNotWaitForAHealthyBroker(t *testing.T) {
	s := readCompose(t).Services["gateway"]
	if s.Build != "." {
		t.Errorf("build: got %q, want .", s.Build)
	}
	if got := s.DependsOn["mosquitto"].Condition; got != "service_started" {
		t.Errorf("depends_on mosquitto: got %q, want service_started", got)
	}
}

func TestPrometheusScrapesTheAdminListener(t *testing.T) {
	c := readCompose(t)
	for _, name := range []string{"prometheus", "grafana"} {
		if got := c.Services[name].Profiles; !slices.Equal(got, []string{"monitoring"}) {
			t.Errorf("%s: profiles: got %v, want [monitoring]", name, got)
		}
	}
	for _, name := range []string{"prometheus.yml", "alerts.yml"} {
		mount := "./deploy/prometheus/" + name + ":/etc/prometheus/" + name + ":ro"
		if got := c.Services["prometheus"].VolumeList; !slices.Contains(got, mount) {
			t.Errorf("volumes: got %v, want %s", got, mount)
		}
	}
	var scrape struct {
		Configs []struct {
			Static []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy", "prometheus", "prometheus.yml")), &scrape); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, job := range scrape.Configs {
		for _, static := range job.Static {
			targets = append(targets, static.Targets...)
		}
	}
	_, port, _ := strings.Cut(c.Services["gateway"].Environment["GATEWAY_ADMIN_ADDR"], ":")
	if want := []string{"gateway:" + port}; !slices.Equal(targets, want) {
		t.Errorf("targets: got %v, want %v", targets, want)
	}
	// The gateway answers only to names that it knows.
	if !strings.Contains(c.Services["gateway"].Environment["GATEWAY_ALLOWED_HOSTS"], "gateway") {
		t.Error("GATEWAY_ALLOWED_HOSTS does not hold the name that Prometheus asks for")
	}
}

// Grafana is given what it shows as files: its data source is the Prometheus
// beside it, the dashboard lies where the provider looks. Nobody can log in.
func TestGrafanaShowsTheDashboard(t *testing.T) {
	s := readCompose(t).Services["grafana"]
	var sources struct {
		Sources []struct {
			Type    string `yaml:"type"`
			URL     string `yaml:"url"`
			Default bool   `yaml:"isDefault"`
		} `yaml:"datasources"`
	}
	var providers struct {
		Providers []struct {
			Type    string `yaml:"type"`
			Options struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
	for name, into := range map[string]any{"datasource.yml": &sources, "dashboards.yml": &providers} {
		if err := yaml.Unmarshal([]byte(read(t, "deploy", "grafana", name)), into); err != nil {
			t.Fatal(err)
		}
	}
	if d := sources.Sources; len(d) != 1 || d[0].Type != "prometheus" || d[0].URL != "http://prometheus:9090" || !d[0].Default {
		t.Errorf("data sources: got %+v, want the Prometheus of docker-compose.yml", d)
	}
	if p := providers.Providers; len(p) != 1 || p[0].Type != "file" {
		t.Fatalf("providers: got %+v, want one of files", p)
	}
	dashboard := providers.Providers[0].Options.Path + "/gateway.json"
	for _, mount := range []string{
		"./deploy/grafana/gateway.json:" + dashboard + ":ro",
		"./deploy/grafana/datasource.yml:/etc/grafana/provisioning/datasources/prometheus.yml:ro",
		"./deploy/grafana/dashboards.yml:/etc/grafana/provisioning/dashboards/gateway.yml:ro",
	} {
		if !slices.Contains(s.VolumeList, mount) {
			t.Errorf("volumes: got %v, want %s", s.VolumeList, mount)
		}
	}
	for name, want := range map[string]string{
		"GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer", "GF_AUTH_DISABLE_LOGIN_FORM": "true", "GF_AUTH_BASIC_ENABLED": "false",
		"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": dashboard,
	} {
		if got := s.Environment[name]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// Compose of Debian takes the file; test/manifests has Compose v2.
func TestComposeTakesTheFile(t *testing.T) {
	said := tool(t, "..", "docker-compose", "--profile", "monitoring", "config")
	for _, name := range []string{"mosquitto:", "gateway:", "prometheus:", "grafana:"} {
		if !strings.Contains(said, "\n  "+name) {
			t.Errorf("docker-compose config does not show %s", name)
		}
	}
}
