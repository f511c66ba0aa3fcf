package api

import (
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	spec "github.com/vulturepi/gateway/api"
	"github.com/vulturepi/gateway/wire"
)

const errorsFile = "../../docs/errors.md"

const errorsIntro = `# Errors

Every error of the gateway is a problem ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)): over HTTP the body of an
` + "`application/problem+json`" + ` answer, on a WebSocket the ` + "`problem`" + ` of an ` + "`error`" + ` frame.

` + "```json" + `
{"type":"docs/errors#invalid_qos","title":"Invalid QoS","status":422,"detail":"The QoS must be the number 0, 1 or 2.",
 "code":"invalid_qos","retryable":false,"request_id":"q7d2m5x0a9",
 "errors":[{"pointer":"/qos","detail":"The QoS must be the number 0, 1 or 2."}]}
` + "```" + `

| field | what it is |
|---|---|
| ` + "`code`" + ` | what went wrong. It never changes its meaning: decide by it |
| ` + "`type`" + ` | a link to the code's explanation, which the gateway serves at ` + "`/docs/errors`" + ` |
| ` + "`title`" + ` | what all problems with this code have in common |
| ` + "`status`" + ` | the HTTP status; on a WebSocket what it would have been |
| ` + "`detail`" + ` | what is wrong this time, in a sentence for people; it may change |
| ` + "`retryable`" + ` | see below |
| ` + "`request_id`" + ` | names the request in the gateway's log; on a WebSocket its handshake |
| ` + "`errors`" + ` | the wrong fields, if it is about fields: a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) and a sentence for each. A query parameter's pointer is ` + "`/`" + ` and its name |

` + "`\"retryable\":true`" + ` means: the same request, unchanged, may work later, and sending it again does no harm. With status 503, 429 and 409 the
header ` + "`Retry-After`" + ` says after how many seconds. ` + "`false`" + ` means: change the request first, or find out what became of it.

New codes may come. Take one that you do not know by its status.

`

// errorsDocument is docs/errors.md, made from the table of codes.
func errorsDocument() string {
	var b strings.Builder
	b.WriteString(errorsIntro)
	b.WriteString("## All codes\n")
	for _, k := range kinds {
		retry := ""
		if k.retryable {
			retry = " Retryable."
		}
		fmt.Fprintf(&b, "\n### %s\n\n%d %s.%s\n\n%s\n", k.code, k.status, k.title, retry, k.meaning)
	}
	return b.String()
}

// UPDATE_DOCS=1 go test ./internal/api -run TestErrorsDocument writes it anew.
func TestErrorsDocumentIsTheTable(t *testing.T) {
	want := errorsDocument()
	if os.Getenv("UPDATE_DOCS") == "1" {
		if err := os.WriteFile(errorsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(errorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/errors.md is not what the table of codes says; run: UPDATE_DOCS=1 go test ./internal/api -run TestErrorsDocument")
	}
	var headings []wire.Code
	for _, m := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(string(got), -1) {
		headings = append(headings, wire.Code(m[1]))
	}
	if want := codes(); !slices.Equal(headings, want) {
		t.Errorf("docs/errors.md has the codes %v, want %v", headings, want)
	}
}

func codes() []wire.Code {
	var all []wire.Code
	for _, k := range kinds {
		all = append(all, k.code)
	}
	return all
}

func TestEveryKindIsWhole(t *testing.T) {
	seen := map[wire.Code]bool{}
	for _, k := range kinds {
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(string(k.code)) || seen[k.code] {
			t.Errorf("%q is malformed or listed twice", k.code)
		}
		seen[k.code] = true
		if k.status < 400 || k.status > 599 || k.title == "" || !strings.HasSuffix(k.meaning, ".") {
			t.Errorf("%s: got %d %q %q, want an error status, a title and a sentence", k.code, k.status, k.title, k.meaning)
		}
	}
}

// codeConstants are the values of the constants Code… in a Go file, in order.
func codeConstants(t *testing.T, path string) (all []wire.Code) {
	t.Helper()
	file, err := goparser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatalf("%s: %v", spec.Names[0].Name, err)
		}
		all = append(all, wire.Code(value))
		return true
	})
	if len(all) == 0 {
		t.Fatalf("%s has no constants Code…", path)
	}
	return all
}

func TestTableAndConstantsAgree(t *testing.T) {
	if got, want := codes(), codeConstants(t, "../../wire/codes.go"); !slices.Equal(got, want) {
		t.Errorf("the table has the codes\n%v\nwant the constants of package wire\n%v", got, want)
	}
}

