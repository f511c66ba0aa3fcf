package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	cfg, _ := mustLoad(t, env{
		"GATEWAY_MQTT_URL":      "mqtt://broker.lan",
		"GATEWAY_MQTT_USERNAME": "gateway",
		"GATEWAY_MQTT_PASSWORD": "hunter2",
	})
	hidden := struct{ cfg *Config }{cfg}
	hiddenValue := struct{ cfg Config }{*cfg}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{cfg.MQTTPassword, &cfg.MQTTPassword, cfg, *cfg, hidden, hiddenValue} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("start", "password", cfg.MQTTPassword, "config", cfg)
	}
	if err := json.NewEncoder(&out).Encode(cfg); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output: got %s in it, want none:\n%s", leak, &out)
		}
	}
	if got := cfg.MQTTPassword.Reveal(); got != "hunter2" {
		t.Errorf("Reveal: got %q, want hunter2", got)
	}
}

func TestSecretSaysWhetherItIsSet(t *testing.T) {
	var secret Secret
	if got := secret.String() + secret.Reveal(); got != "" {
		t.Errorf("unset: got %q, want nothing", got)
	}
	if err := secret.Decode("hunter2"); err != nil {
		t.Fatal(err)
	}
	if got, want := secret.String(), "[redacted]"; got != want {
		t.Errorf("String: got %q, want %q", got, want)
	}
	if got, want := fmt.Sprintf("%#v", secret), `config.Secret("[redacted]")`; got != want {
		t.Errorf("GoString: got %q, want %q", got, want)
	}
	if got, err := json.Marshal(secret); string(got) != `"[redacted]"` || err != nil {
		t.Errorf("MarshalJSON: got %s, %v, want \"[redacted]\"", got, err)
	}
	if got, want := secret.LogValue().String(), "[redacted]"; got != want {
		t.Errorf("LogValue: got %q, want %q", got, want)
	}
}

func withPasswordFile(path string) env {
	return env{
		"GATEWAY_MQTT_URL":           "mqtt://broker.lan",
		"GATEWAY_MQTT_USERNAME":      "gateway",
		"GATEWAY_MQTT_PASSWORD_FILE": path,
	}
}

func TestSecretFileLosesItsTrailingNewline(t *testing.T) {
	for content, want := range map[string]string{
		"hunter2":       "hunter2",
		"hunter2\n":     "hunter2",
		"hunter2\r\n":   "hunter2",
		" hunter 2 \n":  " hunter 2 ",
		"hunter2\n\n\n": "hunter2",
	} {
		cfg, notices := mustLoad(t, withPasswordFile(writeFile(t, "password", content, 0o600)))
		if got := cfg.MQTTPassword.Reveal(); got != want {
			t.Errorf("file %q: got %q, want %q", content, got, want)
		}
		if len(notices) != 0 {
			t.Errorf("file %q: got notices %q, want none", content, notices)
		}
	}
}

func TestSecretFileReadableByOthersIsNoticed(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644} {
		path := writeFile(t, "password", "hunter2", mode)
		_, notices := mustLoad(t, withPasswordFile(path))
		if len(notices) != 1 || !strings.Contains(notices[0], "GATEWAY_MQTT_PASSWORD_FILE") || !strings.Contains(notices[0], "chmod 600") {
			t.Errorf("mode %o: got notices %q, want one with the variable and chmod 600", mode, notices)
		}
		if strings.Contains(strings.Join(notices, " "), "hunter2") {
			t.Errorf("mode %o: got the secret in %q", mode, notices)
		}
	}
}

func TestBadSecretFileIsRefused(t *testing.T) {
	const file = "GATEWAY_MQTT_PASSWORD_FILE"
	both := withPasswordFile(writeFile(t, "password", "hunter2", 0o600))
	both["GATEWAY_MQTT_PASSWORD"] = "hunter2"
	wantRefused(t, []refused{
		{"missing", withPasswordFile("/nonexistent/password"), []string{file, `"/nonexistent/password"`, "no such file"}},
		{"directory", withPasswordFile(t.TempDir()), []string{file, "cannot read"}},
		{"empty", withPasswordFile(writeFile(t, "p", "", 0o600)), []string{file, "is empty"}},
		{"only a newline", withPasswordFile(writeFile(t, "p", "\n", 0o600)), []string{file, "is empty"}},
		{"two lines", withPasswordFile(writeFile(t, "p", "hunter2\nhunter2\n", 0o600)), []string{file, "more than one line"}},
		{"large", withPasswordFile(writeFile(t, "p", strings.Repeat("hunter2", maxFile/7+1), 0o600)), []string{file, "larger"}},
		{"value and file", both, []string{file, "GATEWAY_MQTT_PASSWORD is set as well"}},
		{"path with a newline", withPasswordFile("/nonexistent/a\nb"), []string{file, `a\nb`}},
	})
	if os.Getuid() != 0 {
		wantRefused(t, []refused{
			{"unreadable", withPasswordFile(writeFile(t, "p", "hunter2", 0o000)), []string{file, "permission denied"}},
		})
	}
}

func TestEverySecretHasAFileVariable(t *testing.T) {
	known := make(map[string]bool)
	for _, v := range variables() {
		known[v.name] = true
	}
	for _, v := range variables() {
		if v.typ.Name() == "Secret" && !known[v.name+"_FILE"] {
			t.Errorf("%s: got no %s_FILE, want one", v.name, v.name)
		}
	}
}

// The path of a secret may pass through a link, as in container platforms.
func TestSecretFileMayBeALink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(writeFile(t, "password", "hunter2\n", 0o600), link); err != nil {
		t.Fatal(err)
	}
	cfg, notices := mustLoad(t, withPasswordFile(link))
	if cfg.MQTTPassword.Reveal() != "hunter2" || len(notices) != 0 {
		t.Errorf("through a link: got %q and %q, want hunter2 and no notice", cfg.MQTTPassword.Reveal(), notices)
	}
}
