package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/decode"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
)

// The adapters: bridge, hub and api do not know each other's types.

// Broker is the broker side as hub and api see it: a [bridge.Bridge], or one
// that a test plays. All methods may be called from any goroutine.
type Broker interface {
	hub.Upstream
	api.Publisher
	// Run keeps it connected until ctx ends, and returns when nothing of it runs
	// any more. It is called once.
	Run(ctx context.Context) error
	Status() bridge.Status
	// Changed is closed when the status changes the next time.
	Changed() <-chan struct{}
	Stats() bridge.Stats
}

type receiver struct{ hub *hub.Hub }

func (r *receiver) Message(m bridge.Message) {
	if m.TooLarge > 0 {
		r.hub.Dropped(true, time.Now())
		return
	}
	r.hub.Accept(inbound(m))
}

func inbound(m bridge.Message) hub.Inbound {
	return hub.Inbound{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}
}

func (r *receiver) Rest()        { r.hub.Flush() }
func (r *receiver) Up(lost bool) { r.hub.BrokerUp(lost) }
func (r *receiver) Down(error)   { r.hub.BrokerDown() }
func (r *receiver) Dropped(certain bool, since time.Time) {
	r.hub.Dropped(certain, since)
}

// realBroker is the bridge, with its errors in the words of hub and api.
type realBroker struct {
	*bridge.Bridge
	watch []string // GATEWAY_WATCH
}

// newBroker makes the real one.
func newBroker(cfg bridge.Config) Broker { return &realBroker{bridge.New(cfg), cfg.Watch} }

// Watched reports whether filter is covered as long as the gateway runs.
func (b *realBroker) Watched(filter string) bool {
	return slices.ContainsFunc(b.watch, func(w string) bool { return topic.Covers(w, filter) })
}

func (b *realBroker) Want(ctx context.Context, filter string) error {
	err := b.Bridge.Want(ctx, filter)
	switch {
	case errors.Is(err, bridge.ErrRefused):
		return hub.ErrRefused
	case errors.Is(err, bridge.ErrNotCovered):
		return hub.ErrNotCovered
	}
	return err
}

func (b *realBroker) Retained(ctx context.Context, filter string) ([]hub.Inbound, error) {
	got, err := b.Bridge.Retained(ctx, filter)
	if errors.Is(err, bridge.ErrRefused) {
		return nil, nil // nothing will come, however often one asks
	}
	messages := make([]hub.Inbound, 0, len(got))
	for _, m := range got {
		if m.TooLarge == 0 {
			messages = append(messages, inbound(m))
		}
	}
	return messages, err
}

func (b *realBroker) Publish(topic string, payload []byte, qos byte, retain bool) (api.Pending, error) {
	pub, err := b.Bridge.Publish(bridge.Message{Topic: topic, Payload: payload, QoS: qos, Retain: retain})
	if err != nil {
		return nil, publishError(err)
	}
	return pending{pub}, nil
}

type pending struct{ *bridge.Publication }

func (p pending) Outcome() error { return publishError(p.Publication.Outcome()) }

func publishError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bridge.ErrNoConnection), errors.Is(err, bridge.ErrNotSent):
		return api.ErrNotSent
	case errors.Is(err, bridge.ErrOverloaded):
		return api.ErrOverloaded
	case errors.Is(err, bridge.ErrUnknown):
		return api.ErrUnknown
	}
	if _, ok := errors.AsType[*bridge.Refusal](err); ok {
		return api.ErrUnknown
	}
	return err
}

func bridgeConfig(cfg *config.Config, broker *url.URL, t *tls.Config, log *slog.Logger, r bridge.Receiver) bridge.Config {
	return bridge.Config{
		URL: broker, Username: cfg.MQTTUsername, Password: cfg.MQTTPassword.Reveal(), TLS: t,
		ClientID: cfg.MQTTClientID, Pool: cfg.MQTTPool, Watch: cfg.Watch, MaxPayload: cfg.MaxPayloadBytes,
		KeepAlive: cfg.MQTTKeepAlive, Log: log, Receiver: r, RefusedFor: cfg.RefusedFor,
		Version:      map[string]mqtt.Version{"4": mqtt.V311, "5": mqtt.V5}[cfg.MQTTVersion],
		SubscribeQoS: map[string]bridge.SubscribeQoS{"0": bridge.QoS0, "1": bridge.QoS1}[cfg.MQTTSubscribeQoS],
		Linger:       100 * time.Millisecond, // the hub lingers itself
	}
}

func hubOptions(cfg *config.Config, log *slog.Logger, b Broker, rules *decode.Rules) hub.Options {
	opts := hub.Options{
		Upstream: b, Log: log,
		QueueBytes: cfg.ClientQueueBytes, TotalQueue: cfg.ClientsQueueBytes,
		HistoryBytes: cfg.HistoryBytes, HistoryAge: cfg.HistoryAge, ValuesBytes: cfg.ValuesBytes, IndexBytes: cfg.IndexBytes,
	}
	if rules != nil {
		opts.Decode = rules.Decode
	}
	return opts
}

func apiOptions(cfg *config.Config, version string, log *Log, h *hub.Hub, b Broker) api.Options {
	return api.Options{
		Hub: h, Publisher: b, Log: log.Logger, LogDropped: log.Dropped, Version: version,
		Health: func() api.Health {
			s := b.Status()
			return api.Health{Publish: s.Publish, Subscribe: s.Subscribe, Detail: s.Err, Refused: s.SubscribeRefused}
		},
		BrokerStats: func() api.BrokerStats {
			s := b.Stats()
			return api.BrokerStats{Reconnects: s.Reconnects, UpstreamFilters: s.UpstreamFilters, Oversize: s.Oversize, InFlight: s.InFlight, Sys: s.Sys}
		},
		MaxPayload: cfg.MaxPayloadBytes, QueueBytes: cfg.ClientQueueBytes, MaxConnections: cfg.MaxConnections,
		BodiesBytes: cfg.BodiesBytes, AnswersBytes: cfg.AnswersBytes,
		PublishTimeout: cfg.PublishTimeout, AllowedHosts: allowedHosts(cfg), AllowedOrigins: cfg.AllowedOrigins,
		TrustedProxies: cfg.TrustedProxies, PProf: cfg.PProf, Console: page(cfg),
	}
}
