// Package docs_test holds the Markdown files to the code: links lead somewhere,
// and every variable, metric and code that they mention exists.
package docs_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = ".."

// markdown reads all Markdown files of the repository, by path from its root.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "node_modules" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		name, err := filepath.Rel(root, path)
		files[filepath.ToSlash(name)] = source(t, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/protocol.md", "mosquitto/README.md"} {
		if files[name] == "" {
			t.Fatalf("there is no %s", name)
		}
	}
	return files
}

func source(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sources are all files that match a pattern below the root, as one text.
func sources(t *testing.T, patterns ...string) string {
	t.Helper()
	var b strings.Builder
	for _, p := range patterns {
		paths, err := filepath.Glob(filepath.Join(root, p))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no such files (%v)", p, err)
		}
		for _, path := range paths {
			if !strings.HasSuffix(path, "_test.go") {
				b.WriteString(source(t, path))
			}
		}
	}
	return b.String()
}

// prose is text without its fenced blocks, fenced is what stands in them.
func prose(text string) string  { p, _ := split(text); return p }
func fenced(text string) string { _, f := split(text); return f }

func split(text string) (prose, fenced string) {
	var p, f strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		mark := strings.TrimSpace(line)
		switch {
		case !inside && strings.HasPrefix(mark, "```"):
			inside = true
		case inside && mark == "```":
			inside = false
		case inside:
			f.WriteString(line)
		default:
			p.WriteString(line)
		}
	}
	return p.String(), f.String()
}

var (
	link    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	code    = regexp.MustCompile("`[^`]+`")
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
)

// anchors are the ids that a Markdown reader gives to the headings.
func anchors(text string) map[string]bool {
	ids := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(prose(text), -1) {
		title := link.ReplaceAllStringFunc(m[1], func(l string) string { return l[1:strings.Index(l, "]")] })
		id := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, title)
		if !ids[id] {
			ids[id] = true
			continue
		}
		for n := '1'; ; n++ { // the second heading of a name
			if next := id + "-" + string(n); !ids[next] {
				ids[next] = true
				break
			}
		}
	}
	return ids
}

func TestRelativeLinksResolve(t *testing.T) {
	files := markdown(t)
	seen := 0
	for name, text := range files {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(prose(text), "code"), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %s is no link: %v", name, m[1], err)
				continue
			}
			if u.Scheme != "" {
				continue
			}
			seen++
			target := name
			if u.Path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(name), u.Path))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
				continue
			}
			if u.Fragment != "" && !anchors(files[target])[u.Fragment] {
				t.Errorf("%s: %s has no heading for the link %s; it has %v", name, target, m[1], sorted(anchors(files[target])))
			}
		}
	}
	if seen < 50 {
		t.Errorf("found %d links, want at least 50: is the pattern still right?", seen)
	}
}

func TestVariablesExist(t *testing.T) {
	files := markdown(t)
	table := files["docs/configuration.md"]
	variable := regexp.MustCompile(`GATEWAY_[A-Z][A-Z_]*[A-Z]`)
	examples, err := filepath.Glob("../examples/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range examples {
		files[path] = source(t, path)
	}
	for name, text := range files {
		if name == "docs/configuration.md" { // a test of internal/config compares it with the code
			continue
		}
		for _, v := range variable.FindAllString(text, -1) {
			if !strings.Contains(table, "| `"+v+"` |") {
				t.Errorf("%s: %s is not in docs/configuration.md", name, v)
			}
		}
	}
}

// words collects what a pattern's first group finds.
func words(pattern, text string) map[string]bool {
	set := map[string]bool{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		set[m[1]] = true
	}
	return set
}

