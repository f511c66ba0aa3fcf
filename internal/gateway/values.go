package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/decode"
	"github.com/vulturepi/gateway/internal/gauge"
)

// openValues makes the metrics of GATEWAY_VALUE_METRICS, nil without.
func openValues(cfg *config.Config, log *slog.Logger, rules *decode.Rules) (*gauge.Set, error) {
	file := cfg.ValueMetricRules()
	if file == nil {
		return nil, nil
	}
	values, err := gauge.New(file, gauge.Options{Decode: rules.Decode, Log: log})
	if err != nil {
		return nil, ConfigError{fmt.Errorf("GATEWAY_VALUE_METRICS: %q: %w", cfg.ValueMetrics, err)}
	}
	for _, filter := range values.Filters() {
		if !cfg.Watches(filter) {
			return nil, ConfigError{fmt.Errorf("GATEWAY_VALUE_METRICS: %q: %q lies outside of GATEWAY_WATCH; add it there", cfg.ValueMetrics, filter)}
		}
	}
	return values, nil
}

// holdAgain is how long a broker is left alone that did not grant a filter.
const holdAgain = 30 * time.Second

// holdValues keeps the topics of value metrics subscribed for as long as the
// gateway runs.
func holdValues(ctx context.Context, b Broker, filters []string, log *slog.Logger) {
	denied := slices.Clone(filters)
	for {
		denied = slices.DeleteFunc(denied, func(filter string) bool {
			err := b.Want(ctx, filter)
			if err != nil && ctx.Err() == nil {
				log.Warn("the broker does not let the gateway read topics of value metrics", "filter", filter, "err", err)
			}
			return err == nil
		})
		if len(denied) == 0 {
			return
		}
		select {
		case <-time.After(holdAgain):
		case <-ctx.Done():
			return
		}
	}
}
