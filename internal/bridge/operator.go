package bridge

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/vulturepi/gateway/internal/topic"
)

// systemWants are the filters below $SYS that operators want. They alone say what of it is the Receiver's: the gateway
// reads some of these topics for itself. The zero value wants nothing.
type systemWants struct {
	mu     sync.Mutex // guards counts; no other lock is taken under it
	counts map[string]int
}

func (w *systemWants) add(filter string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts == nil {
		w.counts = make(map[string]int)
	}
	if w.counts[filter] += n; w.counts[filter] <= 0 {
		delete(w.counts, filter)
	}
}

func (w *systemWants) match(name string) bool {
	if !strings.HasPrefix(name, "$SYS/") {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for filter := range w.counts {
		if topic.Match(filter, name) {
			return true
		}
	}
	return false
}

// wantSystem is Want for a filter below $SYS, which Watch never covers. What the gateway reads itself is subscribed as
// long as there is a link.
func (b *Bridge) wantSystem(ctx context.Context, filter string) error {
	b.system.add(filter, 1)
	if slices.Contains(b.cfg.System, filter) {
		return nil
	}
	err := b.subs.want(ctx, filter)
	if err != nil {
		b.system.add(filter, -1)
	}
	return err
}

func (b *Bridge) releaseSystem(filter string) {
	b.system.add(filter, -1)
	if !slices.Contains(b.cfg.System, filter) {
		b.subs.release(filter)
	}
}
