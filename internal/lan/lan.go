// Package lan knows this machine's place on the local network: its addresses,
// which of them other machines reach, and where a file names an old one.
//
// What it decides, it decides from a list of interfaces that the caller gives.
package lan

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Interface is a network interface at one moment.
type Interface struct {
	Name         string
	Up           bool
	Loopback     bool
	PointToPoint bool           // as tunnels are
	Prefixes     []netip.Prefix // its addresses, each with the network it is in
}

// Interfaces lists those of this machine.
func Interfaces() ([]Interface, error) {
	found, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("cannot list the network interfaces: %w", err)
	}
	all := make([]Interface, 0, len(found))
	for _, f := range found {
		i := Interface{Name: f.Name, Up: f.Flags&net.FlagUp != 0, Loopback: f.Flags&net.FlagLoopback != 0, PointToPoint: f.Flags&net.FlagPointToPoint != 0}
		addrs, err := f.Addrs()
		if err != nil {
			continue // it went away in between
		}
		for _, a := range addrs {
			if p, ok := prefix(a); ok {
				i.Prefixes = append(i.Prefixes, p)
			}
		}
		all = append(all, i)
	}
	return all, nil
}

func prefix(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

// Address is an IPv4 address of this machine, and the interface that has it.
type Address struct {
	IP        netip.Addr
	Interface string
}

func (a Address) String() string { return fmt.Sprintf("%s (%s)", a.IP, a.Interface) }

// virtual are the beginnings of names of interfaces that lead to containers and
// virtual machines of this machine, or through a tunnel: no device is there.
var virtual = []string{"docker", "br-", "virbr", "cni", "flannel", "podman", "lxc", "lxd", "vmnet", "vboxnet", "tun", "tap", "wg", "tailscale", "zt"}

func (i Interface) isVirtual() bool {
	return i.PointToPoint || slices.ContainsFunc(virtual, func(p string) bool { return strings.HasPrefix(i.Name, p) })
}

// Addresses returns the addresses under which devices on the local network
// reach this machine: private ones (RFC 1918) of interfaces that are up. An
// interface that looks virtual, and an address that a machine gives itself
// (169.254.0.0/16), count only where there is nothing better.
func Addresses(all []Interface) []Address {
	var private, behind, own []Address
	for _, i := range all {
		if !i.Up || i.Loopback {
			continue
		}
		for _, p := range i.Prefixes {
			a := Address{p.Addr(), i.Name}
			switch {
			case !a.IP.Is4():
			case a.IP.IsLinkLocalUnicast():
				own = append(own, a)
			case a.IP.IsPrivate() && i.isVirtual():
				behind = append(behind, a)
			case a.IP.IsPrivate():
				private = append(private, a)
			}
		}
	}
	for _, list := range [][]Address{private, own, behind} {
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// Has finds an address, other than loopback, among those of the interfaces.
func Has(all []Interface, ip netip.Addr) (Address, bool) {
	i, found := find(all, ip)
	return Address{ip.Unmap(), i.Name}, found && i.Up && !i.Loopback && ip.Unmap().Is4()
}

// find returns the interface that has the address.
func find(all []Interface, ip netip.Addr) (Interface, bool) {
	for _, i := range all {
		if slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Addr() == ip.Unmap() }) {
			return i, true
		}
	}
	return Interface{}, false
}

// Names lists addresses for a sentence.
func Names(list []Address) string {
	words := make([]string, len(list))
	for n, a := range list {
		words[n] = a.String()
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
