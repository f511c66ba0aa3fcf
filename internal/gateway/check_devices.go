package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/vulturepi/gateway/internal/bridge"
	"github.com/vulturepi/gateway/internal/config"
)

// askForLog has the broker's log read, where the configuration has it tell of
// devices. The channel has an item when something has come; nil: it is not read.
func askForLog(cfg *config.Config, conf *bridge.Config) (told chan struct{}) {
	if !cfg.Tells(config.DevicesLog) {
		return nil
	}
	told = make(chan struct{}, 1)
	conf.System, conf.OnSystem = systemTopics, func(m bridge.Message) {
		if m.Topic == versionTopic {
			return
		}
		select {
		case told <- struct{}{}:
		default:
		}
	}
	return told
}

// hearsLog reports whether the broker's log comes on a link that is up. Another
// one that connects is what the broker has to write down.
func hearsLog(ctx context.Context, link *bridge.Bridge, conf bridge.Config, told <-chan struct{}) bool {
	conf.Pool, conf.System, conf.OnSystem = 1, nil, nil
	ctx, cancel := context.WithCancel(ctx)
	other := bridge.New(conf)
	var running sync.WaitGroup
	running.Go(func() { _ = other.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for changed := other.Changed(); !other.Status().Subscribe && ctx.Err() == nil; changed = other.Changed() {
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	// What the broker did before it answers this has been handed over then.
	if _, err := link.Retained(ctx, versionTopic); err != nil {
		select {
		case <-told:
			return true
		case <-ctx.Done():
			return false
		}
	}
	return len(told) > 0
}

// presence is what tells which devices are there, in words; empty: nothing is to.
func presence(cfg *config.Config, hasLog bool) string {
	var by []string
	if hasLog {
		by = append(by, "the broker's log")
	}
	if n := len(cfg.DevicePatterns()); n > 0 {
		by = append(by, fmt.Sprintf("%d of GATEWAY_DEVICE_TOPICS", n))
	}
	said := strings.Join(by, ", and ")
	if hasLog || !cfg.Tells(config.DevicesLog) {
		return said
	}
	if said == "" {
		said = "nothing tells it"
	}
	return said + "; the broker does not give its log, or not to this user: it needs log_dest topic, connection_messages true, and the right to read " + logTopics + "#"
}