func sorted(set map[string]bool) []string {
	var all []string
	for k := range set {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func TestMetricsAreDocumentedAndExist(t *testing.T) {
	files := markdown(t)
	exist := words(`"(gateway_[a-z_]+)"`, sources(t, "internal/api/metrics*.go"))
	for m := range words(`"(broker_[a-z_]+)"`, sources(t, "internal/bridge/sys.go")) {
		exist[m] = true
	}
	if len(exist) < 20 {
		t.Fatalf("found the metrics %v, want at least 20: is the pattern still right?", sorted(exist))
	}
	documented := words("`(gateway_[a-z_]+|broker_[a-z_]+)`", files["docs/operations.md"])
	for m := range exist {
		if !documented[m] {
			t.Errorf("docs/operations.md does not have the metric %s", m)
		}
	}
	// Words that begin like a metric and are something else.
	other := words(`"([a-z]+_[a-z_]+)"`, sources(t, "wire/frames.go"))
	for c := range codes(t) {
		other[c] = true
	}
	for name, text := range files {
		for m := range words(`\b(gateway_[a-z_]+[a-z])\b`, text) {
			m = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(m, "_bucket"), "_count"), "_sum")
			if !exist[m] && !other[m] {
				t.Errorf("%s: there is no metric %s", name, m)
			}
		}
	}
	for m := range documented {
		if !exist[m] && !other[m] {
			t.Errorf("docs/operations.md: there is no metric %s", m)
		}
	}
}

func codes(t *testing.T) map[string]bool {
	t.Helper()
	all := words(`(?m)^\tCode\w+ +Code += "([a-z0-9_]+)"`, sources(t, "wire/codes.go"))
	if len(all) < 40 {
		t.Fatalf("found the codes %v, want at least 40: is the pattern still right?", sorted(all))
	}
	return all
}

// A code stands behind its status, as the value of "code" in JSON, or behind
// the address of the page that explains it.
func TestProblemCodesExist(t *testing.T) {
	exist := codes(t)
	found := map[string]bool{}
	for name, text := range markdown(t) {
		for _, pattern := range []string{
			`\b[45]\d\d (?:and |or )?` + "`([a-z0-9_]+)`", "\\b[45]\\d\\d \\| `([a-z0-9_]+)`",
			`"code":"([a-z0-9_]+)"`, `/docs/errors#([a-z0-9_]+)`, `errors\.md#([a-z0-9_]+)`,
		} {
			for c := range words(pattern, text) {
				found[c] = true
				if !exist[c] {
					t.Errorf("%s: there is no code %s", name, c)
				}
			}
		}
	}
	if len(found) < 15 {
		t.Errorf("found the codes %v, want at least 15: is the pattern still right?", sorted(found))
	}
}

// Everything else in backticks that looks like a name from the program is one:
// a field, a code, a reason, an option of nginx or mosquitto that stands in a
// block or a configuration here.
func TestNamesInBackticksExist(t *testing.T) {
	files := markdown(t)
	known := sources(t, "internal/*/*.go", "internal/*/*/*.go", "wire/*.go", "client/*.go", "cmd/gateway/*.go", "sdk/python/*.py", "sdk/js/sdk.js",
		"mosquitto/*.conf", "deploy/nginx/*", "deploy/haproxy/*", "deploy/caddy/*", "deploy/prometheus/*", "docker-compose.yml", "Makefile") + "\nsys_interval auth_basic\n" // mosquitto's, nginx's
	for _, text := range files {
		known += fenced(text)
	}
	exist := words(`([A-Za-z0-9_]+)`, known)
	for name, text := range files {
		if strings.HasPrefix(name, "mosquitto/") { // its names are mosquitto's own
			continue
		}
		for w := range words("`([a-z]+(?:_[a-z0-9]+)+)`", prose(text)) {
			if !exist[w] {
				t.Errorf("%s: `%s` is nowhere in the code", name, w)
			}
		}
	}
}

// Tests that are named are there.
func TestTestsThatAreNamedExist(t *testing.T) {
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)`")
	exist := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(source(t, path), -1) {
				exist[m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for file, text := range markdown(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			found++
			if !exist[m[1]] && file != "CONTRIBUTING.md" {
				t.Errorf("%s: there is no %s", file, m[1])
			}
		}
	}
	if found < 60 {
		t.Errorf("got %d names, want those of docs/security.md", found)
	}
}
