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
	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/gauge"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/mqtt"
	"github.com/vulturepi/gateway/internal/topic"
	"github.com/vulturepi/gateway/wire"
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

type receiver struct {
	hub     *hub.Hub
	devices *device.Registry
	values  *gauge.Set
	drops   func() bool // the broker may drop lines of its log; nil: it may not
}

func (r *receiver) Message(m bridge.Message) {
	r.devices.Message(m.Topic, m.Payload, m.Retain)
	if !m.Retain && m.TooLarge == 0 { // a copy may be of any age
		r.values.Message(m.Topic, m.Payload)
	}
	r.hub.Accept(inbound(m))
}

func inbound(m bridge.Message) hub.Inbound {
	return hub.Inbound{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Retained: m.Retained, TooLarge: m.TooLarge, Properties: received(m.Properties)}
}

// received are the properties of a message from the broker.
func received(p *bridge.Properties) *wire.Properties {
	if p == nil {
		return nil
	}
	out := &wire.Properties{ContentType: p.ContentType, Expires: p.Expires, Expiry: p.Expiry, ResponseTopic: p.ResponseTopic, Correlation: p.Correlation}
	for _, u := range p.User {
		out.User = append(out.User, wire.UserProperty(u))
	}
	return out
}

// sent are the properties of a message for the broker.
func sent(p *wire.Properties) *bridge.Properties {
	if p == nil {
		return nil
	}
	out := &bridge.Properties{ContentType: p.ContentType, Expires: p.Expires, Expiry: p.Expiry, ResponseTopic: p.ResponseTopic, Correlation: p.Correlation}
	for _, u := range p.User {
		out.User = append(out.User, bridge.UserProperty(u))
	}
	return out
}

func (r *receiver) Rest() { r.hub.Flush() }

func (r *receiver) Up(lost bool) {
	r.hub.BrokerUp(lost)
	r.devices.Up()
}

func (r *receiver) Down(error) {
	r.hub.BrokerDown()
	r.devices.Down()
}

func (r *receiver) Dropped(certain bool, since time.Time) {
	r.hub.Dropped(certain, since)
	if certain || r.drops == nil || r.drops() {
		r.devices.Lost(device.ReasonMessagesLost)
	}
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
		messages = append(messages, inbound(m))
	}
	return messages, err
}

func (b *realBroker) Publish(m api.Outbound) (api.Pending, error) {
	pub, err := b.Bridge.Publish(bridge.Message{
		Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Properties: sent(m.Properties), Trace: m.Trace,
	})
	if err != nil {
		return nil, publishError(err)
	}
	return pending{pub}, nil
}

type pending struct{ *bridge.Publication }

func (p pending) Outcome() error { return publishError(p.Publication.Outcome()) }

func (p pending) Unheard() bool { return p.Reason() == mqtt.NoSubscribers }

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
	case errors.Is(err, bridge.ErrNeedsMQTT5):
		return api.ErrNeedsMQTT5
	}
	if no, ok := errors.AsType[*bridge.Refusal](err); ok {
		refused := &api.Refused{Reason: byte(no.Reason), Name: no.Reason.String(), Text: no.Text, For: no.For}
		if no.Reason == 0 {
			refused.Name = "connection closed"
		}
		return refused
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

// spoken is a version of MQTT in words; empty before the first connection.
func spoken(v mqtt.Version) string {
	if v == 0 {
		return ""
	}
	return v.String()
}

func hubOptions(cfg *config.Config, log *slog.Logger, b Broker, rules *decode.Rules) hub.Options {
	opts := hub.Options{
		Upstream: b, Log: log, Problem: api.ProblemOf,
		QueueBytes: cfg.ClientQueueBytes, TotalQueue: cfg.ClientsQueueBytes,
		HistoryBytes: cfg.HistoryBytes, HistoryAge: cfg.HistoryAge, ValuesBytes: cfg.ValuesBytes, IndexBytes: cfg.IndexBytes,
	}
	if rules != nil {
		opts.Decode = rules.Decode
	}
	return opts
}

func apiOptions(cfg *config.Config, version string, log *Log, h *hub.Hub, b Broker, g *gate, devices *device.Registry, values *gauge.Set) api.Options {
	o := api.Options{
		Devices: devices, Values: values,
		Access: g.callers, Audit: g.audit.lines, RatePublish: cfg.RatePublish, RateRequests: cfg.RateRequests, StreamsPerClient: cfg.MaxStreamsPerClient,
		Hub: h, Publisher: b, Log: log.Logger, LogStats: func() api.LogStats { return logStats(log, g.audit.Log) }, Version: version,
		Health: func() api.Health {
			s := b.Status()
			return api.Health{
				Publish: s.Publish, Subscribe: s.Subscribe, Detail: s.Err, Refused: s.SubscribeRefused,
				Warning: s.Warning, MQTT: spoken(b.Stats().Version),
			}
		},
		BrokerStats: func() api.BrokerStats {
			s := b.Stats()
			return api.BrokerStats{Reconnects: s.Reconnects, UpstreamFilters: s.UpstreamFilters, Oversize: s.Oversize, InFlight: s.InFlight, Refused: s.Refused,
				Publishes: api.Sum{Held: s.InFlightBytes, Limit: s.InFlightLimit}, Sys: s.Sys}
		},
		MaxPayload: cfg.MaxPayloadBytes, QueueBytes: cfg.ClientQueueBytes, MaxConnections: cfg.MaxConnections,
		BodiesBytes: cfg.BodiesBytes, AnswersBytes: cfg.AnswersBytes,
		PublishTimeout: cfg.PublishTimeout, Timing: api.Timing{Body: cfg.BodyTimeout}, BasePath: cfg.BasePath, AllowedHosts: allowedHosts(cfg), AllowedOrigins: cfg.AllowedOrigins,
		TrustedProxies: cfg.TrustedProxies, PProf: cfg.PProf, Console: page(cfg),
	}
	if cfg.Auths(config.AuthHeader) {
		o.UserHeader, o.RolesHeader = cfg.AuthHeader, cfg.AuthRolesHeader
	}
	return o
}

// logStats is about all that is written line by line: nil is no log.
func logStats(logs ...*Log) (s api.LogStats) {
	for _, log := range logs {
		if log != nil {
			waiting, limit := log.Waiting()
			s.Dropped += log.Dropped()
			s.Waiting.Held += waiting
			s.Waiting.Limit += limit
		}
	}
	return s
}
