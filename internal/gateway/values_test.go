package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
)

// hesitant is a broker side that does not grant a filter at first.
type hesitant struct {
	Broker
	denied string
	held   []string
}

func (h *hesitant) Want(_ context.Context, filter string) error {
	if filter == h.denied {
		h.denied = ""
		return errors.New("denied")
	}
	h.held = append(h.held, filter)
	return nil
}

// A filter of value metrics that the broker denies keeps no other from being
// held, and is held when it is granted.
func TestDeniedValuesHurtNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &hesitant{denied: "a/+"}
		holdValues(t.Context(), b, []string{"a/+", "b/+", "c/+"}, slog.New(slog.DiscardHandler))
		if want := []string{"b/+", "c/+", "a/+"}; !slices.Equal(b.held, want) {
			t.Errorf("got %q held, want %q", b.held, want)
		}
	})
}
