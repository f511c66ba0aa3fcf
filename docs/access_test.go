package docs_test

import (
	"strings"
	"testing"

	"github.com/vulturepi/gateway/internal/access"
)

// The access file that is shown is one that the gateway takes.
func TestShownAccessFileIsSound(t *testing.T) {
	_, block, found := strings.Cut(source(t, "security.md"), "```yaml\n")
	if !found {
		t.Fatal("docs/security.md shows no access file")
	}
	block, _, _ = strings.Cut(block, "```")
	file, err := access.ParseFile([]byte(block))
	if err != nil {
		t.Fatalf("the access file of docs/security.md: %v", err)
	}
	if n := len(file.Accounts()); n != 2 {
		t.Errorf("got %d principals, want 2", n)
	}
}
