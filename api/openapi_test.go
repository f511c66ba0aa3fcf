package spec_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"

	spec "github.com/vulturepi/gateway/api"
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

// Every route is in the file, and the file has no other. Two exceptions: HEAD
// goes without saying where there is GET, and /docs/* are the page's assets.
// The rest of a path is {topic}.
func TestOpenAPIHasExactlyTheRoutes(t *testing.T) {
	g := start(t)
	built := map[string]bool{}
	err := chi.Walk(g.server.Public().(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if route != "/docs/*" {
			built[method+" "+strings.Replace(route, "/*", "/{topic}", 1)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for route := range built {
		if path, isHead := strings.CutPrefix(route, "HEAD "); isHead && built["GET "+path] {
			delete(built, route)
		}
	}
	var described []string
	for _, op := range operations(t, openAPI(t)) {
		described = append(described, op.method+" "+op.path)
	}
	slices.Sort(described)
	if got, want := described, keys(built); !slices.Equal(got, want) {
		t.Errorf("openapi.yaml has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// operation is one method of one path.
type operation struct {
	method, path, pointer string
	doc                   *document
}

var methods = []string{"get", "head", "post", "put", "patch", "delete", "options", "trace"}

func operations(t *testing.T, d *document) []operation {
	t.Helper()
	var all []operation
	for _, path := range keys(d.object("/paths")) {
		base := "/paths/" + strings.ReplaceAll(path, "/", "~1")
		for _, m := range keys(d.object(base)) {
			if slices.Contains(methods, m) {
				all = append(all, operation{strings.ToUpper(m), path, base + "/" + m, d})
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("no operations found")
	}
	return all
}

// at is the operation's path for a topic.
func (op operation) at(topic string) string { return strings.Replace(op.path, "{topic}", topic, 1) }

// response gives the pointer to the answer with that status, behind its $ref.
func (op operation) response(status string) (string, bool) {
	pointer := op.pointer + "/responses/" + status
	r := op.doc.object(pointer)
	if ref, ok := r["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
		r = op.doc.object(pointer)
	}
	return pointer, r != nil
}

func (op operation) statuses() []string { return keys(op.doc.object(op.pointer + "/responses")) }

// codes are the problem codes that the answer with that status may have.
func (op operation) codes(status string) []string {
	pointer, _ := op.response(status)
	all, _ := op.doc.find(pointer + "/content/application~1problem+json/schema/allOf")
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

// example is one named example below a media type.
type example struct {
	name, pointer string
	value         any
}

func (d *document) examples(media string) []example {
	var all []example
	for _, name := range keys(d.object(media + "/examples")) {
		pointer := media + "/examples/" + name
		all = append(all, example{name, pointer, d.object(pointer)["value"]})
	}
	return all
}

func TestOpenAPIExamplesMatchTheirSchemas(t *testing.T) {
	d := openAPI(t)
	seen := 0
	check := func(media string) {
		for _, e := range d.examples(media) {
			seen++
			if err := d.validate(media+"/schema", encode(t, e.value)); err != nil {
				t.Errorf("%s: %v", e.pointer, err)
			}
			mediaType := strings.ReplaceAll(media[strings.LastIndexByte(media, '/')+1:], "~1", "/")
			if text, ok := e.value.(string); ok && isStream(mediaType) {
				d.checkObjects(t, media, mediaType, []byte(text))
			}
		}
	}
	for _, op := range operations(t, d) {
		for media := range d.object(op.pointer + "/requestBody/content") {
			check(op.pointer + "/requestBody/content/" + strings.ReplaceAll(media, "/", "~1"))
		}
		for _, status := range op.statuses() {
			pointer, ok := op.response(status)
			if !ok {
				t.Errorf("%s %s has no response %s", op.method, op.path, status)
			}
			for media := range d.object(pointer + "/content") {
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
	d := openAPI(t)
	for _, op := range operations(t, d) {
		for _, status := range op.statuses() {
			pointer, _ := op.response(status)
			name := op.method + " " + op.path + " " + status
			if d.object(pointer+"/headers/X-Request-Id") == nil {
				t.Errorf("%s: X-Request-Id is missing", name)
			}
			if (status == "503" || status == "429" || status == "409") && d.object(pointer+"/headers/Retry-After") == nil {
				t.Errorf("%s: Retry-After is missing", name)
			}
			isProblem := d.object(pointer+"/content/application~1problem+json") != nil
			if isProblem && len(op.codes(status)) == 0 {
				t.Errorf("%s: no codes", name)
			}
			for _, e := range d.examples(pointer + "/content/application~1problem+json") {
				if code := e.value.(map[string]any)["code"]; code != e.name && e.name != "several_fields" {
					t.Errorf("%s: example %s shows %v, want it named after its code", name, e.name, code)
				}
			}
		}
	}
}