// What package topic refuses with, has an entry.
func TestEveryTopicCodeIsAKind(t *testing.T) {
	for _, code := range codeConstants(t, "../topic/check.go") {
		if !slices.Contains(codes(), code) {
			t.Errorf("the table has no %s", code)
		}
	}
}

// Control flow compares constants: a literal would not be found when a code is
// looked for, and a misspelt one would compile.
func TestNoLiteralCodeInTheProgram(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	known := codes()
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := goparser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			value, err := strconv.Unquote(lit.Value)
			if err == nil && slices.Contains(known, wire.Code(value)) && value != metricOverloaded {
				t.Errorf("%s has the literal %s, want its constant in package wire", path, lit.Value)
			}
			return true
		})
	}
}

// metricOverloaded is the value of a metric's label, not a code.
const metricOverloaded = "overloaded"

// The page behind a problem's type has an anchor for each code.
func TestErrorsPageHasEveryCode(t *testing.T) {
	rec := httptest.NewRecorder()
	(&Server{}).getErrors(rec, httptest.NewRequest("GET", "/docs/errors", nil))
	for _, code := range codes() {
		if !strings.Contains(rec.Body.String(), `<h2 id="`+string(code)+`">`) {
			t.Errorf("/docs/errors has no section %s", code)
		}
	}
}

// Both contract files list the codes of the table, in its order; and where an
// answer lists some of them, they have the answer's status.
func TestContractCodesAreTheTable(t *testing.T) {
	for name, body := range map[string][]byte{"openapi.yaml": spec.OpenAPI, "asyncapi.yaml": spec.AsyncAPI} {
		var doc struct {
			Components struct {
				Schemas struct {
					ProblemCode struct{ Enum []wire.Code } `yaml:"ProblemCode"`
				}
			}
		}
		if err := yaml.Unmarshal(body, &doc); err != nil {
			t.Fatal(err)
		}
		if got, want := doc.Components.Schemas.ProblemCode.Enum, codes(); !slices.Equal(got, want) {
			t.Errorf("%s lists the codes\n%v\nwant\n%v", name, got, want)
		}
	}
	var doc any
	if err := yaml.Unmarshal(spec.OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	narrowed := 0
	eachObject(doc, func(o map[string]any) {
		status, isStatus := constOf(o["status"]).(int)
		code, isCode := o["code"].(map[string]any)
		if !isStatus || !isCode {
			return
		}
		narrowed++
		list, _ := code["enum"].([]any)
		if one := constOf(code); one != nil {
			list = []any{one}
		}
		for _, c := range list {
			i := slices.IndexFunc(kinds, func(k kind) bool { return string(k.code) == c })
			if i < 0 {
				t.Errorf("openapi.yaml has the code %v, which the table has not", c)
			} else if kinds[i].status != status {
				t.Errorf("openapi.yaml has %v below status %d, want %d", c, status, kinds[i].status)
			}
		}
	})
	if narrowed < 15 {
		t.Errorf("got %d answers with codes, want 15 or more", narrowed)
	}
}

func constOf(v any) any {
	o, _ := v.(map[string]any)
	return o["const"]
}

func eachObject(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, child := range v {
			eachObject(child, f)
		}
	case []any:
		for _, child := range v {
			eachObject(child, f)
		}
	}
}

// Every problem example of both files is the table's, and sounds like it.
func TestContractExamplesAreTheTable(t *testing.T) {
	for name, body := range map[string][]byte{"openapi.yaml": spec.OpenAPI, "asyncapi.yaml": spec.AsyncAPI} {
		var doc any
		if err := yaml.Unmarshal(body, &doc); err != nil {
			t.Fatal(err)
		}
		seen := 0
		eachObject(doc, func(o map[string]any) {
			code, isProblem := o["code"].(string)
			if !isProblem || o["retryable"] == nil {
				return
			}
			seen++
			k := kindOf(wire.Code(code))
			want := []any{problemTypeBase + code, k.title, k.status, k.retryable}
			if o["index"] != nil || o["ok"] != nil { // an outcome in a batch or of a filter, which is shorter
				want[0], want[1] = nil, nil
			}
			if got := []any{o["type"], o["title"], o["status"], o["retryable"]}; !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", name, got, want)
			}
		})
		if seen == 0 {
			t.Errorf("%s has no example of a problem", name)
		}
	}
}
