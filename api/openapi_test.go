package spec_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	spec "github.com/vulturepi/gateway/api"
	"github.com/vulturepi/gateway/internal/spectest"
)

func TestOpenAPIIsValid(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(spec.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaPatternValidation(), openapi3.EnableMultiError()); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("got OpenAPI %s, want 3.1", doc.OpenAPI)
	}
}

func TestOpenAPIExamplesMatchTheirSchemas(t *testing.T) {
	d := spectest.OpenAPI(t)
	seen := 0
	check := func(media string) {
		for _, e := range d.Examples(media) {
			seen++
			if err := d.Validate(media+"/schema", spectest.Encode(t, e.Value)); err != nil {
				t.Errorf("%s: %v", e.Pointer, err)
			}
			mediaType := strings.ReplaceAll(media[strings.LastIndexByte(media, '/')+1:], "~1", "/")
			if text, ok := e.Value.(string); ok && spectest.IsStream(mediaType) {
				d.CheckObjects(t, media, mediaType, text)
			}
		}
	}
	for _, op := range d.Operations(t) {
		for media := range d.Object(op.Pointer + "/requestBody/content") {
			check(op.Pointer + "/requestBody/content/" + strings.ReplaceAll(media, "/", "~1"))
		}
		for _, status := range op.Statuses() {
			pointer, ok := op.Response(status)
			if !ok {
				t.Errorf("%s %s has no response %s", op.Method, op.Path, status)
			}
			for media := range d.Object(pointer + "/content") {
				check(pointer + "/content/" + strings.ReplaceAll(media, "/", "~1"))
			}
		}
	}
	if seen < 150 {
		t.Errorf("got %d examples, want 150 or more", seen)
	}
}

// Every answer names its headers, every problem its status and codes.
func TestOpenAPIAnswersAreComplete(t *testing.T) {
	d := spectest.OpenAPI(t)
	for _, op := range d.Operations(t) {
		for _, status := range op.Statuses() {
			pointer, _ := op.Response(status)
			name := op.Method + " " + op.Path + " " + status
			if d.Object(pointer+"/headers/X-Request-Id") == nil {
				t.Errorf("%s: X-Request-Id is missing", name)
			}
			if (status == "503" || status == "429" || status == "409") && d.Object(pointer+"/headers/Retry-After") == nil {
				t.Errorf("%s: Retry-After is missing", name)
			}
			isProblem := d.Object(pointer+"/content/application~1problem+json") != nil
			if isProblem && len(op.Codes(status)) == 0 {
				t.Errorf("%s: no codes", name)
			}
			for _, e := range d.Examples(pointer + "/content/application~1problem+json") {
				if code := e.Value.(map[string]any)["code"]; code != e.Name && e.Name != "several_fields" {
					t.Errorf("%s: example %s shows %v, want it named after its code", name, e.Name, code)
				}
			}
		}
	}
}

// Generators of clients need a type beside every const and enum, or they make
// it unknown; and they make types of operations and components, whose names
// must not be those of schemas.
func TestOpenAPISuitsGenerators(t *testing.T) {
	d := spectest.OpenAPI(t)
	for _, part := range []string{"/components", "/paths"} {
		walk(d.Object(part), part, func(pointer string, schema map[string]any) { wantType(t, pointer, schema) })
	}
	taken := map[string]bool{}
	for name := range d.Object("/components/schemas") {
		taken[strings.ToLower(name)] = true
	}
	for name := range d.Object("/components/parameters") {
		if taken[strings.ToLower(name)] {
			t.Errorf("%s is a schema and a parameter", name)
		}
	}
	for _, op := range d.Operations(t) {
		id, _ := d.At(t, op.Pointer+"/operationId").(string)
		for _, suffix := range []string{"Result", "Response", "Data", "Error", "Body", "Params"} {
			if taken[strings.ToLower(id+suffix)] {
				t.Errorf("%s%s is a schema, and what generators make of operation %s", id, suffix, id)
			}
		}
	}
	for name := range d.Object("/components/schemas/Publish/properties") {
		if _, ok := d.Find("/components/schemas/Publish/properties/" + name + "/default"); ok {
			t.Errorf("Publish.%s has a default, which makes it required in openapi-typescript", name)
		}
	}
}

// walk visits every object of a document but those of examples.
func walk(v any, pointer string, visit func(pointer string, object map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(pointer, v)
		for name, child := range v {
			if name != "example" && name != "examples" {
				walk(child, pointer+"/"+name, visit)
			}
		}
	case []any:
		for i, child := range v {
			walk(child, fmt.Sprintf("%s/%d", pointer, i), visit)
		}
	}
}

func wantType(t *testing.T, pointer string, schema map[string]any) {
	t.Helper()
	_, isConst := schema["const"]
	_, isEnum := schema["enum"].([]any)
	if _, ok := schema["type"].(string); !ok && (isConst || isEnum) {
		t.Errorf("%s: const or enum without type", pointer)
	}
}
