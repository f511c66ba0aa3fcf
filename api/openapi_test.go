package spec_test

import (
	"context"
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
