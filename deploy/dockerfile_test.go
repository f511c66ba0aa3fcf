package deploy_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// numericUser is a user id and group id, neither of them root's.
var numericUser = regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`)

// instruction is one line of a Dockerfile, with its continuations.
type instruction struct{ name, rest string }

func readDockerfile(t *testing.T) []instruction {
	t.Helper()
	var list []instruction
	var open string
	for line := range strings.Lines(read(t, "Dockerfile")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		open += line
		if cut, ok := strings.CutSuffix(open, `\`); ok {
			open = cut
			continue
		}
		name, rest, _ := strings.Cut(open, " ")
		list = append(list, instruction{strings.ToUpper(name), strings.TrimSpace(rest)})
		open = ""
	}
	return list
}

// final returns the instructions of the last stage.
func final(list []instruction) []instruction {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].name == "FROM" {
			return list[i:]
		}
	}
	return nil
}

func values(list []instruction, name string) []string {
	var out []string
	for _, in := range list {
		if in.name == name {
			out = append(out, in.rest)
		}
	}
	return out
}

func TestBaseImagesArePinnedArguments(t *testing.T) {
	list := readDockerfile(t)
	defaults := map[string]string{}
	for _, arg := range values(list, "ARG") {
		name, value, _ := strings.Cut(arg, "=")
		defaults["${"+name+"}"] = value
	}
	froms := values(list, "FROM")
	if len(froms) < 2 {
		t.Fatalf("%d stages, want at least 2", len(froms))
	}
	for _, from := range froms {
		reference, _, _ := strings.Cut(from, " ")
		image, ok := defaults[reference]
		if !ok {
			t.Errorf("FROM %s is not an argument", reference)
		}
		if image != "scratch" && !exact.MatchString(image) {
			t.Errorf("FROM %s: default %q has no exact version", reference, image)
		}
	}
	// An older compiler could not build the module, a newer one is not tested.
	want := regexp.MustCompile(`(?m)^toolchain go(\S+)$`).FindStringSubmatch(read(t, "go.mod"))[1]
	if got := defaults["${BUILD_IMAGE}"]; !strings.HasPrefix(got, "golang:"+want+"-") {
		t.Errorf("build image: got %q, want Go %s as the toolchain of go.mod", got, want)
	}
}

func TestBinaryIsStaticAndReproducible(t *testing.T) {
	list := readDockerfile(t)
	if env := strings.Join(values(list, "ENV"), " "); !strings.Contains(env, "CGO_ENABLED=0") {
		t.Errorf("ENV: got %q, want CGO_ENABLED=0", env)
	}
	build := strings.Join(values(list, "RUN"), "\n")
	for _, want := range []string{"go build ", "-trimpath", "-s -w", "./cmd/gateway"} {
		if !strings.Contains(build, want) {
			t.Errorf("RUN lacks %q:\n%s", want, build)
		}
	}
}

// The image says which version it is, without an argument, too.
func TestImageKnowsItsVersion(t *testing.T) {
	build := values(readDockerfile(t), "RUN")
	script := build[len(build)-1]
	const commit = "8c3e0d1f5a7b9c2d4e6f8a0b1c3d5e7f9a1b3c5d"
	for name, tc := range map[string]struct {
		files map[string]string
		arg   string
		want  string
	}{
		"a branch":           {files: map[string]string{".git/HEAD": "ref: refs/heads/a/b\n", ".git/refs/heads/a/b": commit + "\n"}, want: "8c3e0d1f5a7b"},
		"a packed branch":    {files: map[string]string{".git/HEAD": "ref: refs/heads/main\n", ".git/packed-refs": "# pack-refs\n" + commit + " refs/heads/main\n" + strings.Repeat("1", 40) + " refs/heads/main2\n"}, want: "8c3e0d1f5a7b"},
		"a commit":           {files: map[string]string{".git/HEAD": commit + "\n"}, want: "8c3e0d1f5a7b"},
		"an argument":        {files: map[string]string{".git/HEAD": commit + "\n"}, arg: "v1.2.3", want: "v1.2.3"},
		"no repository":      {want: "dev"},
		"one of a work tree": {files: map[string]string{".git": "gitdir: elsewhere\n"}, want: "dev"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tc.files {
				file = filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-ec", "go() { printf '%s\n' \"$@\"; }\n"+script)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "VERSION="+tc.arg)
			out, err := cmd.CombinedOutput()
			if want := "-X main.version=" + tc.want + "\n"; err != nil || !strings.Contains(string(out), want) {
				t.Errorf("got %v\n%s\nwant %s", err, out, want)
			}
		})
	}
	for _, file := range []string{".git/HEAD", ".git/packed-refs", ".git/refs"} {
		if !strings.Contains(read(t, ".dockerignore"), "\n!"+file+"\n") {
			t.Errorf("%s does not get into the build context", file)
		}
	}
}

func TestImageDoesNotRunAsRoot(t *testing.T) {
	users := values(final(readDockerfile(t)), "USER")
	if len(users) != 1 || !numericUser.MatchString(users[0]) {
		t.Errorf("USER: got %v, want one numeric user that is not root", users)
	}
}

func TestImageChecksItsOwnHealth(t *testing.T) {
	last := final(readDockerfile(t))
	checks := values(last, "HEALTHCHECK")
	if len(checks) != 1 || !strings.HasSuffix(checks[0], `CMD ["/gateway", "health"]`) {
		t.Errorf("HEALTHCHECK: got %v", checks)
	}
	if got := values(last, "ENTRYPOINT"); len(got) != 1 || got[0] != `["/gateway"]` {
		t.Errorf("ENTRYPOINT: got %v", got)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", "../cmd/gateway", "-h").CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^\s*health\s`).Match(out) {
		t.Errorf("the binary has no subcommand health: %v\n%s", err, out)
	}
}

// Everything that the binary is built from must be in the build context, and
// what is secret must not.
func TestBuildContext(t *testing.T) {
	var patterns []string
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	const format = `{{with .Module}}{{if .Main}}{{range $.GoFiles}}{{$.Dir}}/{{.}}
{{end}}{{range $.EmbedFiles}}{{$.Dir}}/{{.}}
{{end}}{{end}}{{end}}`
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, "../cmd/gateway").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(out))
	if len(files) == 0 {
		t.Fatal("go list names no file")
	}
	for _, file := range files {
		rel, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		if ignored(patterns, filepath.ToSlash(rel)) {
			t.Errorf("%s is needed and ignored", rel)
		}
	}
	for _, secret := range []string{".git/config", ".git/objects/pack/x.pack", ".git/logs/HEAD", ".env", ".env.local", "passwords", "deploy/x.key", "server.pem"} {
		if !ignored(patterns, secret) {
			t.Errorf("%s gets into the build context", secret)
		}
	}
}

// ignored applies the patterns as far as this file uses their syntax: a path
// from the root, or ** before a name.
func ignored(patterns []string, file string) bool {
	for _, pattern := range patterns {
		anywhere, ok := strings.CutPrefix(pattern, "**/")
		for p := file; p != "."; p = path.Dir(p) {
			if match, _ := path.Match(pattern, p); match && !ok {
				return true
			}
			if match, _ := path.Match(anywhere, path.Base(p)); match && ok {
				return true
			}
		}
	}
	return false
}
