package config

import (
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/vulturepi/gateway/internal/address"
)

// CIDRs is a list of networks.
type CIDRs []netip.Prefix

// Decode takes comma-separated networks from the environment.
func (c *CIDRs) Decode(value string) error {
	*c = nil
	if strings.TrimSpace(value) == "" {
		return nil
	}
	for item := range strings.SplitSeq(value, ",") {
		item = strings.TrimSpace(item)
		network, err := netip.ParsePrefix(item)
		if err != nil {
			if addr, err := netip.ParseAddr(item); err == nil && addr.Zone() == "" {
				return valueErrorf("%q has no prefix length; write %s/%d", item, addr, addr.BitLen())
			}
			return valueErrorf("%q is not a network; write for example 10.0.0.0/8", item)
		}
		if network != network.Masked() {
			return valueErrorf("%q is an address inside a network; write %s", item, network.Masked())
		}
		*c = append(*c, network)
	}
	return nil
}

// basePathSyntax is a path of unreserved characters (RFC 3986, 2.3), without a
// slash at its end.
var basePathSyntax = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

// checkGuard checks which paths, hosts and origins are let in.
func checkGuard(c *Config) ([]string, error) {
	if c.BasePath != "" && (!basePathSyntax.MatchString(c.BasePath) || strings.Contains(c.BasePath+"/", "/./") || strings.Contains(c.BasePath+"/", "/../")) {
		return nil, refuse("GATEWAY_BASE_PATH", "%q is not a path such as /mqtt: a slash first, none last, and letters, digits, . _ ~ - in between", c.BasePath)
	}
	for i, host := range c.AllowedHosts {
		clean, err := cleanHost(strings.TrimSpace(host))
		if err != nil {
			return nil, refuse("GATEWAY_ALLOWED_HOSTS", "%q: %s", host, err)
		}
		c.AllowedHosts[i] = clean
	}
	for i, origin := range c.AllowedOrigins {
		clean, err := cleanOrigin(strings.TrimSpace(origin))
		if err != nil {
			return nil, refuse("GATEWAY_ALLOWED_ORIGINS", "%q: %s", origin, err)
		}
		c.AllowedOrigins[i] = clean
	}
	return nil, nil
}

// cleanHost returns host or host:port as a browser would send it in Host.
func cleanHost(s string) (string, error) {
	switch {
	case strings.Contains(s, "*"):
		return "", valueError("patterns are not allowed; list each host")
	case strings.ContainsAny(s, "/@"):
		return "", valueError("write the host without scheme and path, for example gateway.example or gateway.example:8080")
	}
	host, port, err := address.Split(s)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", valueError("port 0 is never asked for; write the port of the listener, or none")
	}
	if host, err = address.Destination(host); err != nil {
		return "", err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" {
		return host, nil
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), nil
}

// schemeSyntax is RFC 3986, 3.1, in lower case. Apps have schemes of their own.
var schemeSyntax = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)

// opaqueHost is what apps put behind their schemes, which is no name of DNS:
// Electron's are app://- and such.
var opaqueHost = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// cleanOrigin returns the origin as a browser would send it in Origin.
func cleanOrigin(s string) (string, error) {
	if strings.Contains(s, "*") {
		return "", valueError("patterns are not allowed; list each origin")
	}
	scheme, rest, found := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	if !found || !schemeSyntax.MatchString(scheme) {
		return "", valueError("must have a scheme and a host, for example https://app.example or capacitor://localhost")
	}
	if strings.ContainsAny(rest, "/?#@") {
		return "", valueError("must end after the host and port, without path or slash, for example https://app.example")
	}
	if scheme != "http" && scheme != "https" && opaqueHost.MatchString(rest) {
		return scheme + "://" + strings.ToLower(rest), nil
	}
	host, err := cleanHost(rest)
	if err != nil {
		return "", err
	}
	if scheme == "http" && strings.HasSuffix(host, ":80") || scheme == "https" && strings.HasSuffix(host, ":443") {
		return "", valueError("browsers leave out the default port; leave it out here, too")
	}
	return scheme + "://" + host, nil
}
