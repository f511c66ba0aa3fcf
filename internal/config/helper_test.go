package config

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// env is the GATEWAY_ part of a test's environment.
type env map[string]string

// clearEnv hides the GATEWAY_ variables of whoever runs the tests.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		t.Setenv(name, "") // for its clean-up, which restores the value
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

// load loads with exactly these variables.
func load(t *testing.T, e env) (*Config, []string, error) {
	t.Helper()
	clearEnv(t)
	for name, value := range e {
		t.Setenv(name, value)
	}
	return Load()
}

func mustLoad(t *testing.T, e env) (*Config, []string) {
	t.Helper()
	cfg, notices, err := load(t, e)
	if err != nil {
		t.Fatalf("Load(%v): %v", e, err)
	}
	return cfg, notices
}

// refused is a case that Load must refuse.
type refused struct {
	name string
	env  env
	want []string // parts of the error
}

// wantRefused also holds every error to the rules that all of them follow.
func wantRefused(t *testing.T, cases []refused) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			cfg, notices, err := load(t, tc.env)
			if err == nil {
				t.Fatalf("Load: got no error, want one with %q", tc.want)
			}
			if cfg != nil || notices != nil {
				t.Errorf("Load: got a configuration or notices beside the error %q", err)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error: got %q, want %q in it", err, part)
				}
			}
			checkError(t, err, tc.env)
		})
	}
}

var variableName = regexp.MustCompile(`GATEWAY_[A-Z0-9_]*`)

// checkError: one line, names a variable, sends nobody to a variable that does
// not exist, and shows neither a password nor a word of a broker URL.
func checkError(t *testing.T, err error, e env) {
	t.Helper()
	text := err.Error()
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
		t.Errorf("error: got %q, want one line", text)
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("error: got %q, want no secret in it", text)
	}
	var known []string
	for _, v := range variables() {
		known = append(known, v.name)
	}
	names := variableName.FindAllString(text, -1)
	if len(names) == 0 {
		t.Errorf("error: got %q, want the name of a variable in it", text)
	}
	for _, name := range names {
		isSet := func(set string) bool { return strings.HasPrefix(set, name) }
		if !slices.Contains(known, name) && !slices.ContainsFunc(slices.Collect(maps.Keys(e)), isSet) {
			t.Errorf("error: got %q, but there is no %s", text, name)
		}
	}
}

func writeFile(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}
