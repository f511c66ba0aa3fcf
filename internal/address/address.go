// Package address takes addresses apart and says what is wrong with them:
// hosts, ports, and both together. Its errors are a sentence without the input,
// which may be part of a URL that holds a password in the wrong place.
package address

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Split takes host, host:port, [IPv6] or [IPv6]:port apart. An absent port is
// "", and port 0 is for the caller to judge. The host is not checked.
func Split(s string) (host, port string, err error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, rest, closed := strings.Cut(inner, "]")
		addr, err := netip.ParseAddr(host)
		if !closed || err != nil || !addr.Is6() {
			return "", "", errors.New("the brackets must hold an IPv6 address, for example [fd00::1]:1883")
		}
		s = rest
		if s == "" {
			return host, "", nil
		}
		if port, ok = strings.CutPrefix(s, ":"); !ok {
			return "", "", errors.New("only a colon and a port may follow the bracket, for example [fd00::1]:1883")
		}
		return host, port, CheckPort(port)
	}
	if strings.Count(s, ":") > 1 {
		return "", "", errors.New("an IPv6 address needs brackets, for example [fd00::1]:1883")
	}
	host, port, found := strings.Cut(s, ":")
	if !found {
		return host, "", nil
	}
	return host, port, CheckPort(port)
}

// CheckPort accepts 0 to 65535 in decimal. A leading zero is refused: 01883
// means different numbers to different readers.
func CheckPort(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("the port must be 1 to 65535, in decimal and without a leading zero, for example 1883")
	}
	return nil
}

// Destination checks a host to connect to and returns its canonical form: an IP
// address, or a host name in lower case.
func Destination(host string) (string, error) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		if !IsHostname(host) {
			return "", errors.New("the host is neither an IP address nor a host name, for example 192.168.1.10")
		}
		return strings.ToLower(host), nil
	}
	if addr.Zone() != "" {
		return "", errors.New("the IPv6 address must not have a zone; write it without % and what follows")
	}
	if addr.Unmap().IsUnspecified() {
		return "", fmt.Errorf("%s is an address to listen on, not one to connect to; write the broker's own address, or 127.0.0.1 if it runs on this machine", addr)
	}
	return addr.String(), nil
}

// IsHostname accepts DNS names and the underscores that container networks
// use. A name whose last label is a number is refused: resolvers read
// 999.1.1.1 or 0x7f.1 as an address.
func IsHostname(name string) bool {
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
