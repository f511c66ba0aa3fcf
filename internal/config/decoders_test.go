package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestDecodersFileIsRefused(t *testing.T) {
	file := func(content string) env {
		return env{"GATEWAY_DECODERS_FILE": writeFile(t, "decoders.yaml", content, 0o644)}
	}
	wantRefused(t, []refused{
		{"empty name", env{"GATEWAY_DECODERS_FILE": " "}, []string{"GATEWAY_DECODERS_FILE", "is set but empty"}},
		{"no file", env{"GATEWAY_DECODERS_FILE": filepath.Join(t.TempDir(), "none")}, []string{"GATEWAY_DECODERS_FILE", "cannot read", "no such file"}},
		{"directory", env{"GATEWAY_DECODERS_FILE": t.TempDir()}, []string{"GATEWAY_DECODERS_FILE", "cannot read"}},
		{"empty", file(""), []string{"GATEWAY_DECODERS_FILE", "is empty"}},
		{"large", file(strings.Repeat("#", 1<<20+1)), []string{"GATEWAY_DECODERS_FILE", "larger than 1048576 bytes"}},
	})
}
