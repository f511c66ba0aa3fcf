package lan

import (
	"errors"
	"fmt"
	"net/netip"
)

// Choose returns this machine's LAN address. Where there are several, want
// names one of them; it is the zero Addr where nobody has chosen.
func Choose(all []Interface, want netip.Addr) (Address, error) {
	list := Addresses(all)
	if want.IsValid() {
		return chosen(all, list, want.Unmap())
	}
	switch len(list) {
	case 0:
		return Address{}, errors.New("this machine has no address on a local network; connect it to one")
	case 1:
		return list[0], nil
	}
	return Address{}, fmt.Errorf("this machine has several addresses: %s; choose one, for example with --addr %s", Names(list), list[0].IP)
}

// chosen takes any private address of this machine, also behind a virtual
// interface.
func chosen(all []Interface, list []Address, want netip.Addr) (Address, error) {
	i, found := find(all, want)
	switch {
	case want.IsLoopback():
		return Address{}, fmt.Errorf("--addr %s is loopback, which no other machine reaches; leave --lan out for that", want)
	case !want.Is4():
		return Address{}, fmt.Errorf("--addr %s is no IPv4 address, which devices on a local network speak", want)
	case !found && len(list) == 0:
		return Address{}, fmt.Errorf("--addr %s is not an address of this machine, which has none on a local network", want)
	case !found:
		return Address{}, fmt.Errorf("--addr %s is not an address of this machine; it has %s", want, Names(list))
	case !want.IsPrivate() && !want.IsLinkLocalUnicast():
		return Address{}, fmt.Errorf("--addr %s is no private address: it may be reached from the Internet, where nobody may be let in without a password", want)
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
