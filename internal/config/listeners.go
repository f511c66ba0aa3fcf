package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vulturepi/gateway/internal/address"
)

// listener is an address to listen on, taken apart.
type listener struct {
	variable, addr string
	host, port     string
}

func parseListener(variable, addr string) (listener, error) {
	if scheme, rest, isURL := strings.Cut(addr, "://"); isURL {
		return listener{}, refuse(variable, "%q is a URL; write %s, without %s://", addr, strings.TrimSuffix(rest, "/"), scheme)
	}
	host, port, err := address.Split(addr)
	if err != nil {
		return listener{}, refuse(variable, "%q: %s", addr, err)
	}
	if port == "" && host != "" && address.CheckPort(host) == nil {
		return listener{}, refuse(variable, "%q is a port without a host; write 127.0.0.1:%s for this machine alone", addr, host)
	}
	if port == "" {
		return listener{}, refuse(variable, "%q has no port; write host:port, for example 127.0.0.1:8080", addr)
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil && !address.IsHostname(host) {
		return listener{}, refuse(variable, "%q: the host is neither an IP address nor a host name; write for example 127.0.0.1:%s", addr, port)
	}
	return listener{variable: variable, addr: addr, host: strings.ToLower(host), port: port}, nil
}

// ip is the address behind the host; localhost counts as 127.0.0.1, an empty
// host as 0.0.0.0.
func (l listener) ip() (netip.Addr, bool) {
	switch l.host {
	case "":
		return netip.IPv4Unspecified(), true
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	addr, err := netip.ParseAddr(l.host)
	return addr.Unmap(), err == nil
}

// loopback is true when no other machine can reach the listener. A name other
// than localhost may mean any address, so it is not.
func (l listener) loopback() bool {
	addr, ok := l.ip()
	return ok && addr.IsLoopback()
}

// clashes is true when two listeners cannot both have their address.
func (l listener) clashes(other listener) bool {
	if l.port != other.port || l.port == "0" {
		return false
	}
	a, aok := l.ip()
	b, bok := other.ip()
	if aok && a.IsUnspecified() || bok && b.IsUnspecified() {
		return true
	}
	return l.host == other.host || aok && bok && a == b
}

func checkListeners(c *Config) (notices []string, err error) {
	var all [3]listener
	for i, p := range []struct{ variable, addr string }{
		{envHTTPAddr, c.HTTPAddr},
		{envAdminAddr, c.AdminAddr},
		{envEmbeddedAddr, c.EmbeddedAddr},
	} {
		l, err := parseListener(p.variable, p.addr)
		if err != nil {
			return nil, err
		}
		all[i] = l
	}
	public, admin, embedded := all[0], all[1], all[2]

	used := all[:2]
	if c.broker == nil {
		used = all[:]
	}
	for i, a := range used {
		for _, b := range used[i+1:] {
			if a.clashes(b) {
				return nil, refuse(b.variable, "%q cannot listen beside %s=%q; give it another port", b.addr, a.variable, a.addr)
			}
		}
	}
	if err := checkExposure(c, public, embedded); err != nil {
		return nil, err
	}
	if c.MDNS && public.loopback() && (c.broker != nil || embedded.loopback()) {
		notices = append(notices, fmt.Sprintf("GATEWAY_MDNS: nothing is announced, because the gateway listens on loopback only; set %s to an address of this machine", envHTTPAddr))
	}
	if c.PProf && !admin.loopback() {
		notices = append(notices, fmt.Sprintf("GATEWAY_PPROF: everybody who reaches %s=%q can read profiles of this process", envAdminAddr, admin.addr))
	}
	return notices, nil
}

// checkExposure refuses listeners without access control that other machines
// can reach, unless that was asked for.
func checkExposure(c *Config, public, embedded listener) error {
	if c.AllowAnonymous {
		return nil
	}
	if c.Auths(AuthNone) && !public.loopback() {
		return refuse(envHTTPAddr, "%q is not loopback and %s=none lets everybody in; listen on 127.0.0.1, choose keys, or set %s=true if that is meant", public.addr, envAuth, envAllowAnonymous)
	}
	if !embedded.loopback() {
		return refuse(envEmbeddedAddr, "%q is not loopback and the embedded broker lets everybody in; listen on 127.0.0.1, or set %s=true if that is meant", embedded.addr, envAllowAnonymous)
	}
	return nil
}
