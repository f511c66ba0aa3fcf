// Package spectest reads the contract for tests: openapi.yaml and asyncapi.yaml
// of package spec, decoded from YAML, with their schemas, operations and
// examples. The tests beside the files use it, and those that hold a running
// gateway against them. It knows nothing of the gateway.
package spectest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	spec "github.com/vulturepi/gateway/api"
)

// Document is one of the contract's files, decoded from YAML. Numbers keep
// their digits: 21.50 stays 21.50.
type Document struct {
	name string
	root map[string]any // nobody changes it

	mu       sync.Mutex // guards all below
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by pointer
}

// OpenAPI is openapi.yaml.
func OpenAPI(t testing.TB) *Document {
	t.Helper()
	return load(t, "openapi.yaml", spec.OpenAPI, jsonschema.Draft2020)
}

// AsyncAPI is asyncapi.yaml.
func AsyncAPI(t testing.TB) *Document {
	t.Helper()
	return load(t, "asyncapi.yaml", spec.AsyncAPI, jsonschema.Draft7)
}

// loaded are the documents that have been read, by name.
var (
	loading sync.Mutex // guards loaded
	loaded  = map[string]*Document{}
)

func load(t testing.TB, name string, body []byte, draft *jsonschema.Draft) *Document {
	t.Helper()
	loading.Lock()
	defer loading.Unlock()
	if d := loaded[name]; d != nil {
		return d
	}
	text := verbatim(t, body)
	d := &Document{name: name, root: Decode[map[string]any](t, text), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(draft)
	d.compiler.AssertFormat()
	closed := Decode[map[string]any](t, text)
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

// Validate checks a JSON text against the schema at a JSON pointer.
func (d *Document) Validate(pointer string, body []byte) error {
	schema, err := d.schema(pointer)
	if err != nil {
		return fmt.Errorf("schema %s: %w", pointer, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

func (d *Document) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.schemas[pointer]; s != nil {
		return s, nil
	}
	s, err := d.compiler.Compile("mem:///" + d.name + "#" + pointer)
	if err == nil {
		d.schemas[pointer] = s
	}
	return s, err
}

// Compile reports whether the schema at a JSON pointer is one.
func (d *Document) Compile(pointer string) error {
	_, err := d.schema(pointer)
	return err
}

// Name is the file's.
func (d *Document) Name() string { return d.name }

// At is the value at a JSON pointer; it fails if there is none.
func (d *Document) At(t testing.TB, pointer string) any {
	t.Helper()
	v, ok := d.Find(pointer)
	if !ok {
		t.Fatalf("%s has nothing at %s", d.name, pointer)
	}
	return v
}

// Find is At, and reports whether there is something.
func (d *Document) Find(pointer string) (any, bool) {
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

// Object is the object at a JSON pointer, or nil.
func (d *Document) Object(pointer string) map[string]any {
	v, _ := d.Find(pointer)
	object, _ := v.(map[string]any)
	return object
}

// Refs are all targets of $ref in the document.
func (d *Document) Refs() []string {
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
