package bridge

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/vulturepi/gateway/internal/mqtt"
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
	w.mu.Lock()
	defer w.mu.Unlock()
	for filter := range w.counts {
		if strings.HasPrefix(name, "$SYS/") && topic.Match(filter, name) {
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

// leave unsubscribes from what a round has asked for, but for what the control link reads for good.
func (f *fetcher) leave(ctx context.Context, k *mqtt.Conn, filters []string) error {
	filters = slices.DeleteFunc(slices.Clone(filters), func(f string) bool { _, own := sysNames[f]; return own })
	if len(filters) == 0 {
		return nil
	}
	_, err := k.Unsubscribe(ctx, filters)
	return err
}
