package deploy_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/gateway"
)

// deployment is the part of deploy/kubernetes/deployment.yaml that the gateway's
// own settings have to do with. test/manifests holds the files to their types.
type deployment struct {
	Spec struct {
		Template struct {
			Spec struct {
				EnableServiceLinks bool `yaml:"enableServiceLinks"`
				Grace              int  `yaml:"terminationGracePeriodSeconds"`
				Containers         []struct {
					Ports []struct {
						Name string `yaml:"name"`
						Port int    `yaml:"containerPort"`
					} `yaml:"ports"`
					Lifecycle struct {
						PreStop struct {
							Sleep struct {
								Seconds int `yaml:"seconds"`
							} `yaml:"sleep"`
						} `yaml:"preStop"`
					} `yaml:"lifecycle"`
					Resources struct {
						Limits struct {
							Memory string `yaml:"memory"`
						} `yaml:"limits"`
					} `yaml:"resources"`
				} `yaml:"containers"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

// exampleSecret writes the files of the example's Secret into a directory.
func exampleSecret(t *testing.T) (dir string) {
	t.Helper()
	var secret struct {
		Files map[string]string `yaml:"stringData"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy", "kubernetes", "secret.example.yaml")), &secret); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, text := range secret.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The gateway takes the configuration of the pod, keeps to its memory, and has
// time to stop.
func TestPodSuitsTheGateway(t *testing.T) {
	var d deployment
	if err := yaml.Unmarshal([]byte(read(t, "deploy", "kubernetes", "deployment.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	dir, env := exampleSecret(t), map[string]string{}
	for line := range strings.Lines(read(t, "deploy", "kubernetes", "gateway.env")) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(name, "#") {
			env[name] = strings.Replace(value, "/etc/gateway", dir, 1)
		}
	}
	cfg := load(t, env)
	pod := d.Spec.Template.Spec
	container := pod.Containers[0]
	for _, p := range container.Ports {
		addr := map[string]string{"http": cfg.HTTPAddr, "admin": cfg.AdminAddr}[p.Name]
		if want := "0.0.0.0:" + strconv.Itoa(p.Port); addr != want {
			t.Errorf("port %s: the gateway listens on %q, want %s", p.Name, addr, want)
		}
	}
	if cfg.AllowAnonymous {
		t.Error("whoever comes may publish")
	}
	if pod.EnableServiceLinks {
		t.Error("Kubernetes sets variables that the gateway refuses")
	}
	if stop := time.Duration(pod.Grace-container.Lifecycle.PreStop.Sleep.Seconds) * time.Second; stop <= cfg.ShutdownTimeout {
		t.Errorf("after preStop %v are left, GATEWAY_SHUTDOWN_TIMEOUT is %v: a stop becomes a kill", stop, cfg.ShutdownTimeout)
	}
	mib, ok := strings.CutSuffix(container.Resources.Limits.Memory, "Mi")
	limit, err := strconv.ParseInt(mib, 10, 64)
	if most := gateway.Memory(cfg) * 5 / 4; !ok || err != nil || most > limit<<20 {
		t.Errorf("the gateway may take %d MiB, the limit is %s", most>>20, container.Resources.Limits.Memory)
	}
	if !strings.Contains(env["GATEWAY_ALLOWED_HOSTS"], "gateway") || !strings.Contains(read(t, "deploy", "kubernetes", "service.yaml"), "\n  name: gateway\n") {
		t.Error("GATEWAY_ALLOWED_HOSTS does not hold the name of the Service")
	}
	text, err := os.ReadFile(filepath.Join(dir, "access.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := access.ParseFile(text); err != nil {
		t.Errorf("the access file of the example: %v", err)
	}
}
