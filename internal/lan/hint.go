package lan

import (
	"fmt"
	"net/netip"
)

// Hint is what may be wrong when the broker at host does not answer: host is a
// private address that this machine does not have, as after it has joined
// another network. It may as well be another machine's, so the sentence leaves
// that open. "" when there is nothing to say. repair says what to do to use the
// address that this machine has.
func Hint(all []Interface, host string, repair func(ip string) string) string {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	ip = ip.Unmap()
	if _, own := find(all, ip); own || !ip.Is4() || !ip.IsPrivate() {
		return ""
	}
	list := Addresses(all)
	switch len(list) {
	case 0:
		return fmt.Sprintf("%s is not an address of this machine, which has none on a local network at present; if the broker runs here, connect this machine first", ip)
	case 1:
		return fmt.Sprintf("%s is not an address of this machine at present; its LAN address is %s; if the broker runs here, %s", ip, list[0].IP, repair(list[0].IP.String()))
	}
	return fmt.Sprintf("%s is not an address of this machine at present; its LAN addresses are %s; if the broker runs here, %s", ip, Names(list), repair(list[0].IP.String()))
}
