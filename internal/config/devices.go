package config

import (
	"slices"
	"strings"

	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/internal/topic"
)

// Values of Devices.
const (
	DevicesLog  = "log"
	DevicesWill = "will"
)

// Tells reports whether a source of GATEWAY_DEVICES counts.
func (c *Config) Tells(source string) bool { return slices.Contains(c.Devices, source) }

// DevicePatterns is what GATEWAY_DEVICE_TOPICS says.
func (c *Config) DevicePatterns() []device.Pattern { return c.patterns }

// Quiet is what GATEWAY_SILENT says.
func (c *Config) Quiet() []device.Quiet { return c.quiet }

func checkDevices(c *Config) (notices []string, err error) {
	for i, source := range c.Devices {
		if c.Devices[i] = strings.TrimSpace(source); c.Devices[i] != DevicesLog && c.Devices[i] != DevicesWill {
			return nil, refuse(envDevices, "%q is unknown; write log, will or both", c.Devices[i])
		}
	}
	if c.DeviceTopics != "" {
		if !c.Tells(DevicesWill) {
			return nil, refuse(envDeviceTopics, "needs will in %s", envDevices)
		}
		if c.patterns, err = device.ParsePatterns(c.DeviceTopics); err != nil {
			return nil, refuse(envDeviceTopics, "%s", err)
		}
	}
	if c.Silent != "" {
		if c.quiet, err = device.ParseQuiet(c.Silent); err != nil {
			return nil, refuse(envSilent, "%s", err)
		}
	}
	for _, p := range c.patterns {
		if !c.Watches(p.Filter) {
			return nil, refuse(envDeviceTopics, "%q lies outside of GATEWAY_WATCH; add it there", p.Filter)
		}
	}
	for _, q := range c.quiet {
		if !c.Watches(q.Filter) {
			return nil, refuse(envSilent, "%q lies outside of GATEWAY_WATCH; add it there", q.Filter)
		}
	}
	return nil, nil
}

// Watches reports whether what filter matches can reach the gateway.
func (c *Config) Watches(filter string) bool {
	return len(c.Watch) == 0 || slices.ContainsFunc(c.Watch, func(w string) bool { return topic.Covers(w, filter) })
}
