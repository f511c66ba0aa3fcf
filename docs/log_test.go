package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logged are the messages that the program logs, each with its levels.
func logged(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err == nil {
				messages(t, path, file, all)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 15 {
		t.Fatalf("found the log messages %v, want at least 15: is the search still right?", all)
	}
	return all
}

// messages adds those of one file. They are constant: what changes stands in
// attributes.
func messages(t *testing.T, path string, file *ast.File, all map[string][]string) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		level, message := logCall(call)
		if message == nil {
			return true
		}
		if v, ok := message.(*ast.Ident); ok && v.Name == "msg" { // passed on
			return true
		}
		found := literals(file, message)
		if len(found) == 0 {
			t.Errorf("%s: a log message is no constant", path)
		}
		for _, m := range found {
			all[m] = append(all[m], level)
		}
		return true
	})
}

// logCall gives the level and the message of a call that logs, nil for others.
func logCall(call *ast.CallExpr) (level string, message ast.Expr) {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return "", nil
	}
	receiver := ""
	switch x := f.X.(type) {
	case *ast.Ident:
		receiver = x.Name
	case *ast.SelectorExpr:
		receiver = x.Sel.Name
	}
	switch f.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		if strings.EqualFold(receiver, "log") {
			return strings.ToLower(f.Sel.Name), call.Args[0]
		}
	case "Log", "LogAttrs":
		if len(call.Args) > 2 {
			return "depends", call.Args[2]
		}
	case "NewRecord":
		return strings.ToLower(strings.TrimPrefix(call.Args[1].(*ast.SelectorExpr).Sel.Name, "Level")), call.Args[2]
	}
	return "", nil
}

// literals are the strings that an expression may be: itself, or what its
// variable is set to in the file.
func literals(file *ast.File, e ast.Expr) (all []string) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return []string{s}
		}
	case *ast.Ident:
		ast.Inspect(file, func(n ast.Node) bool {
			if set, ok := n.(*ast.AssignStmt); ok && len(set.Lhs) == 1 && len(set.Rhs) == 1 {
				if name, ok := set.Lhs[0].(*ast.Ident); ok && name.Name == e.Name {
					if value, ok := set.Rhs[0].(*ast.BasicLit); ok {
						all = append(all, literals(file, value)...)
					}
				}
			}
			return true
		})
	}
	return all
}

// isMessage finds the message that a quotation means: all of it, or its
// beginning with … behind it.
func isMessage(all map[string][]string, quoted string) (levels []string, found bool) {
	start, cut := strings.CutSuffix(quoted, "…")
	for m, levels := range all {
		if m == quoted || cut && strings.HasPrefix(m, start) {
			return levels, true
		}
	}
	return nil, false
}

// The table of docs/operations.md has every message above debug, as the program
// writes it and at its level, and no other.
func TestLogMessagesAreDocumented(t *testing.T) {
	all := logged(t)
	_, section, found := strings.Cut(source(t, "operations.md"), "\n## Logs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/operations.md has no section Logs")
	}
	documented := map[string]bool{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		if len(cells) < 3 || !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, quoted := range code.FindAllString(cells[0], -1) {
			quoted = strings.Trim(quoted, "`")
			levels, found := isMessage(all, quoted)
			if !found {
				t.Errorf("docs/operations.md: nothing logs %q", quoted)
			}
			for _, level := range levels {
				if !strings.Contains(cells[1], level) && level != "depends" {
					t.Errorf("docs/operations.md: %q is logged at level %s, and the table says %q", quoted, level, cells[1])
				}
			}
			documented[quoted] = true
		}
	}
	for m, levels := range all {
		if slices.Equal(levels, []string{"debug"}) {
			continue
		}
		if !documented[m] && !slices.ContainsFunc(sorted(documented), func(q string) bool {
			start, cut := strings.CutSuffix(q, "…")
			return cut && strings.HasPrefix(m, start)
		}) {
			t.Errorf("docs/operations.md does not have the log message %q", m)
		}
	}
}

// What other text quotes from the log is there, too.
func TestQuotedLogLinesExist(t *testing.T) {
	all := logged(t)
	seen := 0
	for name, text := range markdown(t) {
		if strings.HasPrefix(name, "mosquitto/") { // the broker's own log
			continue
		}
		for quoted := range words("\\b(?:the gateway logs|the log (?:then )?says|log line) `([^`]+)`", prose(text)) {
			seen++
			start, _, _ := strings.Cut(quoted, ":")
			if _, found := isMessage(all, quoted); found {
				continue
			}
			if _, found := isMessage(all, start+":…"); !found || !regexp.MustCompile(`^[a-z_]+$`).MatchString(start) {
				t.Errorf("%s: nothing logs %q", name, quoted)
			}
		}
	}
	if seen < 2 {
		t.Errorf("found %d quotations, want at least 2: is the pattern still right?", seen)
	}
}
