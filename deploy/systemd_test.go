package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// directives are the lines of a unit, by name; a name may stand there several
// times.
func directives(t *testing.T, path string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(read(t, path)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found && !strings.HasPrefix(name, "#") {
			all[name] = append(all[name], value)
		}
	}
	return all
}

const (
	gatewayUnit   = "deploy/systemd/gateway.service"
	mosquittoUnit = "deploy/systemd/mosquitto.service.d/hardening.conf"
)

// Both services are nobody, have no capability, and see little of the machine.
func TestUnitsHaveNoPrivilege(t *testing.T) {
	for _, unit := range []string{gatewayUnit, mosquittoUnit} {
		d := directives(t, unit)
		for name, want := range map[string]string{
			"NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateDevices": "yes",
			"RestrictNamespaces": "yes", "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native", "UMask": "0077",
		} {
			if got := d[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q, want %q", unit, name, got, want)
			}
		}
		if d["DynamicUser"] == nil && d["User"] == nil {
			t.Errorf("%s: the service runs as root", unit)
		}
	}
	if got := directives(t, gatewayUnit)["RestartPreventExitStatus"]; len(got) != 1 || got[0] != "2" {
		t.Errorf("%s: RestartPreventExitStatus is %q, want 2, that of a wrong configuration", gatewayUnit, got)
	}
}

// systemd knows every word of the units.
func TestUnitsAreUnderstood(t *testing.T) {
	for name, unit := range units(t) {
		path := filepath.Join(t.TempDir(), name)
		unit = regexp.MustCompile(`(?m)^(ExecStart)=.*`).ReplaceAllString(unit, "$1=/bin/true")
		if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
		if said := tool(t, ".", "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path); strings.Contains(said, name) {
			t.Errorf("%s: %s", name, said)
		}
	}
}

// units are the gateway's, and mosquitto's with the drop-in.
func units(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"gateway.service":   read(t, gatewayUnit),
		"mosquitto.service": "[Unit]\nDescription=mosquitto\n[Service]\nExecStart=/usr/sbin/mosquitto\n" + read(t, mosquittoUnit),
	}
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// systemd's own judgement: less than 2 of 10.
func TestUnitsAreExposedLittle(t *testing.T) {
	for name, unit := range units(t) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
		said := tool(t, ".", "systemd-analyze", "security", "--offline=true", "--no-pager", path)
		found := exposure.FindStringSubmatch(said)
		if found == nil {
			t.Errorf("%s: systemd-analyze gives no exposure: %.300s", name, said)
			continue
		}
		if level, err := strconv.ParseFloat(found[1], 64); err != nil || level >= 2 {
			t.Errorf("%s: got an exposure of %s, want less than 2.0", name, found[1])
		}
	}
}
