package access

import (
	"go/build"
	"slices"
	"strings"
	"testing"
)

// TestAccessKnowsTopicsAlone: whatever uses access must not be used by it.
func TestAccessKnowsTopicsAlone(t *testing.T) {
	const module = "github.com/vulturepi/gateway/"
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.DeleteFunc(p.Imports, func(path string) bool { return !strings.HasPrefix(path, module) })
	if want := []string{module + "internal/topic"}; !slices.Equal(ours, want) {
		t.Errorf("got imports %q, want %q", ours, want)
	}
}
