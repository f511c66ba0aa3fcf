package lan

import (
	"errors"
	"fmt"
	"net/netip"
)

// ChoiceError: people have to choose an address, or have chosen one that cannot
// be used.
type ChoiceError string

func (e ChoiceError) Error() string { return string(e) }

func choiceErrorf(format string, args ...any) error { return ChoiceError(fmt.Sprintf(format, args...)) }

// Choose returns this machine's LAN address. Where there are several, want
// names one of them; it is the zero Addr where nobody has chosen.
func Choose(all []Interface, want netip.Addr) (Address, error) {
	list := Addresses(all)
	if want.IsValid() {
		return chosen(all, list, want.Unmap())
	}
	switch len(list) {
	case 0:
		if other := publicOnes(all); len(other) > 0 {
			return Address{}, choiceErrorf("this machine has no private address; it has %s: if that is its local network, say so with --addr %s", Names(other), other[0].IP)
		}
		return Address{}, errors.New("this machine has no address on a local network; connect it to one")
	case 1:
		return list[0], nil
	}
	return Address{}, choiceErrorf("this machine has several addresses: %s; choose one, for example with --addr %s", Names(list), list[0].IP)
}

// publicOnes are the addresses that the Internet may reach.
func publicOnes(all []Interface) (list []Address) {
	for _, i := range all {
		for _, p := range i.Prefixes {
			if ip := p.Addr(); i.Up && ip.Is4() && !ip.IsLoopback() && !IsLocal(ip) {
				list = append(list, Address{ip, i.Name})
			}
		}
	}
	return list
}

// IsLocal is true for an IPv4 address that no router of the Internet knows:
// private (RFC 1918), or one that a machine has given itself (RFC 3927).
func IsLocal(ip netip.Addr) bool {
	return ip.Is4() && (ip.IsPrivate() || ip.IsLinkLocalUnicast())
}

// chosen takes any IPv4 address of this machine but loopback.
func chosen(all []Interface, list []Address, want netip.Addr) (Address, error) {
	i, found := find(all, want)
	switch {
	case want.IsLoopback():
		return Address{}, choiceErrorf("--addr %s is loopback, which no other machine reaches", want)
	case !want.Is4():
		return Address{}, choiceErrorf("--addr %s is no IPv4 address, which devices on a local network speak", want)
	case !found && len(list) == 0:
		return Address{}, choiceErrorf("--addr %s is not an address of this machine, which has none on a local network", want)
	case !found:
		return Address{}, choiceErrorf("--addr %s is not an address of this machine; it has %s", want, Names(list))
	}
	return Address{want, i.Name}, nil
}

// Next is the address to use instead of now, whose interface or network may
// have changed: the same one while it is there, else the one on the same
// interface, else the only one. False: there is none, or no telling which.
func Next(all []Interface, now Address) (Address, bool) {
	if i, found := find(all, now.IP); found && i.Up {
		return Address{now.IP, i.Name}, true
	}
	list := Addresses(all)
	for _, a := range list {
		if a.Interface == now.Interface {
			return a, true
		}
	}
	if len(list) == 1 {
		return list[0], true
	}
	return Address{}, false
}
