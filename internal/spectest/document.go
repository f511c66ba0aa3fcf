package spec_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	spec "github.com/vulturepi/gateway/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// document is one of the contract's files, decoded from YAML. Numbers keep
// their digits: 21.50 stays 21.50.
type document struct {
	name     string
	root     map[string]any
	compiler *jsonschema.Compiler
}

func openAPI(t *testing.T) *document {
	t.Helper()
	return load(t, "openapi.yaml", spec.OpenAPI, jsonschema.Draft2020)
}

func asyncAPI(t *testing.T) *document {
	t.Helper()
	return load(t, "asyncapi.yaml", spec.AsyncAPI, jsonschema.Draft7)
}

// loaded keeps the documents, which nothing changes. Tests of this package do
// not run in parallel.
var loaded = map[string]*document{}

func load(t *testing.T, name string, body []byte, draft *jsonschema.Draft) *document {
	t.Helper()
	if d := loaded[name]; d != nil {
		return d
	}
	d := &document{name: name}
	d.root = decode[map[string]any](t, verbatim(t, body))
	d.compiler = jsonschema.NewCompiler()
	d.compiler.DefaultDraft(draft)
	d.compiler.AssertFormat()
	closed := decode[map[string]any](t, verbatim(t, body))
	closeObjects(closed)
	if err := d.compiler.AddResource("mem:///"+name, closed); err != nil {
		t.Fatal(err)
	}
	loaded[name] = d
	return d
}

// closeObjects forbids unlisted properties in every object schema that does
// not speak of them. The files leave objects open for what may come; an answer
// of today must not have more than the files tell.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, lists := v["properties"].(map[string]any)
		if _, speaks := v["additionalProperties"]; lists && !speaks && v["type"] == "object" {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			closeObjects(child)
		}
	case []any:
		for _, child := range v {
			closeObjects(child)
		}
	}
}

// validate checks a JSON text against the schema at a JSON pointer.
func (d *document) validate(pointer string, body []byte) error {
	schema, err := d.compiler.Compile("mem:///" + d.name + "#" + pointer)
	if err != nil {
		return fmt.Errorf("schema %s: %w", pointer, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// at is the value at a JSON pointer; it fails if there is none.
func (d *document) at(t *testing.T, pointer string) any {
	t.Helper()
	v, ok := d.find(pointer)
	if !ok {
		t.Fatalf("%s has nothing at %s", d.name, pointer)
	}
	return v
}

func (d *document) find(pointer string) (any, bool) {
	var v any = d.root
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		object, _ := v.(map[string]any)
		child, ok := object[token]
		if !ok {
			return nil, false
		}
		v = child
	}
	return v, true
}

// object is the object at a JSON pointer, or nil.
func (d *document) object(pointer string) map[string]any {
	v, _ := d.find(pointer)
	object, _ := v.(map[string]any)
	return object
}

// refs are all targets of $ref in the document.
func (d *document) refs() []string {
	var all []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				all = append(all, ref)
			}
			for _, child := range v {
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	walk(d.root)
	return all
}

// verbatim turns YAML into JSON without touching the digits of numbers.
func verbatim(t *testing.T, body []byte) []byte {
	t.Helper()
	var node yaml.Node
	if err := yaml.Unmarshal(body, &node); err != nil {
		t.Fatal(err)
	}
	out, err := appendNode(nil, &node)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func appendNode(dst []byte, n *yaml.Node) ([]byte, error) {
	var err error
	switch n.Kind {
	case yaml.DocumentNode:
		return appendNode(dst, n.Content[0])
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, child := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendNode(dst, child); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, n.Content[i].Value)
			dst = append(dst, ':')
			if dst, err = appendNode(dst, n.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!int", "!!float", "!!bool", "!!null":
			return append(dst, n.Value...), nil
		}
		return appendText(dst, n.Value), nil
	}
	return nil, fmt.Errorf("line %d: neither mapping, sequence nor scalar", n.Line)
}

func appendText(dst []byte, s string) []byte {
	b, _ := json.Marshal(s) // a string always encodes
	return append(dst, b...)
}

// decode reads JSON; numbers become json.Number.
func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v: %.200s", err, body)
	}
	return v
}

// encode writes a value as JSON; json.Number keeps its digits.
func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// volatile are the members that differ from one answer to the next.
var volatile = []string{"took_ms", "request_id", "time", "since", "epoch", "cursor", "after", "before"}

// steady is v with volatile members blanked, as JSON.
func steady(t *testing.T, v any) string {
	t.Helper()
	var blank func(v any)
	blank = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, child := range v {
				if slices.Contains(volatile, name) {
					v[name] = "…"
				}
				blank(child)
			}
		case []any:
			for _, child := range v {
				blank(child)
			}
		}
	}
	v = decode[any](t, encode(t, v))
	blank(v)
	return string(encode(t, v))
}

func keys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func TestBothFilesResolve(t *testing.T) {
	for _, d := range []*document{openAPI(t), asyncAPI(t)} {
		used := map[string]bool{}
		for _, ref := range d.refs() {
			used[ref] = true
			pointer, inside := strings.CutPrefix(ref, "#")
			if _, ok := d.find(pointer); !inside || !ok {
				t.Errorf("%s: $ref %s leads nowhere", d.name, ref)
			}
		}
		for _, name := range keys(d.object("/components/schemas")) {
			if _, err := d.compiler.Compile("mem:///" + d.name + "#/components/schemas/" + name); err != nil {
				t.Errorf("%s: schema %s: %v", d.name, name, err)
			}
			if !used["#/components/schemas/"+name] {
				t.Errorf("%s: schema %s is not used", d.name, name)
			}
		}
	}
}

// What both files describe, they describe in the same words.
func TestSharedSchemasAgree(t *testing.T) {
	open, async := openAPI(t).object("/components/schemas"), asyncAPI(t).object("/components/schemas")
	shared := 0
	for _, name := range keys(open) {
		other, both := async[name]
		if !both {
			continue
		}
		shared++
		if got, want := string(encode(t, other)), string(encode(t, open[name])); got != want {
			t.Errorf("schema %s differs:\nasyncapi %s\nopenapi  %s", name, got, want)
		}
	}
	if shared < 16 {
		t.Errorf("got %d shared schemas, want 16 or more", shared)
	}
	fields := func(schemas map[string]any, name string) []string {
		return keys(schemas[name].(map[string]any)["properties"].(map[string]any))
	}
	if got, want := fields(async, "PublishOp"), append(fields(open, "Publish"), "id", "op"); !sameSet(got, want) {
		t.Errorf("the publish op has fields %v, want those of POST /publish, id and op: %v", got, want)
	}
	if got, want := fields(async, "Published"), append(fields(open, "PublishResult"), "id", "type", "status"); !sameSet(got, want) {
		t.Errorf("the published frame has fields %v, want those of PublishResult and its own: %v", got, want)
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
