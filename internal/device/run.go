package device

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Upstream is what a registry needs from the broker side.
type Upstream interface {
	// Hold makes the messages that match filter reach Message from now on.
	Hold(ctx context.Context, filter string) error
	// Kept gives the retained messages that match filter, in any order, when all
	// that the broker handled before has reached Message.
	Kept(ctx context.Context, filter string, each func(topic string, payload []byte)) error
}

// Up says that messages arrive from now on, Down that they do not. What was told
// before counts no longer.
func (r *Registry) Up() {
	r.flowing(r.opts.Now(), true)
	r.askAnew()
}

// Down: see Up.
func (r *Registry) Down() {
	r.flowing(r.opts.Now(), false)
	r.Lost(ReasonBrokerLost)
}

// Run keeps the filters of the patterns held, asks for what the broker keeps on
// them whenever messages arrive again, and watches what may not go quiet, until
// ctx ends.
func (r *Registry) Run(ctx context.Context, up Upstream) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		denied := r.hold(ctx, up, r.filters())
		running.Go(func() { r.ask(ctx, up) })
		for len(denied) > 0 && pause(ctx, 15*retry) {
			denied = r.hold(ctx, up, denied)
		}
	})
	r.watch(ctx)
}

// askAnew has what the broker keeps asked for again.
func (r *Registry) askAnew() {
	select {
	case r.asks <- struct{}{}:
	default:
	}
}

// retry is how long the broker is left alone that has not answered.
const retry = 2 * time.Second

// filters are what is to be held, each once.
func (r *Registry) filters() (all []string) {
	for _, p := range r.opts.Patterns {
		all = append(all, p.Filter)
	}
	for _, q := range r.opts.Quiet {
		all = append(all, q.Filter)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// hold holds filters, and gives those back that the broker denies.
func (r *Registry) hold(ctx context.Context, up Upstream, filters []string) (denied []string) {
	for _, f := range filters {
		err := up.Hold(ctx, f)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			r.opts.Logger.Warn("the broker does not let the gateway read topics of devices", "filter", f, "err", err)
			denied = append(denied, f)
			continue
		}
		r.mu.Lock()
		r.held++
		r.mu.Unlock()
		r.askAnew()
	}
	return denied
}

// ask asks for retained messages once in each life of what is told, and when
// another filter is held.
func (r *Registry) ask(ctx context.Context, up Upstream) {
	type round struct {
		life uint64
		held int
	}
	var done round
	for {
		r.mu.Lock()
		now, flows := round{r.life, r.held}, !r.topics.up.IsZero()
		r.mu.Unlock()
		switch {
		case now == done || !flows:
			select {
			case <-r.asks:
			case <-ctx.Done():
				return
			}
		case r.askAll(ctx, up):
			done = now
		case !pause(ctx, retry):
			return
		}
	}
}

func (r *Registry) askAll(ctx context.Context, up Upstream) bool {
	for i := range r.opts.Patterns {
		p := &r.opts.Patterns[i]
		if !p.States() {
			continue
		}
		if err := up.Kept(ctx, p.Filter, func(topic string, payload []byte) { r.Message(topic, payload, true) }); err != nil {
			return false
		}
	}
	return true
}

// watch has topics fall silent when it is time.
func (r *Registry) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.topics.sooner:
		case <-ctx.Done():
			return
		}
		next, more := r.fallSilent(r.opts.Now())
		for more {
			next, more = r.fallSilent(r.opts.Now())
		}
		if next > 0 {
			timer.Reset(next)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
