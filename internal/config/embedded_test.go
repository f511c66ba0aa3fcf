package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestEmbeddedDirIsADirectory(t *testing.T) {
	wantRefused(t, []refused{
		{"empty name", env{"GATEWAY_EMBEDDED_DIR": ""}, []string{"GATEWAY_EMBEDDED_DIR", "is set but empty"}},
		{"file", env{"GATEWAY_EMBEDDED_DIR": writeFile(t, "file", "x", 0o644)}, []string{"GATEWAY_EMBEDDED_DIR", "is a file"}},
	})
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "not", "there", "yet")} {
		if cfg, notices := mustLoad(t, env{"GATEWAY_EMBEDDED_DIR": dir}); cfg.EmbeddedDir != dir || len(notices) != 0 {
			t.Errorf("got directory %q, notices %q, want %q and none", cfg.EmbeddedDir, notices, dir)
		}
	}
}

func TestEmbeddedDirWithoutEmbeddedBrokerIsNoticed(t *testing.T) {
	_, notices := mustLoad(t, env{"GATEWAY_EMBEDDED_DIR": t.TempDir(), "GATEWAY_MQTT_URL": brokerURL})
	if len(notices) != 1 || !strings.Contains(notices[0], "GATEWAY_EMBEDDED_DIR is not used") {
		t.Errorf("got notices %q, want one that the directory is not used", notices)
	}
}
