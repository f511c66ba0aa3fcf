package spectest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Operation is one method of one path.
type Operation struct {
	Method, Path, Pointer string
	Doc                   *Document
}

var methods = []string{"get", "head", "post", "put", "patch", "delete", "options", "trace"}

// Operations are all of the document, by path and method.
func (d *Document) Operations(t testing.TB) []Operation {
	t.Helper()
	var all []Operation
	for _, path := range Keys(d.Object("/paths")) {
		base := "/paths/" + strings.ReplaceAll(path, "/", "~1")
		for _, m := range Keys(d.Object(base)) {
			if slices.Contains(methods, m) {
				all = append(all, Operation{strings.ToUpper(m), path, base + "/" + m, d})
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("no operations found")
	}
	return all
}

// At is the operation's path for a topic.
func (op Operation) At(topic string) string { return strings.Replace(op.Path, "{topic}", topic, 1) }

// Response gives the pointer to the answer with that status, behind its $ref.
func (op Operation) Response(status string) (string, bool) {
	pointer := op.Pointer + "/responses/" + status
	r := op.Doc.Object(pointer)
	if ref, ok := r["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
		r = op.Doc.Object(pointer)
	}
	return pointer, r != nil
}

// Statuses are those of the operation's answers.
func (op Operation) Statuses() []string { return Keys(op.Doc.Object(op.Pointer + "/responses")) }

// Codes are the problem codes that the answer with that status may have.
func (op Operation) Codes(status string) []string {
	pointer, _ := op.Response(status)
	all, _ := op.Doc.Find(pointer + "/content/application~1problem+json/schema/allOf")
	parts, _ := all.([]any)
	if len(parts) != 2 {
		return nil
	}
	code, _ := parts[1].(map[string]any)["properties"].(map[string]any)["code"].(map[string]any)
	if only, ok := code["const"].(string); ok {
		return []string{only}
	}
	var codes []string
	list, _ := code["enum"].([]any)
	for _, c := range list {
		codes = append(codes, c.(string))
	}
	return codes
}

// Example is one named example below a media type.
type Example struct {
	Name, Pointer string
	Value         any
}

// Examples are those of a media type.
func (d *Document) Examples(media string) []Example {
	var all []Example
	for _, name := range Keys(d.Object(media + "/examples")) {
		pointer := media + "/examples/" + name
		all = append(all, Example{name, pointer, d.Object(pointer)["value"]})
	}
	return all
}

// Parameters are those of the operation and of its path, behind their $ref.
func (op Operation) Parameters(t testing.TB) []map[string]any {
	t.Helper()
	path := "/paths/" + strings.ReplaceAll(op.Path, "/", "~1")
	shared, _ := op.Doc.Object(path)["parameters"].([]any)
	own, _ := op.Doc.Object(op.Pointer)["parameters"].([]any)
	var all []map[string]any
	for _, v := range append(append([]any(nil), shared...), own...) {
		p := v.(map[string]any)
		if ref, ok := p["$ref"].(string); ok {
			p = op.Doc.At(t, strings.TrimPrefix(ref, "#")).(map[string]any)
		}
		all = append(all, p)
	}
	return all
}

// ExampleOf is the parameter's example of that name; where it must be given,
// any one will do.
func ExampleOf(p map[string]any, name string) (string, bool) {
	list, _ := p["examples"].(map[string]any)
	if e, ok := list[name].(map[string]any); ok {
		return fmt.Sprint(e["value"]), true
	}
	if p["required"] != true {
		return "", false
	}
	if e, ok := p["example"]; ok {
		return fmt.Sprint(e), true
	}
	for _, first := range Keys(list) {
		return fmt.Sprint(list[first].(map[string]any)["value"]), true
	}
	return "", false
}

// Query are the names of the operation's query parameters.
func (op Operation) Query(t testing.TB) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	list, _ := op.Doc.Object(op.Pointer)["parameters"].([]any)
	for _, v := range list {
		p := v.(map[string]any)
		if ref, ok := p["$ref"].(string); ok {
			p = op.Doc.At(t, strings.TrimPrefix(ref, "#")).(map[string]any)
		}
		if p["in"] == "query" {
			names[p["name"].(string)] = true
		}
	}
	return names
}
