package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/vulturepi/gateway/internal/api"
	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/decode"
	"github.com/vulturepi/gateway/internal/hub"
	"github.com/vulturepi/gateway/internal/topic"
)

// The adapters: bridge, hub and api do not know each other's types.

// receiver hands what the broker side sees to the hub.
type receiver struct {
	hub *hub.Hub
	log *slog.Logger
}

func (r *receiver) Message(m bridge.Message) { r.hub.Accept(hub.Inbound(m)) }
func (r *receiver) Rest()                    { r.hub.Flush() }
func (r *receiver) Up(lost bool)             { r.hub.BrokerUp(lost) }
func (r *receiver) Down(error)               { r.hub.BrokerDown() }
func (r *receiver) Dropped(certain bool, since time.Time) {
	r.hub.Dropped(certain, since)
}

// upstream is the broker side as the hub sees it.
type upstream struct {
	bridge *bridge.Bridge
	always []string // GATEWAY_WATCH
}

// Watched reports whether filter is covered as long as the gateway runs.
func (u upstream) Watched(filter string) bool {
	return slices.ContainsFunc(u.always, func(w string) bool { return topic.Covers(w, filter) })
}

func (u upstream) Want(ctx context.Context, filter string) error {
	err := u.bridge.Want(ctx, filter)
	switch {
	case errors.Is(err, bridge.ErrRefused):
		return hub.ErrRefused
	case errors.Is(err, bridge.ErrNotCovered):
		return hub.ErrNotCovered
	}
	return err
}

func (u upstream) Release(filter string) { u.bridge.Release(filter) }

func (u upstream) Retained(ctx context.Context, filter string) ([]hub.Inbound, error) {
	got, err := u.bridge.Retained(ctx, filter)
	if errors.Is(err, bridge.ErrRefused) {
		return nil, nil // nothing will come, however often one asks
	}
	messages := make([]hub.Inbound, 0, len(got))
	for _, m := range got {
		messages = append(messages, hub.Inbound(m))
	}
	return messages, err
}

// publisher is the broker side as the api sees it.
type publisher struct{ bridge *bridge.Bridge }

func (p publisher) Publish(topic string, payload []byte, qos byte, retain bool) (api.Pending, error) {
	pub, err := p.bridge.Publish(bridge.Message{Topic: topic, Payload: payload, QoS: qos, Retain: retain})
	if err != nil {
		return nil, publishError(err)
	}
	return pending{pub}, nil
}

type pending struct{ *bridge.Publication }

func (p pending) Wait(ctx context.Context) error { return publishError(p.Publication.Wait(ctx)) }

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
	return err
}

func bridgeConfig(cfg *config.Config, broker *url.URL, t *tls.Config, log *slog.Logger, r bridge.Receiver) bridge.Config {
	return bridge.Config{
		URL: broker, Username: cfg.MQTTUsername, Password: cfg.MQTTPassword.Reveal(), TLS: t,
		ClientID: cfg.MQTTClientID, Pool: cfg.MQTTPool, Watch: cfg.Watch, MaxPayload: cfg.MaxPayloadBytes,
		KeepAlive: cfg.MQTTKeepAlive, Log: log, Receiver: r,
		Linger: 100 * time.Millisecond, // the hub lingers itself
	}
}

func hubOptions(cfg *config.Config, log *slog.Logger, b *bridge.Bridge, rules *decode.Rules) hub.Options {
	opts := hub.Options{
		Upstream: upstream{b, cfg.Watch}, Log: log,
		QueueBytes: cfg.ClientQueueBytes, TotalQueue: cfg.ClientsQueueBytes,
		HistoryBytes: cfg.HistoryBytes, HistoryAge: cfg.HistoryAge, ValuesBytes: cfg.ValuesBytes,
	}
	if rules != nil {
		opts.Decode = rules.Decode
	}
	return opts
}

// decoders are the rules of GATEWAY_DECODERS_FILE, nil without.
func decoders(cfg *config.Config) (*decode.Rules, error) {
	file := cfg.Decoders()
	if file == nil {
		return nil, nil
	}
	rules, err := decode.Parse(file)
	if err != nil {
		return nil, usageError{fmt.Errorf("GATEWAY_DECODERS_FILE: %q: %w", cfg.DecodersFile, err)}
	}
	return rules, nil
}

func apiOptions(cfg *config.Config, log *slog.Logger, h *hub.Hub, b *bridge.Bridge) api.Options {
	return api.Options{
		Hub: h, Publisher: publisher{b}, Log: log, Version: version,
		Health: func() api.Health {
			s := b.Status()
			return api.Health{Publish: s.Publish, Subscribe: s.Subscribe, Detail: s.Err, Refused: s.SubscribeRefused}
		},
		BrokerStats: func() api.BrokerStats {
			s := b.Stats()
			return api.BrokerStats{Reconnects: s.Reconnects, UpstreamFilters: s.UpstreamFilters, Oversize: s.Oversize, InFlight: s.InFlight, Sys: s.Sys}
		},
		MaxPayload: cfg.MaxPayloadBytes, QueueBytes: cfg.ClientQueueBytes, MaxConnections: cfg.MaxConnections,
		PublishTimeout: cfg.PublishTimeout, AllowedHosts: allowedHosts(cfg), AllowedOrigins: cfg.AllowedOrigins,
		TrustedProxies: cfg.TrustedProxies, PProf: cfg.PProf,
	}
}

// brokerTLS trusts the configured CA, or the system's.
func brokerTLS(cfg *config.Config) (*tls.Config, error) {
	if cfg.MQTTCAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(cfg.MQTTCAFile)
	if err != nil {
		return nil, usageError{errors.New("GATEWAY_MQTT_CA_FILE: the file cannot be read")}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usageError{fmt.Errorf("GATEWAY_MQTT_CA_FILE: %q holds no certificate in PEM", cfg.MQTTCAFile)}
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func newLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // config has checked it
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
