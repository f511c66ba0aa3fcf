package bridge

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// What /readyz and the log say about a connection is not in this program's own
// words for its insides.
func TestGivenUpConnectionIsSaidInPlainWords(t *testing.T) {
	t.Parallel()
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		for _, err := range []error{err, fmt.Errorf("SUBSCRIBE: %w", err)} {
			if got := newWords(nil, "").of(err); got == "" || strings.Contains(got, "context") {
				t.Errorf("%v: got %q, want plain words", err, got)
			}
		}
	}
}
