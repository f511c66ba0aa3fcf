package config

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"

	"github.com/vulturepi/gateway/internal/address"
	"github.com/vulturepi/gateway/internal/settings"
)

// Broker returns the address of the broker, with its port. Embedded is true
// when no broker is configured: the gateway then starts its own at
// EmbeddedAddr, and the URL leads there. With port 0 in EmbeddedAddr the
// caller knows the port only after it listens.
func (c *Config) Broker() (u *url.URL, embedded bool) {
	if c.broker != nil {
		clone := *c.broker
		return &clone, false
	}
	u = &url.URL{Scheme: "mqtt", Host: c.EmbeddedAddr}
	l, err := parseListener(envEmbeddedAddr, c.EmbeddedAddr)
	if err != nil {
		return u, true
	}
	host := l.host
	if addr, ok := l.ip(); ok && addr.IsUnspecified() {
		host = "127.0.0.1"
		if addr.Is6() {
			host = "::1"
		}
	}
	u.Host = net.JoinHostPort(host, l.port)
	return u, true
}

// FindBroker is true when the settings file says ip_address = auto: the caller
// asks the local network for the broker, whose address Broker does not know.
// With a port, only a broker on it counts; 0: on any.
func (c *Config) FindBroker() (port int, ok bool) { return c.findPort, c.find }

func resolveBroker(c *Config) (notices []string, err error) {
	switch {
	case c.MQTTURL != "":
		if c.broker, err = parseBrokerURL(c.MQTTURL); err != nil {
			return nil, refuse(envMQTTURL, "%s", err)
		}
		if c.SettingsFile != "" {
			notices = append(notices, fmt.Sprintf("%s wins over %s: %q is not read", envMQTTURL, envSettingsFile, c.SettingsFile))
		}
	case c.SettingsFile != "":
		if notices, err = brokerFromSettings(c); err != nil {
			return nil, err
		}
	}
	return notices, checkCAFile(c)
}

// brokerFromSettings takes address and port from the settings file. Its other
// keys are for devices; a notice says so where they would matter.
func brokerFromSettings(c *Config) (notices []string, err error) {
	file, err := settings.Read(c.SettingsFile)
	if err != nil {
		return nil, refuse(envSettingsFile, "%s", err)
	}
	c.broker = &url.URL{Scheme: "mqtt", Host: file.HostPort()}
	if file.Address == settings.Auto {
		c.broker.Host, c.find, c.findPort = settings.Auto, true, file.Port
		if c.MQTTPassword.Reveal() != "" {
			notices = append(notices, fmt.Sprintf("%s: %q: %s = %s sends the password to whoever on the local network answers first as a broker", envSettingsFile, c.SettingsFile, settings.KeyAddress, settings.Auto))
		}
	}
	if file.TLS {
		notices = append(notices, fmt.Sprintf("%s: %q: %s is for devices; for TLS set %s=mqtts:// and the broker's address", envSettingsFile, c.SettingsFile, settings.KeyTLS, envMQTTURL))
	}
	if (file.Username != "" || file.Password != "") && c.MQTTUsername == "" {
		notices = append(notices, fmt.Sprintf("%s: %q: %s and %s are for devices; set %s and %s", envSettingsFile, c.SettingsFile, settings.KeyUsername, settings.KeyPassword, envUsername, envPassword))
	}
	return notices, nil
}

// parseBrokerURL takes the URL apart by hand: package url accepts much that
// cannot work, and its errors repeat the input, which may hold a password.
func parseBrokerURL(raw string) (*url.URL, error) {
	if strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return nil, valueError("holds a space or a control character; remove it")
	}
	if strings.Contains(raw, "@") {
		return nil, valueErrorf("must not hold a user name or a password; set %s and %s", envUsername, envPassword)
	}
	scheme, rest, found := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	port := defaultPort(scheme)
	if !found || port == "" {
		return nil, valueError("must start with mqtt://, mqtts://, ws:// or wss://, for example mqtt://192.168.1.10:1883")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.ContainsAny(tail, "?#") {
		return nil, valueError("must not have a query or a fragment; remove it")
	}
	if scheme == "mqtt" || scheme == "mqtts" {
		if tail != "" && tail != "/" {
			return nil, valueErrorf("must not have a path; write %s://host:%s", scheme, port)
		}
		tail = ""
	}
	host, given, err := address.Split(authority)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return nil, valueErrorf("has no host; write for example %s://192.168.1.10:%s", scheme, port)
	}
	if given == "0" {
		return nil, valueErrorf("port 0 is no port to connect to; write for example %s", port)
	}
	if given != "" {
		port = given
	}
	if host, err = address.Destination(host); err != nil {
		return nil, err
	}
	u, err := url.Parse(scheme + "://" + net.JoinHostPort(host, port) + tail)
	if err != nil {
		return nil, valueError("the path is malformed; check its % signs")
	}
	return u, nil
}

// defaultPort returns "" for a scheme that no broker speaks.
func defaultPort(scheme string) string {
	switch scheme {
	case "mqtt":
		return "1883"
	case "mqtts":
		return "8883"
	case "ws":
		return "80"
	case "wss":
		return "443"
	}
	return ""
}

func checkCAFile(c *Config) error {
	const name = "GATEWAY_MQTT_CA_FILE"
	if c.MQTTCAFile == "" {
		return nil
	}
	if c.broker == nil || c.broker.Scheme != "mqtts" && c.broker.Scheme != "wss" {
		return refuse(name, "needs a %s that starts with mqtts:// or wss://; unset it, or use TLS", envMQTTURL)
	}
	return checkCertificates(name, c.MQTTCAFile)
}
