package client_test

import (
	"os"
	"strings"
	"testing"
)

// The listing of docs/go-client.md is the first example, which is run.
func TestDocumentedProgramIsTheExample(t *testing.T) {
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/go-client.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(example), "func Example() {\n")
	body, _, ended := strings.Cut(body, "\n\t// Output")
	if !found || !ended {
		t.Fatal("example_test.go has no Example")
	}
	if want := "func main() {\n" + body + "\n}\n```\n"; !strings.Contains(string(doc), want) {
		t.Errorf("docs/go-client.md does not have the example as its program:\n%s", want)
	}
}
