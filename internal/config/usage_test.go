package config

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestEveryFieldHasNameAndMeaning(t *testing.T) {
	seen := make(map[string]bool)
	for _, v := range variables() {
		if !strings.HasPrefix(v.name, prefix) || seen[v.name] {
			t.Errorf("name: got %q, want one of its own that starts with %s", v.name, prefix)
		}
		seen[v.name] = true
		if !strings.HasSuffix(v.desc, ".") {
			t.Errorf("%s: got the meaning %q, want a sentence", v.name, v.desc)
		}
	}
}

func TestUsageListsEveryVariable(t *testing.T) {
	var out bytes.Buffer
	Usage(&out)
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	vars := variables()
	if len(lines) != len(vars)+1 {
		t.Fatalf("lines: got %d, want %d", len(lines), len(vars)+1)
	}
	column := strings.Index(lines[0], "MEANING")
	for i, v := range vars {
		line := lines[i+1]
		if !strings.HasPrefix(line, v.name+" ") || !strings.Contains(line[:column], orNone(v.def)) || line[column:] != v.meaning() {
			t.Errorf("line: got %q, want %s, %q and %q in columns", line, v.name, orNone(v.def), v.meaning())
		}
	}
}

func TestDocumentationHoldsTheTable(t *testing.T) {
	const (
		path  = "../../docs/configuration.md"
		begin = "<!-- begin variables -->\n"
		end   = "<!-- end variables -->\n"
	)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s: got no markers %q and %q", path, begin, end)
	}
	if os.Getenv("UPDATE_DOCS") == "1" {
		if err := os.WriteFile(path, []byte(before+begin+Markdown()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, want := strings.Split(table, "\n"), strings.Split(Markdown(), "\n")
	for _, row := range got {
		if !slices.Contains(want, row) {
			t.Errorf("%s: got the row\n%s", path, row)
		}
	}
	for _, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("%s: want the row\n%s", path, row)
		}
	}
	if table != Markdown() {
		t.Errorf("%s: the table is not what the code says; UPDATE_DOCS=1 go test ./internal/config writes it", path)
	}
	for _, name := range variableName.FindAllString(before+after, -1) {
		const typo = "GATEWAY_MQQT_URL" // of an example
		if name != typo && name != prefix && !slices.Contains(ofClients, name) && !strings.Contains(table, "`"+name+"`") {
			t.Errorf("%s: mentions %s, which does not exist", path, name)
		}
	}
}
