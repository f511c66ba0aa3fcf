package deploy_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const prometheusDir = "prometheus"

// tool runs a program in a directory. It is there in CI; scripts/test-deps.sh
// installs it.
func tool(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("%v: scripts/test-deps.sh installs it", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, said)
	}
	return string(said)
}

type alertRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alertRules(t *testing.T) (all []alertRule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []alertRule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy", "prometheus", "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("found %d alerts, want 10 at least", len(all))
	}
	return all
}

// Prometheus takes the rules, and they speak when they should and not otherwise.
func TestAlertsSpeakWhenTheyShould(t *testing.T) {
	tool(t, prometheusDir, "promtool", "check", "config", "prometheus.yml")
	tool(t, prometheusDir, "promtool", "check", "rules", "alerts.yml")
	tool(t, prometheusDir, "promtool", "test", "rules", "alerts_test.yml")
}

// Of each alert a test sees it speak, and another sees it say nothing.
func TestEveryAlertIsTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name string `yaml:"alertname"`
				Want []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy", "prometheus", "alerts_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	speaks, silent := map[string]bool{}, map[string]bool{}
	for _, c := range file.Tests {
		for _, a := range c.Alerts {
			speaks[a.Name] = speaks[a.Name] || len(a.Want) > 0
			silent[a.Name] = silent[a.Name] || len(a.Want) == 0
		}
	}
	for _, r := range alertRules(t) {
		if !speaks[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: a test sees it speak: %t, say nothing: %t", r.Alert, speaks[r.Alert], silent[r.Alert])
		}
	}
}

// The metrics of an expression are documented, so they exist: a test of docs
// compares the two. Every alert has its lines in the runbook, and every line of
// the runbook an alert.
func TestAlertsHaveARunbook(t *testing.T) {
	metric := regexp.MustCompile(`\b(?:gateway|broker)_[a-z_]+\b`)
	documented, runbook := read(t, "docs", "operations.md"), read(t, "docs", "runbook.md")
	headings := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(runbook, -1) {
		headings[m[1]] = true
	}
	for _, r := range alertRules(t) {
		for _, m := range metric.FindAllString(r.Expr, -1) {
			if m = strings.TrimSuffix(m, "_bucket"); !strings.Contains(documented, "`"+m+"`") {
				t.Errorf("%s: there is no metric %s", r.Alert, m)
			}
		}
		if !headings[r.Alert] {
			t.Errorf("%s has no heading in docs/runbook.md", r.Alert)
		}
		delete(headings, r.Alert)
		if want := "docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook is %q, want %s", r.Alert, r.Annotations["runbook"], want)
		}
		if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning"}, s) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: got severity %q and annotations %v, want critical or warning, a summary and a description", r.Alert, s, r.Annotations)
		}
	}
	for name := range headings {
		t.Errorf("docs/runbook.md: there is no alert %s", name)
	}
}
