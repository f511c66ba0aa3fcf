package spec_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/spectest"
)

func TestBothFilesResolve(t *testing.T) {
	for _, d := range []*spectest.Document{spectest.OpenAPI(t), spectest.AsyncAPI(t)} {
		used := map[string]bool{}
		for _, ref := range d.Refs() {
			used[ref] = true
			pointer, inside := strings.CutPrefix(ref, "#")
			if _, ok := d.Find(pointer); !inside || !ok {
				t.Errorf("%s: $ref %s leads nowhere", d.Name(), ref)
			}
		}
		for _, name := range spectest.Keys(d.Object("/components/schemas")) {
			if err := d.Compile("/components/schemas/" + name); err != nil {
				t.Errorf("%s: schema %s: %v", d.Name(), name, err)
			}
			if !used["#/components/schemas/"+name] {
				t.Errorf("%s: schema %s is not used", d.Name(), name)
			}
		}
	}
}

// What both files describe, they describe in the same words.
func TestSharedSchemasAgree(t *testing.T) {
	open, async := spectest.OpenAPI(t).Object("/components/schemas"), spectest.AsyncAPI(t).Object("/components/schemas")
	shared := 0
	for _, name := range spectest.Keys(open) {
		other, both := async[name]
		if !both {
			continue
		}
		shared++
		if got, want := string(spectest.Encode(t, other)), string(spectest.Encode(t, open[name])); got != want {
			t.Errorf("schema %s differs:\nasyncapi %s\nopenapi  %s", name, got, want)
		}
	}
	if shared < 16 {
		t.Errorf("got %d shared schemas, want 16 or more", shared)
	}
	fields := func(schemas map[string]any, name string) []string {
		return spectest.Keys(schemas[name].(map[string]any)["properties"].(map[string]any))
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
