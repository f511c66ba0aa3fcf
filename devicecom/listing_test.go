package devicecom

import (
	"os"
	"strings"
	"testing"
)

// The listing of docs/device-sdk.md is the example that the tests run.
func TestDocumentedProgramIsTheExample(t *testing.T) {
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/device-sdk.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(example), "func ExampleConnectBroker() {\n")
	body, _, ended := strings.Cut(body, "\n}\n")
	if !found || !ended {
		t.Fatal("example_test.go has no ExampleConnectBroker")
	}
	if want := "func main() {\n" + body + "\n}\n```\n"; !strings.Contains(string(doc), want) {
		t.Errorf("docs/device-sdk.md does not have the example as its program:\n%s", want)
	}
}
