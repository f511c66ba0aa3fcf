package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// splitHostPort takes host, host:port, [IPv6] or [IPv6]:port apart. An absent
// port is "". The error never repeats the input: it may be part of a URL that
// holds a password in the wrong place.
func splitHostPort(s string) (host, port string, err error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, rest, closed := strings.Cut(inner, "]")
		addr, err := netip.ParseAddr(host)
		if !closed || err != nil || !addr.Is6() {
			return "", "", valueError("the brackets must hold an IPv6 address, for example [fd00::1]:1883")
		}
		s = rest
		if s == "" {
			return host, "", nil
		}
		if port, ok = strings.CutPrefix(s, ":"); !ok {
			return "", "", valueError("only a colon and a port may follow the bracket, for example [fd00::1]:1883")
		}
		return host, port, checkPort(port)
	}
	if strings.Count(s, ":") > 1 {
		return "", "", valueError("an IPv6 address needs brackets, for example [fd00::1]:1883")
	}
	host, port, found := strings.Cut(s, ":")
	if !found {
		return host, "", nil
	}
	return host, port, checkPort(port)
}

// checkPort accepts 0 to 65535; 0 is for the caller to judge.
func checkPort(port string) error {
	n, err := strconv.Atoi(port)
	if !isDecimal(port) || err != nil || n > 65535 {
		return valueError("the port must be 1 to 65535, in decimal and without a leading zero, for example 1883")
	}
	return nil
}

// destination checks a host to connect to and returns its canonical form.
func destination(host string) (string, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		if !isHostname(host) {
			return "", valueError("the host is neither an IP address nor a host name, for example 192.168.1.10")
		}
		return strings.ToLower(host), nil
	}
	if addr.Zone() != "" {
		return "", valueError("the IPv6 address must not have a zone; write it without % and what follows")
	}
	if addr.Unmap().IsUnspecified() {
		return "", valueErrorf("%s is an address to listen on, not one to connect to; write the broker's own address, or 127.0.0.1 if it runs on this machine", addr)
	}
	return addr.String(), nil
}

// isHostname accepts DNS names and the underscores that container networks
// use. A name whose last label is a number is refused: resolvers read
// 999.1.1.1 or 0x7f.1 as an address.
func isHostname(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	label := ""
	for label = range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.ContainsFunc(label, notInHostname) {
			return false
		}
	}
	_, err := strconv.ParseUint(label, 0, 64)
	return err != nil && strings.Trim(label, "0123456789") != ""
}

func notInHostname(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	digit := r >= '0' && r <= '9'
	return !letter && !digit && r != '-' && r != '_'
}
