package config

import (
	"strings"
	"unicode/utf8"
)

// checkIdentity checks who the gateway is at the broker.
func checkIdentity(c *Config) ([]string, error) {
	const envClientID = "GATEWAY_MQTT_CLIENT_ID"
	if c.MQTTUsername == "" && c.MQTTPassword.Reveal() != "" {
		return nil, refuse(envPassword, "is set without %s; set both", envUsername)
	}
	if !isMQTTString(c.MQTTUsername) {
		return nil, refuse(envUsername, "must be valid UTF-8 of at most 65535 bytes without control characters")
	}
	if c.MQTTClientID != "" && !isClientID(c.MQTTClientID) {
		return nil, refuse(envClientID, "%q cannot be used; write 1 to 64 printable ASCII characters without space, +, # and /", c.MQTTClientID)
	}
	if c.broker != nil {
		return nil, nil
	}
	// Who sets these has a broker in mind. Starting the embedded one instead
	// would look like success.
	for _, v := range []struct{ name, value string }{
		{envUsername, c.MQTTUsername},
		{envClientID, c.MQTTClientID},
	} {
		if v.value != "" {
			return nil, refuse(v.name, "is set, but no broker is; set %s or %s, or unset it to use the embedded broker", envMQTTURL, envSettingsFile)
		}
	}
	return nil, nil
}

func isMQTTString(s string) bool {
	return len(s) <= 65535 && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

func isClientID(id string) bool {
	if len(id) > 64 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("+#/", r)
	})
}
