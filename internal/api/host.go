package api

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// parseHost reads a Host header (RFC 9110 section 7.2): a name or an address,
// an IPv6 one in brackets, and perhaps a port. The host comes without brackets
// and a trailing dot, in lower case. What no client sends is not ok: whoever
// reads it otherwise than the gateway would see another host in it.
func parseHost(header string) (host string, ok bool) {
	port, hasPort := "", false
	if inner, isV6 := strings.CutPrefix(header, "["); isV6 {
		var behind string
		host, behind, ok = strings.Cut(inner, "]")
		addr, err := netip.ParseAddr(host)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", false
		}
		if port, hasPort = strings.CutPrefix(behind, ":"); !hasPort && behind != "" {
			return "", false
		}
	} else {
		host, port, hasPort = strings.Cut(header, ":")
		if host = strings.TrimSuffix(host, "."); !isRegName(host) {
			return "", false
		}
	}
	if hasPort && !isPort(port) {
		return "", false
	}
	return strings.ToLower(host), true
}

// isRegName accepts a registered name (RFC 3986 section 3.2.2) that is not
// empty.
func isRegName(name string) bool {
	const others = "-._~!$&'()*+,;="
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(others, c) >= 0:
		case c == '%' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2]):
			i += 2
		default:
			return false
		}
	}
	return name != ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isPort accepts 1 to 65535 in decimal.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && len(s) <= 5
}

// ownAddresses are the machine's, read again at most every ten seconds: they
// come and go. Its methods may be called concurrently.
type ownAddresses struct {
	list func() ([]net.Addr, error)

	mu     sync.Mutex // guards the rest
	all    map[netip.Addr]bool
	readAt time.Time
}

func newOwnAddresses(list func() ([]net.Addr, error)) *ownAddresses {
	o := &ownAddresses{list: list}
	o.read(time.Now()) // while there are descriptors
	return o
}

func (o *ownAddresses) has(addr netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.Sub(o.readAt) > 10*time.Second {
		o.read(now)
	}
	return o.all[addr.Unmap()]
}

// read keeps the last list when there is none to be had: reading takes a
// descriptor, and there may be none left. The caller holds the lock.
func (o *ownAddresses) read(now time.Time) {
	list, err := o.list()
	if err != nil {
		return
	}
	o.all, o.readAt = map[netip.Addr]bool{}, now
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			o.all[p.Addr().Unmap()] = true
		}
	}
}
