package gateway

import (
	"context"
	"log/slog"
	"time"
)

// shutdown ends everything that clients see, within limit:
//
//  1. /readyz says no, so that load balancers turn away, and new streams and
//     publishes are refused.
//  2. The public listener closes; requests under way are answered.
//  3. Publishes in flight end as they really end.
//  4. Streams are told and closed, all at once. net/http knows nothing of them.
//  5. What is left of the requests is cut, and the admin listener closes.
//
// What Run deferred follows: the connections to the broker, the hub, the
// built-in broker.
func (p *parts) shutdown(limit time.Duration, log *slog.Logger) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	p.server.Drain()
	streams := 0
	for _, n := range p.hub.Stats().Subscribers {
		streams += n
	}
	err := p.public.Shutdown(ctx)
	p.server.Quiesce(ctx)
	p.hub.Shutdown(ctx)
	if err != nil {
		_ = p.public.Close()
	}
	_ = p.admin.Close()
	log.Info("gateway stopped", "streams", streams, "took_ms", time.Since(start).Milliseconds(), "complete", err == nil)
}
