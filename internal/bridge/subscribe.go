package bridge

import (
	"context"
	"errors"
	"strings"

	"github.com/vulturepi/gateway/internal/mqtt"
)

// What is sent for a filter.
const (
	liveOnly   = true  // with MQTT 5, no retained copies: what has the retain flag was published with it just now
	withCopies = false // retained copies, which alone have the flag
)

// subscribe asks for filters at one QoS, with a message right behind them where there is one, and returns those that the
// broker does not grant.
func subscribe(ctx context.Context, k *mqtt.Conn, filters []string, qos byte, live bool, behind *mqtt.Publication) (refused []string, err error) {
	return subscribeAs(ctx, k, 0, filters, qos, live, behind)
}

// subscribeAs is subscribe with an identifier of the subscription.
func subscribeAs(ctx context.Context, k *mqtt.Conn, identifier uint32, filters []string, qos byte, live bool, behind *mqtt.Publication) (refused []string, err error) {
	if !k.Connack().Wildcards {
		if filters, refused = withoutWildcards(filters); len(filters) == 0 {
			return refused, nil
		}
	}
	asked := make([]mqtt.Filter, len(filters))
	for i, f := range filters {
		if asked[i] = (mqtt.Filter{Filter: f, QoS: qos, Identifier: identifier}); live {
			asked[i].RetainAsPublished, asked[i].RetainHandling = true, 2
		}
	}
	codes, err := k.SubscribeThenPublish(ctx, asked, behind)
	if _, ok := errors.AsType[*mqtt.Refusal](err); ok {
		return append(refused, filters...), nil // more than the broker's largest packet
	}
	for i, code := range codes {
		if code.Failed() {
			refused = append(refused, filters[i])
		}
	}
	return refused, err
}

// withoutWildcards leaves out what a broker may not be asked for that has none, MQTT 5, 3.2.2.3.11.
func withoutWildcards(all []string) (filters, refused []string) {
	for _, f := range all {
		if strings.ContainsAny(f, "+#") {
			refused = append(refused, f)
		} else {
			filters = append(filters, f)
		}
	}
	return filters, refused
}

// unsubscribe gives filters up, and returns those that the broker does not let go, MQTT 5, 3.11.3.
func unsubscribe(ctx context.Context, k *mqtt.Conn, filters []string) (kept []string, err error) {
	codes, err := k.Unsubscribe(ctx, filters)
	for i, code := range codes {
		if code.Failed() {
			kept = append(kept, filters[i])
		}
	}
	return kept, err
}
