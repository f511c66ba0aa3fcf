package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestFilesOfRulesAreRefused(t *testing.T) {
	for _, name := range []string{"GATEWAY_DECODERS_FILE", "GATEWAY_VALUE_METRICS"} {
		file := func(content string) env { return env{name: writeFile(t, "rules.yaml", content, 0o644)} }
		wantRefused(t, []refused{
			{"empty name", env{name: " "}, []string{name, "is set but empty"}},
			{"no file", env{name: filepath.Join(t.TempDir(), "none")}, []string{name, "cannot read", "no such file"}},
			{"directory", env{name: t.TempDir()}, []string{name, "cannot read"}},
			{"empty", file(""), []string{name, "is empty"}},
			{"large", file(strings.Repeat("#", 1<<20+1)), []string{name, "larger than 1048576 bytes"}},
		})
	}
}
