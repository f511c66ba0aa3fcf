package gateway

import (
	"context"
	"log/slog"
	"strings"

	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/config"
	"github.com/vulturepi/gateway/internal/device"
)

// Where brokers say who is connected, below $SYS.
const (
	versionTopic    = "$SYS/broker/version"
	logTopics       = "$SYS/broker/log/"
	connectionBegin = "$SYS/broker/connection/client/"
	connectionEnd   = "/state"
)

// systemTopics are what the devices need of them: of the log its notices, and
// its errors, because mosquitto 2.0 counts a takeover as one.
var systemTopics = []string{versionTopic, logTopics + "N", logTopics + "E", connectionBegin + "+" + connectionEnd}

// system takes what comes on systemTopics.
func (r *receiver) system(m bridge.Message) {
	switch {
	case m.Topic == versionTopic:
		r.devices.Version(string(m.Payload))
	case strings.HasPrefix(m.Topic, logTopics):
		r.devices.Line(string(m.Payload))
	default:
		if id, ok := strings.CutPrefix(m.Topic, connectionBegin); ok {
			r.devices.ConnectionState(strings.TrimSuffix(id, connectionEnd), m.Payload)
		}
	}
}

// openDevices makes the registry. Own knows the gateway's own connections.
func openDevices(cfg *config.Config, log *slog.Logger, own func(clientID string) bool) *device.Registry {
	return device.New(device.Options{
		Log: cfg.Tells(config.DevicesLog), Patterns: cfg.DevicePatterns(), Quiet: cfg.Quiet(), Own: own, Logger: log,
	})
}

// deviceBroker is the broker side as the registry sees it.
type deviceBroker struct{ Broker }

func (b deviceBroker) Hold(ctx context.Context, filter string) error { return b.Want(ctx, filter) }

func (b deviceBroker) Kept(ctx context.Context, filter string, each func(string, []byte)) error {
	got, err := b.Retained(ctx, filter)
	for _, m := range got {
		each(m.Topic, m.Payload)
	}
	return err
}
