package docs_test

import (
	"strings"
	"testing"
)

// The programs of the Go packages' pages are examples, which their tests run.
func TestDocumentedProgramsAreExamples(t *testing.T) {
	for page, example := range map[string]struct{ file, name, end string }{
		"go-client.md":  {"../client/example_test.go", "Example", "\n\t// Output"},
		"device-sdk.md": {"../devicecom/example_test.go", "ExampleConnectBroker", "\n}\n"},
	} {
		_, body, found := strings.Cut(source(t, example.file), "func "+example.name+"() {\n")
		body, _, ended := strings.Cut(body, example.end)
		if !found || !ended {
			t.Fatalf("%s has no %s", example.file, example.name)
		}
		if want := "func main() {\n" + body + "\n}\n```\n"; !strings.Contains(source(t, page), want) {
			t.Errorf("docs/%s does not have %s of %s as its program:\n%s", page, example.name, example.file, want)
		}
	}
}
