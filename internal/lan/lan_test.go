package lan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// up is an interface that is up.
func up(name string, prefixes ...string) Interface {
	i := Interface{Name: name, Up: true, Loopback: name == "lo"}
	for _, p := range prefixes {
		i.Prefixes = append(i.Prefixes, netip.MustParsePrefix(p))
	}
	return i
}

func down(i Interface) Interface         { i.Up = false; return i }
func pointToPoint(i Interface) Interface { i.PointToPoint = true; return i }

var (
	lo     = up("lo", "127.0.0.1/8", "::1/128")
	eth0   = up("eth0", "192.168.1.10/24", "fd00::10/64", "fe80::1/64")
	wlan0  = up("wlan0", "10.0.0.7/8")
	docker = up("docker0", "172.17.0.1/16")
	tunnel = pointToPoint(up("vpn", "10.8.0.2/32"))
	public = up("ens3", "203.0.113.5/24")
	cable  = up("eth1", "169.254.7.7/16")
)

func TestAddressesAreWhatTheLANReaches(t *testing.T) {
	for _, tc := range []struct {
		name string
		all  []Interface
		want string
	}{
		{"none", nil, ""},
		{"loopback alone", []Interface{lo}, ""},
		{"one", []Interface{lo, eth0}, "192.168.1.10 (eth0)"},
		{"two", []Interface{lo, eth0, wlan0}, "192.168.1.10 (eth0) and 10.0.0.7 (wlan0)"},
		{"two on one", []Interface{up("eth0", "192.168.1.10/24", "192.168.1.11/24")}, "192.168.1.10 (eth0) and 192.168.1.11 (eth0)"},
		{"down", []Interface{lo, eth0, down(wlan0)}, "192.168.1.10 (eth0)"},
		{"containers and tunnels", []Interface{lo, docker, tunnel, eth0}, "192.168.1.10 (eth0)"},
		{"nothing but containers", []Interface{lo, docker, up("br-7", "172.18.0.1/16")}, "172.17.0.1 (docker0) and 172.18.0.1 (br-7)"},
		{"public", []Interface{lo, public}, ""},
		{"public beside private", []Interface{lo, public, wlan0}, "10.0.0.7 (wlan0)"},
		{"a cable without DHCP", []Interface{lo, cable, docker}, "169.254.7.7 (eth1)"},
		{"a cable beside DHCP", []Interface{lo, cable, eth0}, "192.168.1.10 (eth0)"},
		{"IPv6 alone", []Interface{lo, up("eth0", "fd00::10/64")}, ""},
	} {
		if got := Names(Addresses(tc.all)); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestChooseAsksWhereThereIsAChoice(t *testing.T) {
	for _, tc := range []struct {
		name string
		all  []Interface
		want string // --addr
		got  string // the address, or part of the error
	}{
		{"one", []Interface{lo, eth0, docker}, "", "192.168.1.10 (eth0)"},
		{"none", []Interface{lo}, "", "no address on a local network"},
		{"public alone", []Interface{lo, public}, "", "no private address; it has 203.0.113.5 (ens3): if that is its local network, say so with --addr 203.0.113.5"},
		{"two", []Interface{lo, eth0, wlan0}, "", "several addresses: 192.168.1.10 (eth0) and 10.0.0.7 (wlan0); choose one, for example with --addr 192.168.1.10"},
		{"the first of two", []Interface{lo, eth0, wlan0}, "192.168.1.10", "192.168.1.10 (eth0)"},
		{"the second of two", []Interface{lo, eth0, wlan0}, "10.0.0.7", "10.0.0.7 (wlan0)"},
		{"a virtual one", []Interface{lo, eth0, docker}, "172.17.0.1", "172.17.0.1 (docker0)"},
		{"somebody else's", []Interface{lo, eth0}, "192.168.1.11", "--addr 192.168.1.11 is not an address of this machine; it has 192.168.1.10 (eth0)"},
		{"somebody else's without a network", []Interface{lo}, "192.168.1.11", "has none on a local network"},
		{"loopback", []Interface{lo, eth0}, "127.0.0.1", "--addr 127.0.0.1 is loopback"},
		{"public", []Interface{lo, eth0, public}, "203.0.113.5", "203.0.113.5 (ens3)"},
		{"IPv6", []Interface{lo, eth0}, "fd00::10", "no IPv4 address"},
		{"mapped", []Interface{lo, eth0}, "::ffff:192.168.1.10", "192.168.1.10 (eth0)"},
	} {
		var want netip.Addr
		if tc.want != "" {
			want = netip.MustParseAddr(tc.want)
		}
		a, err := Choose(tc.all, want)
		got := a.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tc.got) || strings.ContainsRune(got, '\n') {
			t.Errorf("%s: got %q, want %q in it", tc.name, got, tc.got)
		}
	}
}

func TestNextFollowsTheInterface(t *testing.T) {
	now := Address{netip.MustParseAddr("192.168.1.10"), "eth0"}
	for _, tc := range []struct {
		name string
		all  []Interface
		want string // "": none
	}{
		{"nothing has changed", []Interface{lo, eth0}, "192.168.1.10 (eth0)"},
		{"another interface came", []Interface{lo, wlan0, eth0}, "192.168.1.10 (eth0)"},
		{"another address came beside it", []Interface{lo, up("eth0", "192.168.1.99/24", "192.168.1.10/24")}, "192.168.1.10 (eth0)"},
		{"another address on the interface", []Interface{lo, wlan0, up("eth0", "10.9.9.9/8")}, "10.9.9.9 (eth0)"},
		{"the address moved", []Interface{lo, up("br0", "192.168.1.10/24"), up("eth0")}, "192.168.1.10 (br0)"},
		{"the interface has none, another has", []Interface{lo, up("eth0"), wlan0}, "10.0.0.7 (wlan0)"},
		{"the interface is down", []Interface{lo, down(eth0), wlan0}, "10.0.0.7 (wlan0)"},
		{"two others", []Interface{lo, wlan0, up("eth2", "192.168.2.2/24")}, ""},
		{"nothing is left", []Interface{lo, down(eth0)}, ""},
		{"a public one is left", []Interface{lo, public}, ""},
	} {
		next, ok := Next(tc.all, now)
		got := ""
		if ok {
			got = next.String()
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestHintIsForAddressesThatThisMachineMayHaveHad(t *testing.T) {
	repair := func(ip string) string { return "write " + ip }
	for _, tc := range []struct {
		name, host string
		all        []Interface
		want       string
	}{
		{"the old one", "192.168.1.99", []Interface{lo, eth0}, "192.168.1.99 is not an address of this machine at present; its LAN address is 192.168.1.10; if the broker runs here, write 192.168.1.10"},
		{"of another network", "172.20.1.2", []Interface{lo, eth0, docker}, "its LAN address is 192.168.1.10; if the broker runs here, write 192.168.1.10"},
		{"several now", "192.168.1.99", []Interface{lo, eth0, wlan0}, "its LAN addresses are 192.168.1.10 (eth0) and 10.0.0.7 (wlan0); if the broker runs here, write 192.168.1.10"},
		{"no network now", "192.168.1.99", []Interface{lo}, "which has none on a local network at present; if the broker runs here, connect this machine first"},
		{"its own", "192.168.1.10", []Interface{lo, eth0}, ""},
		{"its own, of a container", "172.17.0.1", []Interface{lo, eth0, docker}, ""},
		{"loopback", "127.0.0.1", []Interface{lo, eth0}, ""},
		{"public", "203.0.113.5", []Interface{lo, eth0}, ""},
		{"a name", "broker.lan", []Interface{lo, eth0}, ""},
		{"IPv6", "fd00::99", []Interface{lo, eth0}, ""},
	} {
		got := Hint(tc.all, tc.host, repair)
		if got != tc.want && (tc.want == "" || !strings.HasSuffix(got, tc.want)) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

// This machine has loopback at least, as the tests need it anyway.
func TestInterfacesListsThisMachine(t *testing.T) {
	all, err := Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(i Interface) bool {
		return i.Loopback && i.Up && slices.Contains(i.Prefixes, netip.MustParsePrefix("127.0.0.1/8"))
	}) {
		t.Errorf("got %+v, want 127.0.0.1/8 on a loopback interface", all)
	}
}
